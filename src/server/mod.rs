//! The parameter server: owns the tables of a model as shards on a device. Every gradient reaches
//! a row, and every score comes from one, through here.
//!
//! There are three ways in, and all of them end in the same kernel, which averages what was pushed
//! and applies the optimizer:
//!
//! - [`ParameterServer::step`]: one worker, on the server's own device; no row leaves it.
//! - [`ParameterServer::push`]: rows and gradients from anywhere; at a barrier, or at once with
//!   bounded staleness ([`UpdateMode`]).
//! - [`ParameterServer::stage`], then [`ParameterServer::commit`] or [`ParameterServer::discard`]:
//!   a step that several workers make together and that is voted on.

mod assignment;
mod barrier;
mod desk;
mod error;
mod init;
mod manager;
mod mode;
mod placement;
mod pull;
mod push;
mod staleness;
mod stats;
mod strategy;
mod tables;
mod vote;
mod worker;

pub use assignment::{MOST_SHARDS, ShardAssignment, ShardRecord, TableSize};
pub use error::ServerError;
pub use init::{Initializer, Spread};
pub use manager::{Reshard, ShardError, ShardManager};
pub use mode::{ShardId, StalenessPolicy, UpdateMode};
pub use placement::{DeviceCapacity, PlacementError, place};
pub use push::{Push, Pushed};
pub use stats::{Refusals, STALENESS_BUCKETS, ShardStats};
pub use strategy::{HASH_SEED, ShardingStrategy};
pub use vote::Share;
pub use worker::WorkerId;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use self::desk::{Desk, ShardDesk};
use self::tables::Tables;
use crate::device::DeviceChoice;

pub use crate::kernel::TableName;
use crate::kernel::{
    Backend, Column, GradientRows, KernelError, RankBatch, RankCounts, RankQuery, ShardLayout,
    StepSpec, TableSpec,
};
use crate::model::Model;
use crate::optim::{OptimizerKind, OptimizerStep};
use crate::sampler::Plan;

/// The shape of a model's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Operator and similarity.
    pub model: Model,
    /// Values in an entity's row.
    pub dim: usize,
    /// Rows of the entity table.
    pub entities: usize,
    /// Rows of the relation table: twice the relations where they are reciprocal.
    pub relations: usize,
}

impl Shape {
    /// Values in a row of a table.
    pub fn width(&self, table: TableName) -> usize {
        match table {
            TableName::Entities => self.dim,
            TableName::Relations => self.model.relation_width(self.dim),
        }
    }

    /// Rows of a table.
    pub fn rows(&self, table: TableName) -> usize {
        match table {
            TableName::Entities => self.entities,
            TableName::Relations => self.relations,
        }
    }
}

/// The tables of one model on one device. Handles are cheap to clone and share the tables.
#[derive(Clone, Debug)]
pub struct ParameterServer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shape: Shape,
    tables: RwLock<Arc<Tables>>,
    /// Reads and writes tables, and applies what workers push.
    keeper: Backend,
    /// Makes steps and rankings of its own.
    house: Mutex<Backend>,
    desk: Mutex<Desk>,
    /// Told whenever a pull or push that waits for staleness may try again.
    changed: Notify,
    /// Gradient buffers to use again.
    pool: Mutex<Vec<GradientRows>>,
    started: Instant,
}

