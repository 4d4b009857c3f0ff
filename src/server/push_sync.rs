//! Pushes that wait for the pushes of other workers.

use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout_at;

use super::off_runtime::off_runtime;
use super::push::finite;
use super::sync::barrier::{Arrived, Batch, Ticket};
use super::sync::guards::ApplyGuard;
use super::sync::state::{Outcome, ServerState, Staged};
use super::table::tables::Tables;
use super::{Combination, Gradients, ParameterServer, Push, Pushed, ServerError, WorkerId};
use crate::kernel::{self, Places};
use crate::optim::OptimizerStep;

/// A step's pushes, ready to be applied.
type Ready = Batch<Staged, oneshot::Sender<Outcome>>;

/// Withdraws a waiting push when its future is dropped.
struct Waiting<'a> {
    server: &'a ParameterServer,
    tables: &'a Tables,
    index: usize,
    worker: WorkerId,
    ticket: Ticket,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.server.state();
        // Shards do not move while pushes wait at them.
        let Ok(shard) = state.shard(self.tables, self.index) else {
            return;
        };
        if let Some(staged) = shard.barrier.withdraw(self.worker, self.ticket) {
            shard.stats.cancelled += 1;
            drop(state);
            self.server.recycle(staged.gradients);
        }
    }
}

/// Outcome that a waiting push has received, if any.
fn told(outcome: &mut oneshot::Receiver<Outcome>, push: &Push<'_>) -> Option<Outcome> {
    match outcome.try_recv() {
        Ok(outcome) => Some(outcome),
        Err(oneshot::error::TryRecvError::Closed) => Some(Err(abandoned(push))),
        Err(oneshot::error::TryRecvError::Empty) => None,
    }
}

/// Error of a push whose reply channel was dropped: its update panicked, or `set_steps` reset the barrier.
fn abandoned(push: &Push<'_>) -> ServerError {
    ServerError::Abandoned {
        worker: push.worker,
        shard: push.shard,
    }
}

impl ParameterServer {
    pub(super) async fn push_sync(
        &self,
        tables: &Arc<Tables>,
        index: usize,
        push: Push<'_>,
        places: Vec<u32>,
        timeout: Duration,
    ) -> Result<Pushed, ServerError> {
        let device = tables.device(push.shard);
        // The gradients reach the barrier only after they are known to be finite.
        let (gradients, squares) = match push.gradients {
            Gradients::Host(values) => {
                let (gradients, squares) = device.upload_summed(values, self.reuse(device))?;
                if let Err(error) = finite(tables, &push, squares) {
                    self.recycle(gradients);
                    return Err(error);
                }
                (gradients, squares)
            }
            Gradients::Device(rows) => (rows.clone(), self.finite(tables, &push)?),
        };
        let staged = Staged {
            places: Some(places),
            gradients,
            samples: push.samples,
            squares,
        };
        let (sender, mut outcome) = oneshot::channel();
        let (worker, step) = (push.worker, push.step);
        let (ticket, batch) = {
            let mut state = self.state_at_rest(&push, timeout).await?;
            state.member(push.worker, push.generation)?;
            let now = self.now();
            let group = state.group();
            let shard = state.shard(tables, index)?;
            let arrived = (shard.barrier).arrive(now, timeout, worker, step, staged, Some(sender));
            match arrived.map_err(|why| shard.refusal(why, group, worker, step))? {
                Arrived::Applied => {
                    shard.stats.repeated += 1;
                    return Ok(Pushed {
                        step: push.step,
                        workers: 0,
                        missing: Arc::default(),
                        staleness: 0,
                        repeated: true,
                    });
                }
                Arrived::Again(ticket) => {
                    shard.stats.repeated += 1;
                    (ticket, None)
                }
                Arrived::Waiting(ticket) => (ticket, shard.barrier.take(now)),
            }
        };
        let waiting = Waiting {
            server: self,
            tables,
            index,
            worker: push.worker,
            ticket,
        };
        if let Some(batch) = batch {
            self.apply_batches(tables, index, batch).await;
        }
        // The outcome may have been sent before this call began to wait.
        if let Some(outcome) = told(&mut outcome, &push) {
            return outcome;
        }
        let result = self
            .wait_at_barrier(tables, index, push, timeout, ticket, outcome)
            .await;
        drop(waiting);
        result
    }

