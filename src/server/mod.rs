//! The parameter server: owns the tables of a model as shards on one device, or on several. Every gradient reaches
//! a row, and every score comes from one, through here.
//!
//! There are two ways in, and both end in the same kernel, which averages the pushed gradients and
//! applies the optimizer:
//!
//! - [`ParameterServer::push`]: rows and gradients from anywhere; at a barrier, or at once with
//!   bounded staleness ([`UpdateMode`]).
//! - [`ShardClient`]: a step that several workers make together and that is voted on (push, then
//!   commit or abort), or that is pushed at once. Workers use this trait, and nothing else of the
//!   server.
//!
//! An [`Executor`](crate::executor::Executor) computes on the rows; the server never does.
//!
//! Rows of entities are spread over shards by a [`ShardingStrategy`]; callers know them by their
//! numbers wherever they are. [`ParameterServer::reshard`] moves them while the server goes on.

mod access;
mod client;
mod commit;
mod error;
mod mode;
mod off_runtime;
mod pull;
mod push;
mod push_async;
mod push_sync;
mod reshard;
mod shard_map;
mod stats;
mod storage;
mod sync;
pub(crate) mod table;

pub use client::{
    Answer, Apply, Caller, Layout, PullRequest, Pulled, PushRequest, PushedPart, PushedRows,
    ShardClient,
};
pub use commit::{Contribution, ShardGradients, StepGradients};
pub use error::ServerError;
pub use mode::{StalenessPolicy, UpdateMode};
pub use push::{Gradients, Push, Pushed};
pub use reshard::ReshardReport;
pub use shard_map::assignment::{MOST_SHARDS, ShardAssignment, ShardRecord, TableSize};
pub use shard_map::placement::{DeviceCapacity, PlacementError, place};
pub use shard_map::resharding::{Reshard, ShardError, ShardManager};
pub use shard_map::strategy::{HASH_SEED, ShardingStrategy};
pub use stats::{Refusals, STALENESS_BUCKETS, ShardStats};
pub use storage::{SHARDS_EACH, Storage};
pub use table::devices::measure_speed;
pub use table::init::{Initializer, Spread};
pub use table::row_order::StoragePlan;
pub use table::scan::ColumnReader;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use self::sync::state::{ServerState, ShardState};
use self::table::devices::ShardDevices;
use self::table::tables::Tables;

pub use crate::ids::{Generation, LayoutVersion, ShardId, Step, TableName, WorkerId};
use crate::kernel::{GradientRows, TableSpec};
use crate::model::Model;

/// The shape of a model's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Operator and similarity.
    pub model: Model,
    /// Values in an entity's row.
    pub dim: usize,
    /// Rows of the entity table.
    pub entities: usize,
    /// Rows of relations: twice the relations where they are reciprocal.
    pub relations: usize,
    /// Values in a relation's row where the model has a core; unset: as many as in an entity's.
    pub relation_dim: Option<usize>,
}

impl Shape {
    /// Values in a row of a table.
    pub fn width(&self, table: TableName) -> usize {
        match table {
            TableName::Entities => self.dim,
            TableName::Relations if self.model.has_core() => self.relation_dim.unwrap_or(self.dim),
            TableName::Relations => self.model.relation_width(self.dim),
        }
    }

    /// Rows of a table; those of a core come after the relations'.
    pub fn rows(&self, table: TableName) -> usize {
        match table {
            TableName::Entities => self.entities,
            TableName::Relations => self.relations + self.core_rows(),
        }
    }

    /// Rows of the core: 0 where the model has none.
    pub fn core_rows(&self) -> usize {
        self.model.core_rows(self.dim)
    }
}

/// The tables of one model, on one device or spread over several. Handles are cheap to clone and share the tables.
#[derive(Clone, Debug)]
pub struct ParameterServer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shape: Shape,
    /// Read while rows are written, other than by pushes; written to while shards move.
    manager: RwLock<ShardManager>,
    tables: RwLock<Arc<Tables>>,
    /// Where shards are, and may be put.
    devices: ShardDevices,
    state: Mutex<ServerState>,
    /// Told whenever a pull or push that waits for staleness may try again.
    changed: Notify,
    /// Gradient buffers to use again.
    pool: Mutex<Vec<GradientRows>>,
    started: Instant,
}

