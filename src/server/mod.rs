//! The parameter server: owns the tables of a model as shards, on one device or on several. All other modules
//! reach the rows through this one.
//!
//! Gradients arrive in two ways. Both end in the same kernel, which averages the pushed gradients and applies
//! the optimizer:
//!
//! - [`ParameterServer::push`]: gradients of any rows of one shard, applied at a barrier, or at once with
//!   bounded staleness ([`UpdateMode`]).
//! - [`ShardClient`]: gradients of a step for all shards, applied at once, or after a vote of several workers
//!   (push, then commit or abort). Workers use this trait only.
//!
//! An [`Executor`](crate::executor::Executor) computes on the rows; the server never does.
//!
//! A [`ShardingStrategy`] spreads the rows of entities over shards; callers use row numbers, whichever shard
//! holds a row. [`ParameterServer::reshard`] moves rows between shards while the server runs.

mod access;
mod client;
mod commit;
mod error;
mod held;
mod mode;
mod off_runtime;
mod packed_rows;
mod pull;
mod push;
mod push_async;
mod push_step;
mod push_sync;
mod reshard;
mod room;
mod shard_map;
mod stats;
mod storage;
mod sync;
pub(crate) mod table;

pub use client::{
    Answer, Apply, Caller, Layout, PullRequest, Pulled, PushRequest, PushedPart, PushedRows,
    ShardClient,
};
pub use error::ServerError;
pub use held::HeldShards;
pub use mode::{Combination, StalenessPolicy, UpdateMode};
pub(crate) use off_runtime::off_runtime;
pub use packed_rows::{PackedRows, PackedType};
pub use push::{Gradients, Push, Pushed};
pub use push_step::{Contribution, ShardGradients, StepGradients};
pub use reshard::ReshardReport;
pub use shard_map::assignment::{MOST_SHARDS, ShardAssignment, ShardRecord, TableSize};
pub use shard_map::placement::{DeviceCapacity, PlacementError, place};
pub use shard_map::resharding::{Reshard, ShardError, ShardManager};
pub use shard_map::row_map::RowMap;
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
    /// Rows of relations: twice the number of relations where they are reciprocal.
    pub relations: usize,
    /// Values in a relation's row where the model has a core; `None`: same as `dim`.
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

    /// Rows of a table. Rows of a core come after the rows of relations.
    pub fn rows(&self, table: TableName) -> usize {
        match table {
            TableName::Entities => self.entities,
            TableName::Relations => self.relations + self.core_rows(),
        }
    }

    /// Rows of the core; 0 if the model does not have one.
    pub fn core_rows(&self) -> usize {
        self.model.core_rows(self.dim)
    }
}

/// The tables of one model, on one device or several. A clone is cheap and shares the tables.
#[derive(Clone, Debug)]
pub struct ParameterServer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shape: Shape,
    /// Read lock: rows are written other than by pushes. Write lock: rows move between shards.
    manager: RwLock<ShardManager>,
    tables: RwLock<Arc<Tables>>,
    /// Devices of the shards, with their free memory and speed.
    devices: ShardDevices,
    state: Mutex<ServerState>,
    /// Notified whenever a pull or push that waits may try again.
    changed: Notify,
    /// Gradient buffers for reuse.
    pool: Mutex<Vec<GradientRows>>,
    started: Instant,
}

impl ParameterServer {
    /// Shape of the tables.
    pub fn shape(&self) -> &Shape {
        &self.inner.shape
    }

    /// Layout of a table, its width and its optimizer columns.
    pub fn spec(&self, table: TableName) -> TableSpec {
        self.tables().table(table).spec().clone()
    }

    /// Sets the update mode, the generation and its workers. Pushes that wait for another generation fail with
    /// [`ServerError::Reconfigured`]; staged gradients are discarded.
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

    /// Sets how later sync steps combine what workers push.
    pub fn set_combination(&self, combination: Combination) {
        self.state().combination = combination;
    }

    /// Current generation of workers; see [`ParameterServer::configure`].
    pub fn generation(&self) -> Generation {
        self.state().generation
    }

    /// Returns whether a worker waits for others, in a pull or a push.
    pub fn is_waiting(&self, worker: WorkerId) -> bool {
        self.state().waiting.contains_key(&worker)
    }

    /// Last step of a worker whose push was admitted (async); `None` before the first.
    pub fn last_push(&self, worker: WorkerId) -> Option<Step> {
        self.state().pushed.get(&worker).copied()
    }

    /// Forgets the pulls of a worker, so that no other worker waits for its push.
    pub fn release(&self, worker: WorkerId) {
        let mut state = self.state();
        for shard in &mut state.shards {
            shard.staleness.forget(worker);
        }
        drop(state);
        self.inner.changed.notify_waiters();
    }

    /// Sets the learning rate of later pushes.
    pub fn set_rate(&self, rate: f64) {
        self.state().rate = rate;
    }

    /// Sets the number of steps made, on all shards; Adam's bias corrections depend on it.
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

    /// Counts a step that an executor has made in place, on all shards.
    pub(crate) fn count_step(&self) {
        for shard in &mut self.state().shards {
            shard.barrier.skip();
            shard.stats.step = shard.barrier.step().0;
        }
    }

    /// Figures of every shard: entity shards, then relation shards.
    pub fn stats(&self) -> Vec<ShardStats> {
        self.state()
            .shards
            .iter()
            .map(|shard| shard.stats.clone())
            .collect()
    }

    /// Steps made by every shard: entity shards, then relation shards.
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
        // A deadline beyond the range of the clock becomes one year.
        const FAR: Duration = Duration::from_secs(365 * 24 * 3600);
        self.inner.started + time.min(FAR)
    }
}

/// Locks a mutex and ignores poisoning: every critical section leaves its data consistent after each statement.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
