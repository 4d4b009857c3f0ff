//! Pushes that wait for those of other workers.

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
use super::{Gradients, ParameterServer, Push, Pushed, ServerError, WorkerId};
use crate::kernel::{self, Places};
use crate::optim::OptimizerStep;

/// A step's pushes, ready to be applied.
type Ready = Batch<Staged, oneshot::Sender<Outcome>>;

/// Withdraws a waiting push when its call is dropped.
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
        // Shards that moved have no pushes waiting.
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

/// What a waiting push was told, if anything yet.
fn told(outcome: &mut oneshot::Receiver<Outcome>, push: &Push<'_>) -> Option<Outcome> {
    match outcome.try_recv() {
        Ok(outcome) => Some(outcome),
        Err(oneshot::error::TryRecvError::Closed) => Some(Err(abandoned(push))),
        Err(oneshot::error::TryRecvError::Empty) => None,
    }
}

/// Whoever was to tell is gone: its arithmetic panicked, or steps were set anew.
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
        // Nobody sees them before they are known to be finite.
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
        let who = (push.worker, push.step);
        let (ticket, batch) = {
            let mut state = self.state_at_rest(&push, timeout).await?;
            state.member(push.worker, push.generation)?;
            let now = self.now();
            let group = state.group();
            let shard = state.shard(tables, index)?;
            let arrived = (shard.barrier).arrive(now, timeout, who, staged, Some(sender));
            match arrived.map_err(|why| shard.refusal(why, group, who))? {
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
        // Sent before this call began to wait, or while it does.
        if let Some(outcome) = told(&mut outcome, &push) {
            return outcome;
        }
        let result = self
            .wait_at_barrier(tables, index, push, timeout, ticket, outcome)
            .await;
        drop(waiting);
        result
    }

    /// The state, once no shards are being moved.
    async fn state_at_rest(
        &self,
        push: &Push<'_>,
        timeout: Duration,
    ) -> Result<MutexGuard<'_, ServerState>, ServerError> {
        let deadline = self.at(self.now().saturating_add(timeout));
        loop {
            let changed = self.inner.changed.notified();
            tokio::pin!(changed);
            // From here on no change is missed.
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

    /// What a barrier has for whoever takes it, unless its shard has moved.
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
            // A push that is not at the barrier any more is being applied, or its shard has moved since:
            // the outcome comes when that is done.
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

    /// Applies a batch off the runtime, and those that become complete in the meantime.
    async fn apply_batches(&self, tables: &Arc<Tables>, index: usize, first: Ready) {
        let applying = ApplyGuard::new(self, index);
        let (server, tables) = (self.clone(), Arc::clone(tables));
        // Whoever waits is told by its channel, also that the batch was dropped.
        let _ = off_runtime(move || server.apply_in_turn(&tables, index, applying, first)).await;
    }

    /// Applies a batch, and those that become complete in the meantime. Until the last one is applied
    /// the shard is busy: it does not move.
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
                    // Who no longer waits need not know.
                    let _ = waiter.send(outcome);
                }
            }
        }
    }

    /// The average over a batch, and the optimizer.
    pub(super) fn apply(
        &self,
        tables: &Tables,
        index: usize,
        batch: &Ready,
    ) -> Result<(), ServerError> {
        let (id, rate) = {
            let state = self.state();
            (state.shards[index].id, state.rate)
        };
        let start = Instant::now();
        let pushes = || batch.arrivals.iter().map(|(_, arrival)| &arrival.payload);
        let total: f32 = pushes().map(|push| push.samples).sum();
        let optimizer = OptimizerStep::new(tables.optimizer(), rate, batch.step.next().0);
        // A step without samples has no average; it changes nothing.
        if total > 0.0 {
            let pushes: Vec<kernel::Push<'_>> = pushes()
                .filter(|push| push.samples > 0.0)
                .map(|push| kernel::Push {
                    places: push.places.as_deref().map_or(Places::All, Places::Listed),
                    gradients: &push.gradients,
                    weight: push.samples / total,
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
