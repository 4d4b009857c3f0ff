//! Steps that workers vote on: gradients wait on the shards' devices until all workers are ready, and are then
//! applied on all shards or on none.

use tokio::sync::oneshot;

use super::off_runtime::off_runtime;
use super::push_async::{Admitted, Limits, Pusher};
use super::sync::barrier::Batch;
use super::sync::guards::{ApplyGuard, InFlightGuard};
use super::sync::state::Staged;
use super::table::tables::Tables;
use super::{
    Generation, LayoutVersion, ParameterServer, ServerError, ShardId, Step, UpdateMode, WorkerId,
};
use crate::kernel::{GradientRows, Places, Push};

/// Origin and weight of a step's gradients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Contribution {
    /// The worker.
    pub worker: WorkerId,
    /// Generation of the worker.
    pub generation: Generation,
    /// The shards' step, from 0.
    pub step: Step,
    /// Samples behind the gradients.
    pub samples: f32,
    /// Σ g² over the gradients, for the shards' figures.
    pub squares: f64,
}

/// Gradients for one shard, on the device that holds the shard.
#[derive(Debug)]
pub struct ShardGradients {
    /// The shard.
    pub shard: ShardId,
    /// Places of the rows in the shard, each once; `None` stands for all rows of the shard.
    pub places: Option<Vec<u32>>,
    /// A gradient row for each place, row-major.
    pub gradients: GradientRows,
}

/// A worker's gradients of a step: a part for every shard of a layout.
#[derive(Debug)]
pub struct StepGradients {
    /// Layout of the shards.
    pub layout: LayoutVersion,
    /// Parts of the entity shards, then of the relation shards.
    pub shards: Vec<ShardGradients>,
}

impl ParameterServer {
    /// Leaves a step's gradients at every shard, without applying them.
    ///
    /// # Errors
    /// [`ServerError::UnknownWorker`], [`ServerError::Generation`], [`ServerError::Busy`], [`ServerError::Late`],
    /// [`ServerError::Early`], [`ServerError::Mixed`]; [`ServerError::LayoutChanged`] if rows have moved since
    /// the gradients were cut; [`ServerError::Samples`], [`ServerError::Parts`], [`ServerError::Length`],
    /// [`ServerError::NoPlace`] or [`ServerError::Kernel`] if the gradients do not fit the shards. No shard
    /// keeps a part then.
    #[tracing::instrument(level = "debug", skip_all, fields(worker = %contribution.worker, step = %contribution.step))]
    pub fn stage(
        &self,
        contribution: Contribution,
        gradients: StepGradients,
    ) -> Result<(), ServerError> {
        let _layout = self.lock_layout();
        let tables = self.tables();
        let parts = self.staged(&tables, contribution, gradients)?;
        let mut state = self.state();
        // All shards take their part, or none does.
        let checked = state
            .member(contribution.worker, contribution.generation)
            .and_then(|()| {
                let group = state.group();
                state.shards.iter().try_for_each(|shard| {
                    let checked = shard
                        .barrier
                        .check(contribution.worker, contribution.step, true);
                    checked.map_err(|why| {
                        shard.refusal(why, group, contribution.worker, contribution.step)
                    })
                })
            });
        if let Err(error) = checked {
            drop(state);
            for (_, staged) in parts {
                self.recycle(staged.gradients);
            }
            return Err(error);
        }
        let (now, timeout) = (self.now(), state.timeout());
        for (index, staged) in parts {
            let shard = &mut state.shards[index];
            // Cannot fail: checked above. The ticket is not needed, since no call waits.
            let (worker, step) = (contribution.worker, contribution.step);
            let _ = (shard.barrier).arrive(now, timeout, worker, step, staged, None);
        }
        Ok(())
    }

