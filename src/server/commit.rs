//! The verdict on a step that workers vote on: gradients that wait on the shards' devices are applied on all
//! shards, or dropped on all.

use tokio::sync::oneshot;

use super::sync::barrier::Batch;
use super::sync::guards::ApplyGuard;
use super::sync::state::Staged;
use super::{Generation, ParameterServer, ServerError, Step, WorkerId};

impl ParameterServer {
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
}
