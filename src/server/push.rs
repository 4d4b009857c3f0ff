//! Pushes: how gradients of workers reach rows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout_at;

use super::barrier::{Arrived, Batch, Ticket};
use super::desk::{Desk, Outcome, Staged};
use super::tables::Tables;
use super::{ParameterServer, ServerError, ShardId, StalenessPolicy, UpdateMode, WorkerId};
use crate::kernel::{self, GradientRows, Places, TableName, cpu};
use crate::optim::OptimizerStep;

/// Gradients of some rows of one shard.
#[derive(Clone, Copy, Debug)]
pub struct Push<'a> {
    /// Who pushes.
    pub worker: WorkerId,
    /// The generation of workers that it belongs to.
    pub generation: u64,
    /// The shard's step that it is for (sync), or the worker's own count (async), from 0.
    pub step: u64,
    /// The table and shard.
    pub shard: ShardId,
    /// Samples behind the gradients: their weight in the average over workers.
    pub samples: f32,
    /// Rows of the table, all of them in the shard; gradients of repeated rows are added up.
    pub rows: &'a [u32],
    /// A gradient row for each, row-major.
    pub gradients: &'a [f32],
}

/// What became of a push.
#[derive(Clone, Debug, PartialEq)]
pub struct Pushed {
    /// The shard's step that the push went into.
    pub step: u64,
    /// Workers whose gradients went into it.
    pub workers: usize,
    /// Expected workers that did not come before the barrier's deadline.
    pub missing: Arc<[WorkerId]>,
    /// Steps between the worker's pull and this push (async).
    pub staleness: u64,
    /// Whether this push had been made before: it was not applied again.
    pub repeated: bool,
}

/// Withdraws a waiting push when its call is dropped.
struct Waiting<'a> {
    server: &'a ParameterServer,
    index: usize,
    worker: WorkerId,
    ticket: Ticket,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut desk = self.server.desk();
        // Moved shards have no pushes waiting.
        let Some(shard) = desk.shards.get_mut(self.index) else {
            return;
        };
        if let Some(staged) = shard.barrier.withdraw(self.worker, self.ticket) {
            shard.stats.cancelled += 1;
            drop(desk);
            self.server.recycle(staged.gradients);
        }
    }
}

impl ParameterServer {
    /// Pushes gradients to one shard and waits until they are applied: with those of the other
    /// workers (sync), or as soon as staleness allows (async). Dropped before, it leaves no trace.
    ///
    /// Needs a tokio runtime with time if it may have to wait.
    ///
    /// # Errors
    /// See [`ServerError`]: nothing of the push has been applied then.
    #[tracing::instrument(level = "debug", skip_all, fields(worker = %push.worker, shard = %push.shard, step = push.step))]
    pub async fn push(&self, push: Push<'_>) -> Result<Pushed, ServerError> {
        let result = self.try_push(push).await;
        if let Err(error) = &result {
            tracing::warn!(%error, "push refused");
            let mut desk = self.desk();
            if let Some(index) = desk.index(push.shard) {
                desk.shards[index].stats.refuse(error);
            }
        }
        result
    }

    async fn try_push(&self, push: Push<'_>) -> Result<Pushed, ServerError> {
        let tables = self.tables();
        let (index, mode) = {
            let desk = self.desk();
            let index = desk.index(push.shard).ok_or(ServerError::NoShard {
                table: push.shard.table,
                shard: push.shard.shard,
                shards: tables.layout(push.shard.table).shards(),
            })?;
            desk.member(push.worker, push.generation)?;
            if let UpdateMode::Sync { .. } = desk.mode {
                self.expected_step(&desk, index, &push)?;
            }
            (index, desk.mode)
        };
        let places = places(&tables, &push)?;
        match mode {
            UpdateMode::Sync { timeout } => {
                self.push_sync(&tables, index, push, places, timeout).await
            }
            UpdateMode::Async {
                bound,
                policy,
                timeout,
            } => {
                let limits = (bound, policy, timeout);
                self.push_async(&tables, index, push, &places, limits).await
            }
        }
    }

