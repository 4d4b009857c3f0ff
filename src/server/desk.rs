//! What the server keeps track of besides rows: who may push, what has arrived, how stale it is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::barrier::{Barrier, Refused};
use super::push::Admitted;
use super::staleness::Staleness;
use super::stats::ShardStats;
use super::{Pushed, ServerError, ShardId, StalenessPolicy, UpdateMode, WorkerId};
use crate::kernel::{GradientRows, TableName};

/// What a waiting push gets to hear.
pub(super) type Outcome = Result<Pushed, ServerError>;

/// Gradients that wait on the shard's device.
#[derive(Debug)]
pub(super) struct Staged {
    /// Places in the shard; all rows if none.
    pub places: Option<Vec<u32>>,
    pub gradients: GradientRows,
    /// Weight in the average.
    pub samples: f32,
    /// Square of the gradients' norm.
    pub squares: f64,
}

pub(super) type ShardBarrier = Barrier<Staged, oneshot::Sender<Outcome>>;

/// One shard's books.
#[derive(Debug)]
pub(super) struct ShardDesk {
    pub id: ShardId,
    pub barrier: ShardBarrier,
    pub staleness: Staleness,
    pub stats: ShardStats,
}

impl ShardDesk {
    pub fn new(id: ShardId, rows: usize, step: u64) -> ShardDesk {
        let mut staleness = Staleness::default();
        staleness.set_steps(step);
        ShardDesk {
            id,
            barrier: Barrier::new(step),
            staleness,
            stats: ShardStats::new(id.table, id.shard, rows),
        }
    }

    /// The error of a push that a barrier refused.
    pub fn refusal(
        &self,
        why: Refused,
        desk: (u64, usize),
        (worker, step): (WorkerId, u64),
    ) -> ServerError {
        let shard = self.id;
        match why {
            Refused::Unknown => ServerError::UnknownWorker {
                worker,
                generation: desk.0,
                workers: desk.1,
            },
            Refused::Late { expected } => ServerError::Late {
                worker,
                shard,
                step,
                expected,
            },
            Refused::Applying => ServerError::Busy { shard, step },
            Refused::Early { expected } => ServerError::Early {
                worker,
                shard,
                step,
                expected,
            },
        }
    }
}

/// All shards' books, and who may push to them.
#[derive(Debug)]
pub(super) struct Desk {
    pub mode: UpdateMode,
    pub generation: u64,
    /// Ascending.
    pub workers: Arc<[WorkerId]>,
    /// Entity shards, then relation shards.
    pub shards: Vec<ShardDesk>,
    /// How many of them are entity shards.
    pub entity_shards: usize,
    /// Learning rate of pushes.
    pub rate: f64,
    /// Who waits for others, in a pull or push.
    pub waiting: BTreeMap<WorkerId, usize>,
    /// The last step that each worker was let push (async).
    pub pushed: BTreeMap<WorkerId, u64>,
}

impl Desk {
    /// The number of a shard among all; none if there is no such shard.
    pub fn index(&self, id: ShardId) -> Option<usize> {
        let (first, count) = match id.table {
            TableName::Entities => (0, self.entity_shards),
            TableName::Relations => (self.entity_shards, self.shards.len() - self.entity_shards),
        };
        (id.shard < count).then_some(first + id.shard)
    }

    /// How long a shard waits for others.
    pub fn timeout(&self) -> Duration {
        match self.mode {
            UpdateMode::Sync { timeout } | UpdateMode::Async { timeout, .. } => timeout,
        }
    }

    /// Checks that a worker is one of the current generation's.
    pub fn member(&self, worker: WorkerId, generation: u64) -> Result<(), ServerError> {
        if generation != self.generation {
            return Err(ServerError::Generation {
                worker,
                found: generation,
                expected: self.generation,
            });
        }
        match self.workers.binary_search(&worker) {
            Ok(_) => Ok(()),
            Err(_) => Err(ServerError::UnknownWorker {
                worker,
                generation,
                workers: self.workers.len(),
            }),
        }
    }

    /// Lets a push of a worker's step in at these shards.
    pub fn admit(
        &mut self,
        indices: &[usize],
        worker: WorkerId,
        step: u64,
        policy: StalenessPolicy,
    ) -> Vec<Admitted> {
        self.pushed.insert(worker, step);
        let rate = self.rate;
        let admit = |&index: &usize| {
            let shard = &mut self.shards[index].staleness;
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
        indices.iter().map(admit).collect()
    }
}
