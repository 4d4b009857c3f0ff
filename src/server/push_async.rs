//! Pushes that are applied at once, with bounded staleness.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout_at;

use super::off_runtime::on_this_thread;
use super::sync::guards::{InFlightGuard, WaitGuard};
use super::sync::state::ServerState;
use super::table::tables::Tables;
use super::{
    Generation, Gradients, ParameterServer, Push, Pushed, ServerError, ShardId, StalenessPolicy,
    Step, WorkerId,
};
use crate::kernel::{self, Places};
use crate::optim::OptimizerStep;

impl ParameterServer {
    pub(super) async fn push_async(
        &self,
        tables: &Tables,
        index: usize,
        push: Push<'_>,
        places: &[u32],
        limits: Limits,
    ) -> Result<Pushed, ServerError> {
        let squares = self.finite(tables, &push)?;
        let admitted = self
            .admit(tables, &[index], Pusher::of(&push), limits)
            .await?;
        let admitted = &admitted[0];
        let (table, places) = (tables.table(push.shard.table), Places::Listed(places));
        let start = Instant::now();
        let optimizer = admitted.optimizer(tables);
        let settling = InFlightGuard::new(self, index);
        let shard = push.shard.shard;
        let applied = on_this_thread(push.gradients.len(), || match push.gradients {
            Gradients::Host(values) => table.push_rows(optimizer, shard, places, values),
            Gradients::Device(gradients) => {
                let weight = 1.0;
                let push = kernel::Push {
                    places,
                    gradients,
                    weight,
                };
                table.push(optimizer, shard, &[push])
            }
        });
        applied?;
        let values = push.gradients.len();
        self.settle(index, admitted, values, squares, start.elapsed());
        drop(settling);
        Ok(Pushed {
            step: Step(admitted.step),
            workers: 1,
            missing: Arc::default(),
            staleness: admitted.staleness,
            repeated: false,
        })
    }

    /// Waits until a push to these shards may proceed: at all of them, or at none.
    pub(super) async fn admit(
        &self,
        tables: &Tables,
        indices: &[usize],
        pusher: Pusher,
        limits: Limits,
    ) -> Result<Vec<Admitted>, ServerError> {
        let deadline = self.now().saturating_add(limits.timeout);
        let mut waits = None;
        loop {
            let changed = self.inner.changed.notified();
            tokio::pin!(changed);
            // A change from here on wakes the wait below.
            changed.as_mut().enable();
            let (shard, waiting_for) = {
                let mut state = self.state();
                state.member(pusher.worker, pusher.generation)?;
                state.check(tables)?;
                match blocked(&state, indices, pusher.worker, limits)? {
                    Some(blocked) => blocked,
                    None => return Ok(state.admit(indices, pusher, limits.policy)),
                }
            };
            if self.now() >= deadline {
                return Err(ServerError::Timeout {
                    worker: pusher.worker,
                    shard,
                    after: limits.timeout,
                    waiting_for,
                });
            }
            waits.get_or_insert_with(|| WaitGuard::new(self, pusher.worker));
            // Notified or timed out, the loop checks the state once more.
            let _ = timeout_at(self.at(deadline), changed).await;
        }
    }

    /// Counts a push that was admitted and applied: `values` gradients with a sum of squares of `squares`.
    pub(super) fn settle(
        &self,
        index: usize,
        admitted: &Admitted,
        values: usize,
        squares: f64,
        time: Duration,
    ) {
        let mut state = self.state();
        let shard = &mut state.shards[index];
        shard.stats.step = shard.staleness.steps();
        shard.stats.pushed(values, squares, admitted.staleness);
        shard.stats.took(time);
    }
}

impl ServerState {
    /// Admits a push of a worker's step at these shards.
    fn admit(
        &mut self,
        indices: &[usize],
        pusher: Pusher,
        policy: StalenessPolicy,
    ) -> Vec<Admitted> {
        self.pushed.insert(pusher.worker, pusher.step);
        let rate = self.rate;
        let admit = |&index: &usize| {
            let shard = &mut self.shards[index].staleness;
            let step = shard.steps();
            let staleness = shard.admit(pusher.worker);
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
        indices.iter().map(admit).collect()
    }
}

/// Worker and step of a push.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pusher {
    pub worker: WorkerId,
    pub generation: Generation,
    pub step: Step,
}

impl Pusher {
    fn of(push: &Push<'_>) -> Pusher {
        Pusher {
            worker: push.worker,
            generation: push.generation,
            step: push.step,
        }
    }
}

/// Largest staleness of a push, its policy, and the time that the push may wait for others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Most steps since the worker's pull.
    pub bound: u64,
    pub policy: StalenessPolicy,
    pub timeout: Duration,
}

/// Push that is admitted at a shard.
pub(super) struct Admitted {
    /// Steps that the shard had made before.
    pub step: u64,
    pub staleness: u64,
    rate: f64,
}

impl Admitted {
    pub fn optimizer(&self, tables: &Tables) -> OptimizerStep {
        OptimizerStep::new(tables.optimizer(), self.rate, self.step + 1)
    }
}

/// Finds the first shard at which a push must wait, and the workers it waits for.
///
/// # Errors
/// [`ServerError::Stale`] if the push itself is staler than the bound.
fn blocked(
    state: &ServerState,
    indices: &[usize],
    worker: WorkerId,
    limits: Limits,
) -> Result<Option<(ShardId, Vec<WorkerId>)>, ServerError> {
    let shards = || indices.iter().map(|&index| &state.shards[index]);
    if state.moving {
        return Ok(shards().next().map(|shard| (shard.id, Vec::new())));
    }
    let Limits { bound, policy, .. } = limits;
    if policy == StalenessPolicy::Scale {
        return Ok(None);
    }
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
