//! Steps that are voted on: gradients wait on the shards' devices until all workers are ready, and
//! are then applied everywhere or nowhere.

use tokio::sync::oneshot;

use super::barrier::Batch;
use super::desk::Staged;
use super::guard::{Applying, Settling};
use super::tables::Tables;
use super::{ParameterServer, ServerError, ShardId, StoragePlan, UpdateMode, WorkerId};
use crate::kernel::{Backend, GradientRows, KernelError, Places, Push, Table, TableName};
use crate::sampler::{Candidates, Plan};

/// Whose gradients a step is made of, and how much they weigh.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// The worker.
    pub worker: WorkerId,
    /// Its generation.
    pub generation: u64,
    /// The shards' step, from 0.
    pub step: u64,
    /// Samples behind the gradients.
    pub samples: f32,
    /// Σ g² over the gradients, for the books.
    pub squares: f64,
}

/// A worker's gradients for every shard, on the shards' device.
type Parts = Vec<(usize, Staged)>;

impl ParameterServer {
    /// Leaves the gradients that an engine has made from a plan at every shard, without applying
    /// them. The engine may be of the server's device, where they stay, or of another one: then
    /// `copies` are the tables that it read instead.
    ///
    /// # Errors
    /// [`ServerError::UnknownWorker`], [`ServerError::Generation`], [`ServerError::Late`],
    /// [`ServerError::Early`]; [`ServerError::Moved`] if the gradients were made for shards that
    /// have moved since; [`ServerError::Kernel`] if a device fails. Nothing is left then.
    #[tracing::instrument(level = "debug", skip_all, fields(worker = %share.worker, step = share.step))]
    pub fn stage(
        &self,
        share: Share,
        engine: &mut Backend,
        copies: Option<[&Table; 2]>,
        plan: &StoragePlan,
    ) -> Result<(), ServerError> {
        let _still = self.still();
        let tables = self.tables_of(plan)?;
        self.desk().member(share.worker, share.generation)?;
        let parts = self.parts(&tables, (engine, copies), plan, share)?;
        let mut desk = self.desk();
        // Checked again: all shards take their part, or none does.
        let checked = desk.member(share.worker, share.generation).and_then(|()| {
            let group = (desk.generation, desk.workers.len());
            let who = (share.worker, share.step);
            desk.shards.iter().try_for_each(|shard| {
                let checked = shard.barrier.check(share.worker, share.step, true);
                checked.map_err(|why| shard.refusal(why, group, who))
            })
        });
        if let Err(error) = checked {
            drop(desk);
            for (_, staged) in parts {
                self.recycle(staged.gradients);
            }
            return Err(error);
        }
        let (now, timeout) = (self.now(), desk.timeout());
        let who = (share.worker, share.step);
        for (index, staged) in parts {
            let shard = &mut desk.shards[index];
            // Checked above; a repeated one is not needed.
            let _ = shard.barrier.arrive(now, timeout, who, staged, None);
        }
        Ok(())
    }