    /// Waits until no shards are being moved, and locks the state.
    async fn state_at_rest(
        &self,
        push: &Push<'_>,
        timeout: Duration,
    ) -> Result<MutexGuard<'_, ServerState>, ServerError> {
        let deadline = self.at(self.now().saturating_add(timeout));
        loop {
            let changed = self.inner.changed.notified();
            tokio::pin!(changed);
            // A change from here on wakes the wait below.
            changed.as_mut().enable();
            {
                let state = self.state();
                if !state.moving {
                    return Ok(state);
                }
            }
            if timeout_at(deadline, changed).await.is_err() {
                return Err(ServerError::Timeout {
                    worker: push.worker,
                    shard: push.shard,
                    after: timeout,
                    waiting_for: Vec::new(),
                });
            }
        }
    }

    /// Takes the batch of a barrier that is ready, unless its shard has moved.
    fn take(&self, tables: &Tables, index: usize) -> Option<Ready> {
        let now = self.now();
        self.state().shard(tables, index).ok()?.barrier.take(now)
    }

    /// Waits for the other workers, and flushes the barrier if they do not come in time.
    async fn wait_at_barrier(
        &self,
        tables: &Arc<Tables>,
        index: usize,
        push: Push<'_>,
        timeout: Duration,
        ticket: Ticket,
        mut outcome: oneshot::Receiver<Outcome>,
    ) -> Result<Pushed, ServerError> {
        let end = self.now().saturating_add(timeout.saturating_mul(2));
        let mut retry = Duration::ZERO;
        loop {
            // A push that is no longer at the barrier is being applied, or its shard has moved: the outcome
            // follows when that is done.
            let deadline = match self.state().shard(tables, index) {
                Ok(shard) if shard.barrier.holds(push.worker, ticket) => shard.barrier.deadline(),
                _ => None,
            };
            let Some(deadline) = deadline else {
                return (&mut outcome).await.unwrap_or(Err(abandoned(&push)));
            };
            let wake = self.at(deadline.max(retry).min(end));
            if let Ok(told) = timeout_at(wake, &mut outcome).await {
                return told.unwrap_or(Err(abandoned(&push)));
            }
            if let Some(batch) = self.take(tables, index) {
                self.apply_batches(tables, index, batch).await;
            }
            if let Some(outcome) = told(&mut outcome, &push) {
                return outcome;
            }
            let missing = match self.state().shard(tables, index) {
                Ok(shard) if shard.barrier.holds(push.worker, ticket) => shard.barrier.missing(),
                _ => continue,
            };
            if self.now() >= end {
                return Err(ServerError::Timeout {
                    worker: push.worker,
                    shard: push.shard,
                    after: timeout,
                    waiting_for: missing,
                });
            }
            // An earlier batch is being applied; this push comes after it.
            retry = self.now() + Duration::from_millis(1);
        }
    }

    /// Applies a batch off the runtime, and then the batches that become complete meanwhile.
    async fn apply_batches(&self, tables: &Arc<Tables>, index: usize, first: Ready) {
        let applying = ApplyGuard::new(self, index);
        let (server, tables) = (self.clone(), Arc::clone(tables));
        // The channel of each waiting push reports the outcome; a dropped batch closes it.
        let _ = off_runtime(move || server.apply_in_turn(&tables, index, applying, first)).await;
    }

    /// Applies a batch, and then the batches that become complete meanwhile. The shard is busy, and does not
    /// move, until the last one is applied.
    fn apply_in_turn(&self, tables: &Tables, index: usize, applying: ApplyGuard, first: Ready) {
        let mut next = Some((applying, first));
        while let Some((applying, batch)) = next.take() {
            let applied = self.apply(tables, index, &batch);
            applying.ended(applied.is_ok());
            let missing: Arc<[WorkerId]> = batch.missing.into();
            let pushed = applied.map(|()| Pushed {
                step: batch.step,
                workers: batch.arrivals.len(),
                missing,
                staleness: 0,
                repeated: false,
            });
            next = (self.take(tables, index)).map(|batch| (ApplyGuard::new(self, index), batch));
            for (_, arrival) in batch.arrivals {
                self.recycle(arrival.payload.gradients);
                for (i, (_, waiter)) in arrival.waiters.into_iter().enumerate() {
                    let mut outcome = pushed.clone();
                    if let Ok(pushed) = &mut outcome {
                        pushed.repeated = i > 0;
                    }
                    // A push that is no longer waiting has dropped its receiver.
                    let _ = waiter.send(outcome);
                }
            }
        }
    }

    /// Combines the gradients of a batch and applies the optimizer.
    pub(super) fn apply(
        &self,
        tables: &Tables,
        index: usize,
        batch: &Ready,
    ) -> Result<(), ServerError> {
        let (id, rate, combination) = {
            let state = self.state();
            (state.shards[index].id, state.rate, state.combination)
        };
        let start = Instant::now();
        let pushes = || batch.arrivals.iter().map(|(_, arrival)| &arrival.payload);
        let total: f32 = pushes().map(|push| push.samples).sum();
        let optimizer = OptimizerStep::new(tables.optimizer(), rate, batch.step.next().0);
        // A step without samples has no average and changes nothing.
        if total > 0.0 {
            let pushes: Vec<kernel::Push<'_>> = pushes()
                .filter(|push| push.samples > 0.0)
                // An average counts the samples of those without gradients for the shard, a sum does not.
                .filter(|push| combination == Combination::Mean || !push.gradients.is_empty())
                .map(|push| kernel::Push {
                    places: push.places.as_deref().map_or(Places::All, Places::Listed),
                    gradients: &push.gradients,
                    weight: match combination {
                        Combination::Mean => push.samples / total,
                        Combination::Sum => 1.0,
                    },
                })
                .collect();
            tables.table(id.table).push(optimizer, id.shard, &pushes)?;
        }
        let mut state = self.state();
        let stats = &mut state.shards[index].stats;
        stats.took(start.elapsed());
        stats.step = batch.step.next().0;
        if batch.missing.is_empty() {
            stats.barriers += 1;
        } else {
            stats.flushed += 1;
            tracing::warn!(shard = %id, step = %batch.step, missing = ?batch.missing, "barrier flushed");
        }
        for push in pushes() {
            stats.pushed(push.gradients.len(), push.squares, 0);
        }
        Ok(())
    }
}