    fn expected_step(&self, desk: &Desk, index: usize, push: &Push) -> Result<(), ServerError> {
        let shard = &desk.shards[index];
        let group = (desk.generation, desk.workers.len());
        let who = (push.worker, push.step);
        let checked = shard.barrier.check(push.worker, push.step);
        checked.map_err(|why| shard.refusal(why, group, who))
    }

    async fn push_sync(
        &self,
        tables: &Tables,
        index: usize,
        push: Push<'_>,
        places: Vec<u32>,
        timeout: Duration,
    ) -> Result<Pushed, ServerError> {
        let keeper = &self.inner.keeper;
        // Nobody sees them before they are known to be finite.
        let (gradients, squares) = keeper.upload_summed(push.gradients, self.reuse())?;
        if let Err(error) = finite(tables, &push, squares) {
            self.recycle(gradients);
            return Err(error);
        }
        let staged = Staged {
            places: Some(places),
            gradients,
            samples: push.samples,
            squares,
        };
        let (sender, mut outcome) = oneshot::channel();
        let who = (push.worker, push.step);
        let (ticket, batch) = {
            let mut desk = self.desk();
            desk.member(push.worker, push.generation)?;
            let now = self.now();
            let group = (desk.generation, desk.workers.len());
            let shard = &mut desk.shards[index];
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
            index,
            worker: push.worker,
            ticket,
        };
        if let Some(batch) = batch {
            self.apply_batches(tables, index, batch);
        }
        // Sent before this call began to wait, or while it does.
        if let Ok(outcome) = outcome.try_recv() {
            return outcome;
        }
        let result = self
            .wait_at_barrier(tables, index, push, timeout, outcome)
            .await;
        drop(waiting);
        result
    }

    /// Waits for the other workers, and flushes the barrier if they do not come in time.
    async fn wait_at_barrier(
        &self,
        tables: &Tables,
        index: usize,
        push: Push<'_>,
        timeout: Duration,
        mut outcome: oneshot::Receiver<Outcome>,
    ) -> Result<Pushed, ServerError> {
        let end = self.now() + timeout.saturating_mul(2);
        loop {
            let deadline = self.desk().shards[index].barrier.deadline().unwrap_or(end);
            match timeout_at(self.at(deadline.min(end)), &mut outcome).await {
                Ok(Ok(outcome)) => return outcome,
                // Whoever was to tell is gone: its arithmetic panicked.
                Ok(Err(_)) => {}
                Err(_) => {
                    let batch = self.desk().shards[index].barrier.take(self.now());
                    if let Some(batch) = batch {
                        self.apply_batches(tables, index, batch);
                    }
                    if let Ok(outcome) = outcome.try_recv() {
                        return outcome;
                    }
                    if self.now() < end {
                        // An earlier batch is being applied; ours comes after it.
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        continue;
                    }
                }
            }
            return Err(ServerError::Timeout {
                worker: push.worker,
                shard: push.shard,
                after: timeout,
                waiting_for: self.desk().shards[index].barrier.missing(),
            });
        }
    }