impl ParameterServer {
    /// Makes both tables. `shards` is the least number of shards of the entity table; the device's
    /// binding limit may ask for more.
    ///
    /// # Errors
    /// If the device cannot hold the tables.
    pub fn new(
        backend: Backend,
        shape: Shape,
        optimizer: OptimizerKind,
        shards: usize,
        init: &Initializer,
    ) -> Result<ParameterServer, KernelError> {
        let specs = TableName::ALL.map(|table| {
            let width = shape.width(table);
            let shards = if table == TableName::Entities {
                shards
            } else {
                1
            };
            TableSpec {
                name: table.name(),
                width,
                layout: ShardLayout::new(shape.rows(table), shards, backend.most_rows(width)),
                optimizer,
            }
        });
        let create = |table: TableName, spec: &TableSpec| {
            backend.create_table(spec, &mut |first, rows| {
                init.fill(&shape, table, first, rows)
            })
        };
        let tables = Tables {
            shape,
            entities: create(TableName::Entities, &specs[0])?,
            relations: create(TableName::Relations, &specs[1])?,
        };
        let shards = TableName::ALL
            .into_iter()
            .zip(&specs)
            .flat_map(|(table, spec)| {
                (0..spec.layout.shards()).map(move |shard| {
                    ShardDesk::new(ShardId { table, shard }, spec.layout.range(shard).len(), 0)
                })
            });
        let desk = Desk {
            mode: UpdateMode::default(),
            generation: 0,
            workers: Arc::default(),
            shards: shards.collect(),
            entity_shards: specs[0].layout.shards(),
            rate: 0.1,
        };
        Ok(ParameterServer {
            inner: Arc::new(Inner {
                shape,
                tables: RwLock::new(Arc::new(tables)),
                keeper: backend.another()?,
                house: Mutex::new(backend),
                desk: Mutex::new(desk),
                changed: Notify::new(),
                pool: Mutex::default(),
                started: Instant::now(),
            }),
        })
    }

    /// Shape of the tables.
    pub fn shape(&self) -> &Shape {
        &self.inner.shape
    }

    /// How a table is made up.
    pub fn spec(&self, table: TableName) -> TableSpec {
        self.tables().table(table).spec().clone()
    }