    /// Applies a step that every worker has staged: averages the gradients and applies the optimizer, on all
    /// shards.
    ///
    /// # Errors
    /// [`ServerError::Generation`]; [`ServerError::Busy`] while a shard applies an earlier step;
    /// [`ServerError::Incomplete`] if the gradients of a worker are missing. No shard has changed then.
    /// [`ServerError::Kernel`] if the device fails.
    #[tracing::instrument(level = "debug", skip(self))]
    pub fn commit(&self, generation: Generation, step: Step) -> Result<(), ServerError> {
        let _layout = self.lock_layout();
        let tables = self.tables();
        let batches: Vec<(usize, Batch<Staged, oneshot::Sender<_>>)> = {
            let mut state = self.state();
            if state.generation != generation {
                return Err(ServerError::Generation {
                    worker: state.workers.first().copied().unwrap_or(WorkerId(0)),
                    found: generation,
                    expected: state.generation,
                });
            }
            for shard in &state.shards {
                if shard.barrier.busy() {
                    let shard = shard.id;
                    return Err(ServerError::Busy { shard, step });
                }
                if !shard.barrier.complete() || shard.barrier.step() != step {
                    return Err(ServerError::Incomplete {
                        generation,
                        step,
                        shard: shard.id,
                        missing: shard.barrier.missing(),
                    });
                }
            }
            let now = self.now();
            let shards = state.shards.iter_mut().enumerate();
            shards
                .filter_map(|(index, shard)| Some((index, shard.barrier.take(now)?)))
                .collect()
        };
        let mut result = Ok(());
        for (index, batch) in batches {
            let applying = ApplyGuard::new(self, index);
            // After a failure the step cannot be saved; the loop goes on to keep the state of the other shards
            // consistent.
            let applied = self.apply(&tables, index, &batch);
            applying.ended(applied.is_ok());
            result = result.and(applied);
            for (_, arrival) in batch.arrivals {
                self.recycle(arrival.payload.gradients);
            }
        }
        result
    }

    /// Discards all gradients that are staged for the current step, on all shards.
    pub fn discard(&self) {
        let mut thrown = Vec::new();
        {
            let mut state = self.state();
            for shard in &mut state.shards {
                let arrivals = shard.barrier.clear();
                shard.stats.discarded += u64::from(!arrivals.is_empty());
                thrown.extend(arrivals);
            }
        }
        for (_, arrival) in thrown {
            self.recycle(arrival.payload.gradients);
        }
    }

    /// Announces that a worker is about to read the tables for a step. In async mode, waits until staleness
    /// allows it.
    ///
    /// # Errors
    /// See [`ParameterServer::pull`].
    pub async fn begin_step(
        &self,
        worker: WorkerId,
        generation: Generation,
    ) -> Result<(), ServerError> {
        loop {
            let tables = self.tables();
            let shards: Vec<usize> = (0..tables.shards().count()).collect();
            match self
                .begin_pull(&tables, worker, Some(generation), &shards)
                .await
            {
                Err(ServerError::LayoutChanged) => {}
                begun => return begun,
            }
        }
    }

    /// Pushes a step's gradients to every shard. In async mode, waits until staleness allows the push at all of
    /// them; in sync mode, stages the gradients.
    ///
    /// # Errors
    /// See [`ParameterServer::stage`] and [`ParameterServer::push`]. No shard has changed then, unless the
    /// device failed.
    #[tracing::instrument(level = "debug", skip_all, fields(worker = %contribution.worker, step = %contribution.step))]
    pub async fn push_step(
        &self,
        contribution: Contribution,
        gradients: StepGradients,
    ) -> Result<(), ServerError> {
        let mode = self.state().mode;
        let UpdateMode::Async {
            bound,
            policy,
            timeout,
        } = mode
        else {
            return self.stage(contribution, gradients);
        };
        let tables = self.tables();
        let parts = self.staged(&tables, contribution, gradients)?;
        let indices: Vec<usize> = parts.iter().map(|(index, _)| *index).collect();
        let limits = Limits {
            bound,
            policy,
            timeout,
        };
        let pusher = Pusher {
            worker: contribution.worker,
            generation: contribution.generation,
            step: contribution.step,
        };
        let admitted = self.admit(&tables, &indices, pusher, limits).await?;
        // Other workers now count on this push, so each guard is dropped even if the work is.
        let shards: Vec<AdmittedPart> = (parts.into_iter().zip(admitted))
            .map(|((index, staged), admitted)| AdmittedPart {
                settling: InFlightGuard::new(self, index),
                index,
                staged,
                admitted,
            })
            .collect();
        let server = self.clone();
        let applied = off_runtime(move || server.apply_admitted(&tables, shards)).await;
        applied.unwrap_or(Err(ServerError::Stopped))
    }

