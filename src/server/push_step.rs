//! Pushes of a step's gradients to all shards: staged for a commit, or applied at once. All shards take their
//! part, or the push is refused and none does.

use super::off_runtime::{INLINE_VALUES, off_runtime};
use super::push_async::{Admitted, Limits, Pusher};
use super::sync::guards::InFlightGuard;
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
        let staged = self.try_stage(contribution, gradients);
        staged.inspect_err(|error| self.count_refusal(error))
    }

    fn try_stage(
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
        let limits = Limits {
            bound,
            policy,
            timeout,
        };
        let pushed = self.push_at_once(contribution, gradients, limits).await;
        pushed.inspect_err(|error| self.count_refusal(error))
    }

    async fn push_at_once(
        &self,
        contribution: Contribution,
        gradients: StepGradients,
        limits: Limits,
    ) -> Result<(), ServerError> {
        let tables = self.tables();
        let parts = self.staged(&tables, contribution, gradients)?;
        let indices: Vec<usize> = parts.iter().map(|(index, _)| *index).collect();
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
        let values: usize = shards.iter().map(|part| part.staged.gradients.len()).sum();
        if values <= INLINE_VALUES && !self.is_on_gpu() {
            return self.apply_admitted(&tables, shards);
        }
        let server = self.clone();
        let applied = off_runtime(move || server.apply_admitted(&tables, shards)).await;
        applied.unwrap_or(Err(ServerError::Stopped))
    }

    /// Counts a refused push at every shard: none has taken its part.
    fn count_refusal(&self, error: &ServerError) {
        // The worker computes the same step again for the new layout.
        if matches!(error, ServerError::LayoutChanged) {
            return;
        }
        tracing::warn!(%error, "push refused");
        for shard in &mut self.state().shards {
            shard.stats.refuse(error);
        }
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