    /// Another engine on the server's device, for a worker.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn engine(&self) -> Result<Backend, KernelError> {
        self.inner.keeper.another()
    }

    /// Sets how pushes become updates, the generation and its workers. Whoever waits for another
    /// generation is told so; what had been staged is thrown away.
    pub fn configure(&self, mode: UpdateMode, generation: u64, workers: &[WorkerId]) {
        let mut workers = workers.to_vec();
        workers.sort_unstable();
        workers.dedup();
        tracing::info!(generation, ?workers, "workers of the parameter server");
        let mut left = Vec::new();
        {
            let mut desk = self.desk();
            desk.mode = mode;
            desk.generation = generation;
            for shard in &mut desk.shards {
                left.extend(shard.barrier.expect(&workers));
                shard.staleness.keep(&workers);
            }
            desk.workers = workers.into();
        }
        for (worker, arrival) in left {
            self.recycle(arrival.payload.gradients);
            for (_, waiter) in arrival.waiters {
                let _ = waiter.send(Err(ServerError::Reconfigured { worker, generation }));
            }
        }
        self.inner.changed.notify_waiters();
    }

    /// Forgets what a worker has pulled, so that nobody waits for its push.
    pub fn release(&self, worker: WorkerId) {
        let mut desk = self.desk();
        for shard in &mut desk.shards {
            shard.staleness.forget(worker);
        }
        drop(desk);
        self.inner.changed.notify_waiters();
    }

    /// The device that holds the shards.
    pub fn home(&self) -> DeviceChoice {
        match &self.inner.keeper {
            Backend::Cpu(_) => DeviceChoice::Cpu,
            Backend::Gpu(engine) => DeviceChoice::GpuAt(engine.gpu().description().index),
        }
    }

    /// Sets the learning rate of what is pushed from now on.
    pub fn set_rate(&self, rate: f64) {
        self.desk().rate = rate;
    }

    /// Continues from a number of steps on all shards; Adam's bias corrections depend on it.
    pub fn set_steps(&self, steps: u64) {
        let mut left = Vec::new();
        for shard in &mut self.desk().shards {
            left.extend(shard.barrier.set_step(steps));
            shard.staleness.set_steps(steps);
            shard.stats.step = steps;
        }
        for (_, arrival) in left {
            self.recycle(arrival.payload.gradients);
        }
    }

    /// Figures of every shard: those of entities, then those of relations.
    pub fn stats(&self) -> Vec<ShardStats> {
        self.desk()
            .shards
            .iter()
            .map(|shard| shard.stats.clone())
            .collect()
    }

    /// Steps that every shard has made: those of entities, then those of relations.
    pub fn shard_steps(&self) -> Vec<u64> {
        let steps = |shard: &ShardDesk| shard.barrier.step().max(shard.staleness.steps());
        self.desk().shards.iter().map(steps).collect()
    }

    /// Computes a step's gradients on a worker's engine, which must be of the server's device.
    ///
    /// # Errors
    /// If the engine is of another device, or the device is lost or full.
    pub fn gradients(
        &self,
        engine: &mut Backend,
        spec: &StepSpec,
        plan: &Plan,
    ) -> Result<(), KernelError> {
        let tables = self.tables();
        engine.gradients(spec, plan, &tables.entities, &tables.relations)
    }

    /// Σ g² of what [`ParameterServer::gradients`] has computed; not finite if a gradient is not.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn gradient_square_sum(
        &self,
        engine: &mut Backend,
        plan: &Plan,
    ) -> Result<f64, KernelError> {
        let tables = self.tables();
        engine.gradient_square_sum(plan, &tables.entities, &tables.relations)
    }

    /// One training step of the only worker: pull, gradients, push. The loss stays on the device
    /// until [`ParameterServer::take_loss`].
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn step(
        &self,
        spec: &StepSpec,
        plan: &Plan,
        step: OptimizerStep,
    ) -> Result<(), KernelError> {
        let (tables, mut house) = (self.tables(), self.house());
        house.gradients(spec, plan, &tables.entities, &tables.relations)?;
        house.update(step, plan, &tables.entities, &tables.relations)
    }

    /// The losses of all steps since the last call, added up.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn take_loss(&self) -> Result<f64, KernelError> {
        self.house().take_loss()
    }

    /// A column of a table, all rows.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn read(&self, table: TableName, column: Column) -> Result<Vec<f32>, KernelError> {
        self.inner.keeper.read(self.tables().table(table), column)
    }

    /// The values of some rows of a table, in place of what `out` holds; for a worker on another
    /// device that makes a step of its own from them.
    ///
    /// # Errors
    /// If the table has not these rows; if the device is lost or full.
    pub fn read_rows(
        &self,
        table: TableName,
        rows: &[u32],
        out: &mut Vec<f32>,
    ) -> Result<(), KernelError> {
        self.inner
            .keeper
            .read_rows(self.tables().table(table), rows, out)
    }

    /// Replaces a column of a table.
    ///
    /// # Errors
    /// If `data` has not rows × width values, or the device is lost.
    pub fn write(&self, table: TableName, column: Column, data: &[f32]) -> Result<(), KernelError> {
        let tables = self.tables();
        self.inner.keeper.write(tables.table(table), column, data)
    }

    /// Counts, for every query, the candidates before and beside its target.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn rank(&self, batch: &RankBatch) -> Result<Vec<RankCounts>, KernelError> {
        let (tables, mut house) = (self.tables(), self.house());
        house.rank(
            tables.shape.model,
            batch,
            &tables.entities,
            &tables.relations,
        )
    }

    /// Scores of every query against every entity, row-major; for a few queries.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn scores(&self, queries: &[RankQuery]) -> Result<Vec<f32>, KernelError> {
        let (tables, mut house) = (self.tables(), self.house());
        house.scores(
            tables.shape.model,
            queries,
            &tables.entities,
            &tables.relations,
        )
    }

    /// The score of every query against its target.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn score_pairs(&self, queries: &[RankQuery]) -> Result<Vec<f32>, KernelError> {
        let (tables, mut house) = (self.tables(), self.house());
        house.score_pairs(
            tables.shape.model,
            queries,
            &tables.entities,
            &tables.relations,
        )
    }

    fn tables(&self) -> Arc<Tables> {
        let tables = self.inner.tables.read();
        Arc::clone(&tables.unwrap_or_else(PoisonError::into_inner))
    }

    fn house(&self) -> MutexGuard<'_, Backend> {
        lock(&self.inner.house)
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        lock(&self.inner.desk)
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
