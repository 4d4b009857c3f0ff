//! The server's state apart from rows: workers, waiting pushes, staleness, figures.

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
use crate::server::{Combination, Pushed, ServerError, ShardAssignment, UpdateMode};

/// Answer to a waiting push.
pub(in crate::server) type Outcome = Result<Pushed, ServerError>;

/// Gradients that wait on the shard's device.
#[derive(Debug)]
pub(in crate::server) struct Staged {
    /// Places in the shard; `None` stands for all rows.
    pub places: Option<Vec<u32>>,
    pub gradients: GradientRows,
    /// Weight in the average.
    pub samples: f32,
    /// Square of the gradients' norm.
    pub squares: f64,
}

pub(in crate::server) type ShardBarrier = Barrier<Staged, oneshot::Sender<Outcome>>;

/// State of one shard.
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

    /// Number of steps that the shard has made.
    pub fn step(&self) -> u64 {
        self.barrier.step().0.max(self.staleness.steps())
    }

    /// Returns whether pushes are being applied.
    pub fn is_busy(&self) -> bool {
        self.barrier.busy() || !self.staleness.is_idle()
    }

    /// Error of a call that needs an idle shard and finds this one busy.
    pub fn busy(&self) -> ServerError {
        ServerError::Busy {
            shard: self.id,
            step: Step(self.step()),
        }
    }

    /// Error of a push that the barrier refused.
    pub fn refusal(&self, why: Refused, group: Group, worker: WorkerId, step: Step) -> ServerError {
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

/// Current workers, for the message of a refusal.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct Group {
    pub generation: Generation,
    /// Number of workers.
    pub workers: usize,
}

/// State of all shards, and of the workers that may push to them.
#[derive(Debug)]
pub(in crate::server) struct ServerState {
    pub mode: UpdateMode,
    /// Combination of the pushes of a sync step.
    pub combination: Combination,
    pub generation: Generation,
    /// Workers of the generation, ascending.
    pub workers: Arc<[WorkerId]>,
    /// Entity shards, then relation shards.
    pub shards: Vec<ShardState>,
    /// Assignment of entity rows; identifies the tables that this state belongs to.
    pub assignment: Arc<ShardAssignment>,
    /// True if entity shards are being moved; pushes wait meanwhile.
    pub moving: bool,
    /// Learning rate of pushes.
    pub rate: f64,
    /// Number of calls, pulls or pushes, in which each worker waits for others.
    pub waiting: BTreeMap<WorkerId, usize>,
    /// Last step of each worker whose push was admitted (async).
    pub pushed: BTreeMap<WorkerId, Step>,
}

impl ServerState {
    /// Current generation and number of workers.
    pub fn group(&self) -> Group {
        Group {
            generation: self.generation,
            workers: self.workers.len(),
        }
    }

    /// State of the shard with this index in `tables`.
    ///
    /// # Errors
    /// [`ServerError::LayoutChanged`] if `tables` are no longer current: the index may mean another shard now.
    pub fn shard(&mut self, tables: &Tables, index: usize) -> Result<&mut ShardState, ServerError> {
        self.check(tables)?;
        Ok(&mut self.shards[index])
    }

    /// Checks that tables are the current ones.
    pub fn check(&self, tables: &Tables) -> Result<(), ServerError> {
        match Arc::ptr_eq(&self.assignment, &tables.assignment) {
            true => Ok(()),
            false => Err(ServerError::LayoutChanged),
        }
    }

    /// Checks that a push is for the current step of its shard.
    pub fn expected_step(
        &mut self,
        tables: &Tables,
        index: usize,
        worker: WorkerId,
        step: Step,
    ) -> Result<(), ServerError> {
        let group = self.group();
        let shard = self.shard(tables, index)?;
        let checked = shard.barrier.check(worker, step, false);
        checked.map_err(|why| shard.refusal(why, group, worker, step))
    }

    /// Time that a shard waits for workers.
    pub fn timeout(&self) -> Duration {
        match self.mode {
            UpdateMode::Sync { timeout } | UpdateMode::Async { timeout, .. } => timeout,
        }
    }

    /// Checks that a worker belongs to the current generation.
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