    /// Applies a batch, and those that have become complete in the meantime.
    fn apply_batches(
        &self,
        tables: &Tables,
        index: usize,
        first: Batch<Staged, oneshot::Sender<Outcome>>,
    ) {
        let mut next = Some(first);
        while let Some(batch) = next.take() {
            let applied = self.apply(tables, index, &batch);
            let missing: Arc<[WorkerId]> = batch.missing.into();
            let pushed = applied.map(|()| Pushed {
                step: batch.step,
                workers: batch.arrivals.len(),
                missing,
                staleness: 0,
                repeated: false,
            });
            next = {
                let mut desk = self.desk();
                let shard = &mut desk.shards[index];
                shard.barrier.applied();
                shard.barrier.take(self.now())
            };
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
        batch: &Batch<Staged, oneshot::Sender<Outcome>>,
    ) -> Result<(), ServerError> {
        let (id, rate) = {
            let desk = self.desk();
            (desk.shards[index].id, desk.rate)
        };
        let start = Instant::now();
        let pushes = || batch.arrivals.iter().map(|(_, arrival)| &arrival.payload);
        let total: f32 = pushes().map(|push| push.samples).sum();
        let optimizer = OptimizerStep::new(tables.optimizer(), rate, batch.step + 1);
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
            let table = tables.table(id.table);
            self.inner
                .keeper
                .push(optimizer, table, id.shard, &pushes)?;
        }
        let mut desk = self.desk();
        let stats = &mut desk.shards[index].stats;
        stats.took(start.elapsed());
        stats.step = batch.step + 1;
        if batch.missing.is_empty() {
            stats.barriers += 1;
        } else {
            stats.flushed += 1;
            tracing::warn!(shard = %id, step = batch.step, missing = ?batch.missing, "barrier flushed");
        }
        for push in pushes() {
            stats.pushed(push.gradients.len(), push.squares, 0);
        }
        Ok(())
    }

    async fn push_async(
        &self,
        tables: &Tables,
        index: usize,
        push: Push<'_>,
        places: &[u32],
        limits: (u64, StalenessPolicy, Duration),
    ) -> Result<Pushed, ServerError> {
        let squares = cpu::square_sum(push.gradients);
        finite(tables, &push, squares)?;
        let admitted = self
            .admit(&[index], push.worker, push.generation, limits)
            .await?;
        let admitted = &admitted[0];
        let (table, places) = (tables.table(push.shard.table), Places::Listed(places));
        let start = Instant::now();
        let optimizer = admitted.optimizer(tables);
        let keeper = &self.inner.keeper;
        let applied = keeper.push_rows(optimizer, table, push.shard.shard, places, push.gradients);
        let values = (push.gradients.len(), squares);
        self.settle(index, admitted, values, start.elapsed());
        applied?;
        Ok(Pushed {
            step: admitted.step,
            workers: 1,
            missing: Arc::default(),
            staleness: admitted.staleness,
            repeated: false,
        })
    }

    /// Waits until a push to these shards may go: to all of them, or to none.
    pub(super) async fn admit(
        &self,
        indices: &[usize],
        worker: WorkerId,
        generation: u64,
        (bound, policy, timeout): (u64, StalenessPolicy, Duration),
    ) -> Result<Vec<Admitted>, ServerError> {
        let deadline = self.now() + timeout;
        loop {
            let changed = self.inner.changed.notified();
            tokio::pin!(changed);
            // From here on no change is missed.
            changed.as_mut().enable();
            let (shard, waiting_for) = {
                let mut desk = self.desk();
                desk.member(worker, generation)?;
                match blocked(&desk, indices, worker, (bound, policy))? {
                    Some(blocked) => blocked,
                    None => {
                        let rate = desk.rate;
                        let admit = |&index: &usize| {
                            let shard = &mut desk.shards[index].staleness;
                            let step = shard.steps();
                            let staleness = shard.admit(worker);
                            let scale = match policy {
                                StalenessPolicy::Scale => staleness.max(1) as f64,
                                _ => 1.0,
                            };
                            Admitted {
                                step,
                                staleness,
                                rate: rate / scale,
                            }
                        };
                        return Ok(indices.iter().map(admit).collect());
                    }
                }
            };
            if timeout_at(self.at(deadline), changed).await.is_err() {
                return Err(ServerError::Timeout {
                    worker,
                    shard,
                    after: timeout,
                    waiting_for,
                });
            }
        }
    }

