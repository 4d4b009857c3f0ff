//! Pushes: gradients of workers for rows of a shard.

use std::sync::Arc;

use super::push_async::Limits;
use super::table::tables::Tables;
use super::{Generation, ParameterServer, ServerError, ShardId, Step, UpdateMode, WorkerId};
use crate::kernel::{Backend, GradientRows, cpu};

/// Gradients of some rows of one shard.
#[derive(Clone, Copy, Debug)]
pub struct Push<'a> {
    /// Worker that pushes.
    pub worker: WorkerId,
    /// Generation of workers that the worker belongs to.
    pub generation: Generation,
    /// The shard's step (sync), or the worker's own count (async), from 0.
    pub step: Step,
    /// The table and shard.
    pub shard: ShardId,
    /// Samples behind the gradients: their weight in the average over workers.
    pub samples: f32,
    /// Rows of the table, all of them in the shard; gradients of repeated rows are added up.
    pub rows: &'a [u32],
    /// One gradient row for each of `rows`, row-major.
    pub gradients: Gradients<'a>,
}

/// Location of pushed gradients.
#[derive(Clone, Copy, Debug)]
pub enum Gradients<'a> {
    /// In host memory, row-major. A push that has to wait for others copies them to the shard's device.
    Host(&'a [f32]),
    /// On the shard's device (see [`ParameterServer::upload`]): nothing is copied.
    Device(&'a GradientRows),
}

impl Gradients<'_> {
    /// Number of values.
    pub(super) fn len(&self) -> usize {
        match self {
            Gradients::Host(values) => values.len(),
            Gradients::Device(rows) => rows.len(),
        }
    }
}

impl<'a, T: AsRef<[f32]> + ?Sized> From<&'a T> for Gradients<'a> {
    fn from(values: &'a T) -> Gradients<'a> {
        Gradients::Host(values.as_ref())
    }
}

impl<'a> From<&'a GradientRows> for Gradients<'a> {
    fn from(rows: &'a GradientRows) -> Gradients<'a> {
        Gradients::Device(rows)
    }
}

/// Outcome of a push.
#[derive(Clone, Debug, PartialEq)]
pub struct Pushed {
    /// Step of the shard that the push became part of.
    pub step: Step,
    /// Number of workers whose gradients became part of that step.
    pub workers: usize,
    /// Expected workers that did not push before the barrier's deadline.
    pub missing: Arc<[WorkerId]>,
    /// Steps between the worker's pull and this push (async).
    pub staleness: u64,
    /// True if the push is a repetition and was not applied again.
    pub repeated: bool,
}

impl ParameterServer {
    /// Pushes gradients to one shard and waits until they are applied: with the pushes of the other workers
    /// (sync), or as soon as staleness allows (async). A future that is dropped before it is applied changes
    /// nothing.
    ///
    /// Needs a tokio runtime with time if the push may have to wait.
    ///
    /// ```
    /// use shardloom::ids::{Generation, Step};
    /// use shardloom::kernel::Backend;
    /// use shardloom::model::Model;
    /// use shardloom::optim::OptimizerKind;
    /// use shardloom::server::{
    ///     Initializer, ParameterServer, Push, Shape, ShardId, Storage, TableName, UpdateMode, WorkerId,
    /// };
    ///
    /// let shape = Shape {
    ///     model: Model::DistMult,
    ///     dim: 2,
    ///     entities: 3,
    ///     relations: 1,
    ///     relation_dim: None,
    /// };
    /// let storage = Storage { optimizer: OptimizerKind::Sgd, ..Storage::default() };
    /// let server = ParameterServer::new(Backend::cpu(), shape, storage, &Initializer::ZERO)?;
    /// let worker = WorkerId(0);
    /// server.configure(UpdateMode::default(), Generation(1), &[worker]);
    /// server.set_rate(0.5);
    ///
    /// let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build()?;
    /// let mut rows = Vec::new();
    /// runtime.block_on(async {
    ///     let push = Push {
    ///         worker,
    ///         generation: Generation(1),
    ///         step: Step(0),
    ///         shard: ShardId::entities(0),
    ///         samples: 1.0,
    ///         rows: &[2],
    ///         gradients: (&[4.0, -2.0]).into(),
    ///     };
    ///     server.push(push).await?;
    ///     server.pull_rows(worker, TableName::Entities, &[2, 0], &mut rows).await
    /// })?;
    /// assert_eq!(rows, [-2.0, 1.0, 0.0, 0.0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`ServerError`]: nothing of the push has been applied then.
    #[tracing::instrument(level = "debug", skip_all, fields(worker = %push.worker, shard = %push.shard, step = %push.step))]
    pub async fn push(&self, push: Push<'_>) -> Result<Pushed, ServerError> {
        let result = loop {
            let tables = self.tables();
            let result = self.try_push(&tables, push).await;
            // Shards have moved: the next attempt checks anew which rows the shard holds.
            if !matches!(result, Err(ServerError::LayoutChanged)) {
                break result;
            }
        };
        if let Err(error) = &result {
            tracing::warn!(%error, "push refused");
            let (tables, mut state) = (self.tables(), self.state());
            let index = tables.index(push.shard);
            if let Ok(shard) = index.and_then(|index| state.shard(&tables, index)) {
                shard.stats.refuse(error);
            }
        }
        result
    }