    /// Applies one worker's gradients to every shard, in order.
    fn apply_admitted(
        &self,
        tables: &Tables,
        shards: Vec<AdmittedPart>,
    ) -> Result<(), ServerError> {
        let mut result = Ok(());
        for part in shards {
            let AdmittedPart {
                settling,
                index,
                staged,
                admitted,
            } = part;
            let id = self.state().shards[index].id;
            let start = std::time::Instant::now();
            let push = Push {
                places: staged.places.as_deref().map_or(Places::All, Places::Listed),
                gradients: &staged.gradients,
                weight: 1.0,
            };
            let optimizer = admitted.optimizer(tables);
            let applied = tables.table(id.table).push(optimizer, id.shard, &[push]);
            let (values, squares) = (staged.gradients.len(), staged.squares);
            self.settle(index, &admitted, values, squares, start.elapsed());
            drop(settling);
            self.recycle(staged.gradients);
            result = result.and(applied);
        }
        Ok(result?)
    }

    /// Checks that a step's gradients fit the shards, and pairs each part with the index of its shard.
    fn staged(
        &self,
        tables: &Tables,
        contribution: Contribution,
        gradients: StepGradients,
    ) -> Result<Parts, ServerError> {
        let StepGradients { layout, shards } = gradients;
        if let Err(error) = check(tables, contribution, layout, &shards) {
            for part in shards {
                self.recycle(part.gradients);
            }
            return Err(error);
        }
        let staged = |part: ShardGradients| Staged {
            places: part.places,
            gradients: part.gradients,
            samples: contribution.samples,
            // Every shard's figures have the norm of the whole step.
            squares: contribution.squares,
        };
        Ok(shards.into_iter().map(staged).enumerate().collect())
    }
}

/// Part of an admitted push for one shard.
struct AdmittedPart {
    settling: InFlightGuard,
    index: usize,
    staged: Staged,
    admitted: Admitted,
}

/// Staged gradients of a step, each with the index of its shard.
type Parts = Vec<(usize, Staged)>;

/// Checks that gradients are for the shards of `tables`, name existing places, and lie on the shards' devices.
fn check(
    tables: &Tables,
    contribution: Contribution,
    layout: LayoutVersion,
    parts: &[ShardGradients],
) -> Result<(), ServerError> {
    let worker = contribution.worker;
    if layout != tables.version() {
        return Err(ServerError::LayoutChanged);
    }
    let expected = tables.shards();
    if !expected.eq(parts.iter().map(|part| part.shard)) {
        return Err(ServerError::Parts {
            worker,
            found: parts.len(),
            expected: tables.shards().count(),
        });
    }
    for part in parts {
        let shard = part.shard;
        if !(contribution.samples.is_finite() && contribution.samples >= 0.0) {
            return Err(ServerError::Samples {
                worker,
                shard,
                samples: contribution.samples,
            });
        }
        let held = tables.layout(shard.table).range(shard.shard).len();
        let width = tables.width(shard.table);
        let rows = part.places.as_ref().map_or(held, Vec::len);
        if part.gradients.len() != rows * width {
            return Err(ServerError::Length {
                worker,
                shard,
                rows,
                width,
                expected: rows * width,
                found: part.gradients.len(),
            });
        }
        let places = part.places.as_deref().unwrap_or_default();
        if let Some(&place) = places.iter().find(|&&place| place as usize >= held) {
            return Err(ServerError::NoPlace {
                worker,
                shard,
                place,
                rows: held,
            });
        }
        tables.device(shard).check_rows(&part.gradients)?;
    }
    Ok(())
}