    /// Notes that a push which was let in has been applied, or has failed.
    pub(super) fn settle(
        &self,
        index: usize,
        admitted: &Admitted,
        (values, squares): (usize, f64),
        time: Duration,
    ) {
        let mut desk = self.desk();
        let shard = &mut desk.shards[index];
        shard.staleness.applied();
        shard.stats.step = shard.staleness.steps();
        shard.stats.pushed(values, squares, admitted.staleness);
        shard.stats.took(time);
        drop(desk);
        self.inner.changed.notify_waiters();
    }

    fn reuse(&self) -> Option<GradientRows> {
        self.pool().pop()
    }

    pub(super) fn recycle(&self, rows: GradientRows) {
        let mut pool = self.pool();
        // More than a push of every worker to every shard is never in use.
        if pool.len() < POOL {
            pool.push(rows);
        }
    }
}

/// Gradient buffers that are kept for the next pushes.
const POOL: usize = 64;

/// A push that may go.
pub(super) struct Admitted {
    /// The shard's step that it makes.
    pub step: u64,
    pub staleness: u64,
    rate: f64,
}

impl Admitted {
    pub fn optimizer(&self, tables: &Tables) -> OptimizerStep {
        OptimizerStep::new(tables.optimizer(), self.rate, self.step + 1)
    }
}

/// The first shard at which a push must wait, and for whom.
///
/// # Errors
/// [`ServerError::Stale`] if waiting would not help.
fn blocked(
    desk: &Desk,
    indices: &[usize],
    worker: WorkerId,
    (bound, policy): (u64, StalenessPolicy),
) -> Result<Option<(ShardId, Vec<WorkerId>)>, ServerError> {
    if policy == StalenessPolicy::Scale {
        return Ok(None);
    }
    let shards = || indices.iter().map(|&index| &desk.shards[index]);
    if let Some(shard) = shards().find(|shard| shard.staleness.of(worker) > bound) {
        return Err(ServerError::Stale {
            worker,
            shard: shard.id,
            staleness: shard.staleness.of(worker),
            bound,
        });
    }
    let waits = policy == StalenessPolicy::Wait;
    let blocked = shards().find(|shard| waits && !shard.staleness.may_push(worker, bound));
    Ok(blocked.map(|shard| (shard.id, shard.staleness.in_the_way(worker))))
}

/// Checks weight, length and rows, and finds the rows' places.
fn places(tables: &Tables, push: &Push<'_>) -> Result<Vec<u32>, ServerError> {
    let (worker, shard) = (push.worker, push.shard);
    if !(push.samples.is_finite() && push.samples >= 0.0) {
        return Err(ServerError::Samples {
            worker,
            shard,
            samples: push.samples,
        });
    }
    let width = tables.width(shard.table);
    let expected = push.rows.len() * width;
    if push.gradients.len() != expected {
        return Err(ServerError::Length {
            worker,
            shard,
            rows: push.rows.len(),
            width,
            expected,
            found: push.gradients.len(),
        });
    }
    tables.places(shard, worker, push.rows)
}

/// Checks that gradients are finite, given the sum of their squares.
fn finite(tables: &Tables, push: &Push<'_>, squares: f64) -> Result<(), ServerError> {
    // A square may overflow where the value itself is finite.
    if !squares.is_finite()
        && let Some(at) = push.gradients.iter().position(|g| !g.is_finite())
    {
        let width = tables.width(push.shard.table);
        return Err(ServerError::NotFinite {
            worker: push.worker,
            shard: push.shard,
            row: push.rows[at / width],
            column: at % width,
            value: push.gradients[at],
        });
    }
    Ok(())
}

impl ShardId {
    /// A shard of entities.
    pub fn entities(shard: usize) -> ShardId {
        ShardId {
            table: TableName::Entities,
            shard,
        }
    }

    /// A shard of relations.
    pub fn relations(shard: usize) -> ShardId {
        ShardId {
            table: TableName::Relations,
            shard,
        }
    }
}