    /// Copies gradient rows to the device that holds a shard; a push of the result needs no further copy.
    /// Reuses the buffer `old` if it is on the same device.
    ///
    /// # Errors
    /// [`ServerError::NoShard`]; if the device is lost or full.
    pub fn upload(
        &self,
        shard: ShardId,
        gradients: &[f32],
        old: Option<GradientRows>,
    ) -> Result<GradientRows, ServerError> {
        let tables = self.tables();
        tables.index(shard)?;
        let device = tables.device(shard);
        let old = old.filter(|rows| device.check_rows(rows).is_ok());
        Ok(device.upload(gradients, old)?)
    }

    async fn try_push(&self, tables: &Arc<Tables>, push: Push<'_>) -> Result<Pushed, ServerError> {
        let index = tables.index(push.shard)?;
        let mode = {
            let mut state = self.state();
            state.member(push.worker, push.generation)?;
            let mode = state.mode;
            if let UpdateMode::Sync { .. } = mode {
                state.expected_step(tables, index, push.worker, push.step)?;
            }
            mode
        };
        let places = places(tables, &push)?;
        match mode {
            UpdateMode::Sync { timeout } => {
                self.push_sync(tables, index, push, places, timeout).await
            }
            UpdateMode::Async {
                bound,
                policy,
                timeout,
            } => {
                let limits = Limits {
                    bound,
                    policy,
                    timeout,
                };
                self.push_async(tables, index, push, &places, limits).await
            }
        }
    }

    /// Takes a buffer on `device` out of the pool.
    pub(crate) fn reuse(&self, device: &Backend) -> Option<GradientRows> {
        let mut pool = self.pool();
        let fits = |rows: &GradientRows| device.check_rows(rows).is_ok();
        let at = pool.iter().rposition(fits)?;
        Some(pool.swap_remove(at))
    }

    pub(crate) fn recycle(&self, rows: GradientRows) {
        if rows.is_shared() {
            return;
        }
        let mut pool = self.pool();
        // A push of every worker to every shard rarely needs more buffers.
        if pool.len() < POOL {
            pool.push(rows);
        }
    }

    /// Checks that gradients are finite, and returns the sum of their squares.
    pub(super) fn finite(&self, tables: &Tables, push: &Push<'_>) -> Result<f64, ServerError> {
        let squares = match push.gradients {
            Gradients::Host(values) => cpu::square_sum(values),
            Gradients::Device(rows) => tables.device(push.shard).square_sum(rows)?,
        };
        finite(tables, push, squares)?;
        Ok(squares)
    }
}

/// Most gradient buffers kept for later pushes.
const POOL: usize = 64;

/// Checks weight, length and rows, and finds the rows' places in the shard.
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
pub(super) fn finite(tables: &Tables, push: &Push<'_>, squares: f64) -> Result<(), ServerError> {
    if squares.is_finite() {
        return Ok(());
    }
    let mut copy = Vec::new();
    let values = match push.gradients {
        Gradients::Host(values) => values,
        Gradients::Device(rows) => {
            rows.read(&mut copy)?;
            &copy
        }
    };
    // A square may overflow where the value itself is finite.
    if let Some(at) = values.iter().position(|g| !g.is_finite()) {
        let width = tables.width(push.shard.table);
        return Err(ServerError::NotFinite {
            worker: push.worker,
            shard: push.shard,
            row: push.rows[at / width],
            column: at % width,
            value: values[at],
        });
    }
    Ok(())
}