    /// Applies a step that every worker has staged: averages and optimizer on all shards.
    ///
    /// # Errors
    /// [`ServerError::Generation`] or [`ServerError::Incomplete`] if a worker's gradients are not
    /// there; no shard has changed then. [`ServerError::Kernel`] if the device fails.
    #[tracing::instrument(level = "debug", skip(self))]
    pub fn commit(&self, generation: u64, step: u64) -> Result<(), ServerError> {
        let _still = self.still();
        let tables = self.tables();
        let batches: Vec<(usize, Batch<Staged, oneshot::Sender<_>>)> = {
            let mut desk = self.desk();
            if desk.generation != generation {
                return Err(ServerError::Generation {
                    worker: desk.workers.first().copied().unwrap_or(WorkerId(0)),
                    found: generation,
                    expected: desk.generation,
                });
            }
            for shard in &desk.shards {
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
            let shards = desk.shards.iter_mut().enumerate();
            shards
                .filter_map(|(index, shard)| Some((index, shard.barrier.take(now)?)))
                .collect()
        };
        let mut result = Ok(());
        for (index, batch) in batches {
            let applying = Applying::new(self, index);
            // Past the first failure there is nothing left to save, but the books stay right.
            let applied = self.apply(&tables, index, &batch);
            applying.ended(applied.is_ok());
            result = result.and(applied);
            for (_, arrival) in batch.arrivals {
                self.recycle(arrival.payload.gradients);
            }
        }
        result
    }

    /// Throws away what has been staged for the current step, everywhere.
    pub fn discard(&self) {
        let mut thrown = Vec::new();
        {
            let mut desk = self.desk();
            for shard in &mut desk.shards {
                let arrivals = shard.barrier.clear();
                shard.stats.discarded += u64::from(!arrivals.is_empty());
                thrown.extend(arrivals);
            }
        }
        for (_, arrival) in thrown {
            self.recycle(arrival.payload.gradients);
        }
    }

    /// Notes that a worker is about to read the tables for a step (async: as soon as staleness
    /// allows).
    ///
    /// # Errors
    /// As [`ParameterServer::pull`].
    pub async fn begin_step(&self, worker: WorkerId, generation: u64) -> Result<(), ServerError> {
        let who = (worker, Some(generation));
        loop {
            let tables = self.tables();
            let shards: Vec<usize> = (0..tables.shards().count()).collect();
            match self.begin_pull(&tables, who, &shards).await {
                Err(ServerError::Moved) => {}
                begun => return begun,
            }
        }
    }

    /// Pushes the gradients that an engine has made from a plan to every shard, as soon as
    /// staleness allows it at all of them (async); staged in sync mode.
    ///
    /// # Errors
    /// As [`ParameterServer::push`], and [`ServerError::Moved`] if the gradients were made for
    /// shards that have moved since: no shard has changed then, unless the device failed.
    #[tracing::instrument(level = "debug", skip_all, fields(worker = %share.worker, step = share.step))]
    pub async fn push_step(
        &self,
        share: Share,
        engine: &mut Backend,
        copies: Option<[&Table; 2]>,
        plan: &StoragePlan,
    ) -> Result<(), ServerError> {
        let mode = self.desk().mode;
        let UpdateMode::Async {
            bound,
            policy,
            timeout,
        } = mode
        else {
            return self.stage(share, engine, copies, plan);
        };
        let tables = self.tables_of(plan)?;
        let parts = self.parts(&tables, (engine, copies), plan, share)?;
        let indices: Vec<usize> = parts.iter().map(|(index, _)| *index).collect();
        let limits = (bound, policy, timeout);
        let admitted = self
            .admit(
                &tables,
                &indices,
                (share.worker, share.generation, share.step),
                limits,
            )
            .await?;
        let mut result = Ok(());
        for ((index, staged), admitted) in parts.into_iter().zip(admitted) {
            let settling = Settling::new(self, index);
            let id = self.desk().shards[index].id;
            let start = std::time::Instant::now();
            let push = Push {
                places: staged.places.as_deref().map_or(Places::All, Places::Listed),
                gradients: &staged.gradients,
                weight: 1.0,
            };
            let optimizer = admitted.optimizer(&tables);
            let applied = tables.table(id.table).push(optimizer, id.shard, &[push]);
            let values = (staged.gradients.len(), staged.squares);
            self.settle(index, &admitted, values, start.elapsed());
            drop(settling);
            self.recycle(staged.gradients);
            result = result.and(applied);
        }
        Ok(result?)
    }

    /// An engine's gradients, shard by shard, on the devices of the shards.
    fn parts(
        &self,
        tables: &Tables,
        (engine, copies): (&mut Backend, Option<[&Table; 2]>),
        plan: &Plan,
        share: Share,
    ) -> Result<Parts, ServerError> {
        let mut parts = Vec::new();
        for (index, id) in tables.shards().enumerate() {
            let (places, gradients) = self.part(tables, (&mut *engine, copies), plan, id)?;
            parts.push((
                index,
                Staged {
                    places,
                    gradients,
                    samples: share.samples,
                    // The books of every shard keep the norm of the whole step.
                    squares: share.squares,
                },
            ));
        }
        Ok(parts)
    }

    /// An engine's gradients for one shard, on the shard's device, and their places; all if none.
    pub(super) fn part(
        &self,
        tables: &Tables,
        (engine, copies): (&mut Backend, Option<[&Table; 2]>),
        plan: &Plan,
        id: ShardId,
    ) -> Result<(Option<Vec<u32>>, GradientRows), KernelError> {
        let keeper = tables.keeper(id);
        // An empty plan has no gradients.
        if plan.queries.is_empty() {
            return Ok((Some(Vec::new()), keeper.upload(&[], None)?));
        }
        let layout = tables.layout(id.table);
        let rows = match id.table {
            TableName::Entities => &plan.entities.ids,
            TableName::Relations => &plan.relations.ids,
        };
        let all =
            id.table == TableName::Entities && matches!(plan.candidates, Candidates::All { .. });
        let first = layout.range(id.shard).start as u32;
        let ids = &rows[layout.stretch(id.shard, rows)];
        let places = (!all).then(|| ids.iter().map(|row| row - first).collect());
        let old = self.reuse(keeper);
        let gradients = match copies {
            None => {
                let table = tables.table(id.table).whole()?;
                engine.keep_gradients(plan, id.table, table, id.shard, old)?
            }
            Some(copies) => {
                let (copy, mut gradients) = (copies[id.table as usize], Vec::new());
                engine.read_gradients(plan, id.table, copy, id.shard, &mut gradients)?;
                keeper.upload(&gradients, old)?
            }
        };
        Ok((places, gradients))
    }
}
