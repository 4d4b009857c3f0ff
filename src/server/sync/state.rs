//! What the server keeps track of besides rows: who may push, what has arrived, how stale it is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::ids::{Generation, ShardId, Step, WorkerId};
use crate::kernel::GradientRows;
use crate::server::stats::ShardStats;
use crate::server::sync::barrier::{Barrier, Refused};
use crate::server::sync::staleness::Staleness;
use crate::server::table::tables::Tables;
use crate::server::{Pushed, ServerError, ShardAssignment, UpdateMode};

/// What a waiting push gets to hear.
pub(in crate::server) type Outcome = Result<Pushed, ServerError>;

/// Gradients that wait on the shard's device.
#[derive(Debug)]
pub(in crate::server) struct Staged {
    /// Places in the shard; all rows if none.
    pub places: Option<Vec<u32>>,
    pub gradients: GradientRows,
    /// Weight in the average.
    pub samples: f32,
    /// Square of the gradients' norm.
    pub squares: f64,
}

pub(in crate::server) type ShardBarrier = Barrier<Staged, oneshot::Sender<Outcome>>;

/// One shard's state.
#[derive(Debug)]
pub(in crate::server) struct ShardState {
    pub id: ShardId,
    pub barrier: ShardBarrier,
    pub staleness: Staleness,
    pub stats: ShardStats,
}

impl ShardState {
    pub fn new(id: ShardId, rows: usize, steps: u64) -> ShardState {
        let mut staleness = Staleness::default();
        staleness.set_steps(steps);
        ShardState {
            id,
            barrier: Barrier::new(Step(steps)),
            staleness,
            stats: ShardStats::new(id.table, id.shard, rows),
        }
    }

    /// Steps that the shard has made.
    pub fn step(&self) -> u64 {
        self.barrier.step().0.max(self.staleness.steps())
    }

    /// Whether pushes are being applied.
    pub fn is_busy(&self) -> bool {
        self.barrier.busy() || !self.staleness.is_idle()
    }

    /// The error of who finds something in the way here.
    pub fn busy(&self) -> ServerError {
        ServerError::Busy {
            shard: self.id,
            step: Step(self.step()),
        }
    }

    /// The error of a push that a barrier refused.
    pub fn refusal(
        &self,
        why: Refused,
        group: Group,
        (worker, step): (WorkerId, Step),
    ) -> ServerError {
        let shard = self.id;
        match why {
            Refused::Unknown => ServerError::UnknownWorker {
                worker,
                generation: group.generation,
                workers: group.workers,
            },
            Refused::Late { expected } => ServerError::Late {
                worker,
                shard,
                step,
                expected,
            },
            Refused::Applying => ServerError::Busy { shard, step },
            Refused::Mixed => ServerError::Mixed {
                worker,
                shard,
                step,
            },
            Refused::Early { expected } => ServerError::Early {
                worker,
                shard,
                step,
                expected,
            },
        }
    }
}

/// Which workers may push, for the sentence of a refusal.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct Group {
    pub generation: Generation,
    /// Number of workers.
    pub workers: usize,
}

/// The state of all shards, and who may push to them.
#[derive(Debug)]
pub(in crate::server) struct ServerState {
    pub mode: UpdateMode,
    pub generation: Generation,
    /// Ascending.
    pub workers: Arc<[WorkerId]>,
    /// Entity shards, then relation shards.
    pub shards: Vec<ShardState>,
    /// Where entities are: the tables that this state belongs to.
    pub assignment: Arc<ShardAssignment>,
    /// Whether entity shards are being moved: pushes wait until they are not.
    pub moving: bool,
    /// Learning rate of pushes.
    pub rate: f64,
    /// Who waits for others, in a pull or push.
    pub waiting: BTreeMap<WorkerId, usize>,
    /// The last step that each worker was let push (async).
    pub pushed: BTreeMap<WorkerId, Step>,
}

impl ServerState {
    /// The workers of now.
    pub fn group(&self) -> Group {
        Group {
            generation: self.generation,
            workers: self.workers.len(),
        }
    }

    /// The state of a shard that tables number like this.
    ///
    /// # Errors
    /// [`ServerError::LayoutChanged`] if the tables are of the past: numbers mean other shards now.
    pub fn shard(&mut self, tables: &Tables, index: usize) -> Result<&mut ShardState, ServerError> {
        self.check(tables)?;
        Ok(&mut self.shards[index])
    }

    /// Whether tables are those of now.
    pub fn check(&self, tables: &Tables) -> Result<(), ServerError> {
        match Arc::ptr_eq(&self.assignment, &tables.assignment) {
            true => Ok(()),
            false => Err(ServerError::LayoutChanged),
        }
    }

    /// Checks that a push is for the step that its shard is at.
    pub fn expected_step(
        &mut self,
        tables: &Tables,
        index: usize,
        who: (WorkerId, Step),
    ) -> Result<(), ServerError> {
        let group = self.group();
        let shard = self.shard(tables, index)?;
        let checked = shard.barrier.check(who.0, who.1, false);
        checked.map_err(|why| shard.refusal(why, group, who))
    }

    /// How long a shard waits for others.
    pub fn timeout(&self) -> Duration {
        match self.mode {
            UpdateMode::Sync { timeout } | UpdateMode::Async { timeout, .. } => timeout,
        }
    }

    /// Checks that a worker is one of the current generation's.
    pub fn member(&self, worker: WorkerId, generation: Generation) -> Result<(), ServerError> {
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
}