impl ParameterServer {
    /// Shape of the tables.
    pub fn shape(&self) -> &Shape {
        &self.inner.shape
    }

    /// How a table is made up.
    pub fn spec(&self, table: TableName) -> TableSpec {
        self.tables().table(table).spec().clone()
    }

    /// Sets how pushes become updates, the generation and its workers. Whoever waits for another
    /// generation is told so; what had been staged is thrown away.
    pub fn configure(&self, mode: UpdateMode, generation: Generation, workers: &[WorkerId]) {
        let mut workers = workers.to_vec();
        workers.sort_unstable();
        workers.dedup();
        tracing::info!(%generation, ?workers, "workers of the parameter server");
        let mut left = Vec::new();
        {
            let mut state = self.state();
            state.mode = mode;
            state.generation = generation;
            for shard in &mut state.shards {
                left.extend(shard.barrier.expect(&workers));
                shard.staleness.keep(&workers);
            }
            state.workers = workers.into();
        }
        for (worker, arrival) in left {
            self.recycle(arrival.payload.gradients);
            for (_, waiter) in arrival.waiters {
                let _ = waiter.send(Err(ServerError::Reconfigured { worker, generation }));
            }
        }
        self.inner.changed.notify_waiters();
    }

    /// The generation of workers, see [`ParameterServer::configure`].
    pub fn generation(&self) -> Generation {
        self.state().generation
    }

    /// Whether a worker waits, in a pull or a push, for others.
    pub fn is_waiting(&self, worker: WorkerId) -> bool {
        self.state().waiting.contains_key(&worker)
    }

    /// The last step that a worker pushed and that was applied, or is about to be (async).
    pub fn last_push(&self, worker: WorkerId) -> Option<Step> {
        self.state().pushed.get(&worker).copied()
    }

    /// Forgets what a worker has pulled, so that nobody waits for its push.
    pub fn release(&self, worker: WorkerId) {
        let mut state = self.state();
        for shard in &mut state.shards {
            shard.staleness.forget(worker);
        }
        drop(state);
        self.inner.changed.notify_waiters();
    }

    /// Sets the learning rate of what is pushed from now on.
    pub fn set_rate(&self, rate: f64) {
        self.state().rate = rate;
    }

    /// Continues from a number of steps on all shards; Adam's bias corrections depend on it.
    pub fn set_steps(&self, steps: u64) {
        let mut left = Vec::new();
        for shard in &mut self.state().shards {
            left.extend(shard.barrier.set_step(Step(steps)));
            shard.staleness.set_steps(steps);
            shard.stats.step = steps;
        }
        for (_, arrival) in left {
            self.recycle(arrival.payload.gradients);
        }
    }

    /// Counts a step that an executor has made in place on all shards.
    pub(crate) fn count_step(&self) {
        for shard in &mut self.state().shards {
            shard.barrier.skip();
            shard.stats.step = shard.barrier.step().0;
        }
    }

    /// Figures of every shard: those of entities, then those of relations.
    pub fn stats(&self) -> Vec<ShardStats> {
        self.state()
            .shards
            .iter()
            .map(|shard| shard.stats.clone())
            .collect()
    }

    /// Steps that every shard has made: those of entities, then those of relations.
    pub fn shard_steps(&self) -> Vec<u64> {
        self.state().shards.iter().map(ShardState::step).collect()
    }

    pub(crate) fn tables(&self) -> Arc<Tables> {
        let tables = self.inner.tables.read();
        Arc::clone(&tables.unwrap_or_else(PoisonError::into_inner))
    }

    fn state(&self) -> MutexGuard<'_, ServerState> {
        lock(&self.inner.state)
    }

    fn pool(&self) -> MutexGuard<'_, Vec<GradientRows>> {
        lock(&self.inner.pool)
    }

    /// Time since the server was made.
    fn now(&self) -> Duration {
        self.inner.started.elapsed()
    }

    fn at(&self, time: Duration) -> Instant {
        // A deadline beyond what the clock can tell is as good as a year.
        const FAR: Duration = Duration::from_secs(365 * 24 * 3600);
        self.inner.started + time.min(FAR)
    }
}

/// What these locks guard is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
