//! The only way for a worker to reach shards, in this process or another: pull, push, commit, abort.
//!
//! [`ShardClient`] is object-safe and its requests are plain values, so that a worker does not know whether the
//! shards are in its own process. [`ParameterServer`] implements the trait for the shards that it holds, and
//! takes gradients that already lie on a shard's device without a copy.

use std::fmt;
use std::pin::Pin;

use serde::{Deserialize, Serialize};

use super::off_runtime::{INLINE_VALUES, off_runtime};
use super::{
    Contribution, Generation, LayoutVersion, PackedRows, ParameterServer, ServerError,
    ShardGradients, ShardId, ShardRecord, Step, StepGradients, TableName, WorkerId,
};
use crate::kernel::GradientRows;

/// Future of a call of a [`ShardClient`].
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, ServerError>> + Send + 'a>>;

/// Sender of a request, with the step and the layout that the request is for. The server recognises late and
/// repeated requests by these values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// The worker.
    pub worker: WorkerId,
    /// Generation of workers that the worker belongs to.
    pub generation: Generation,
    /// The shards' step (sync), or the worker's own count (async), from 0.
    pub step: Step,
    /// Layout by which the worker cut its rows and gradients.
    pub layout: LayoutVersion,
}

/// Rows of every shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layout {
    /// Version of the layout; changes whenever rows move.
    pub version: LayoutVersion,
    /// Record that the places of entity rows follow from.
    pub entities: ShardRecord,
    /// Number of rows of each shard of relations; these shards hold consecutive rows.
    pub relations: Vec<usize>,
    /// Values in a row of entities, and of relations.
    pub widths: [usize; 2],
}

/// Request for rows of a table, by their numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PullRequest {
    /// Sender.
    pub caller: Caller,
    /// The table.
    pub table: TableName,
    /// The rows, in any order.
    pub rows: Vec<u32>,
}

/// Answer to a [`PullRequest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pulled {
    /// Values of the requested rows, row-major, in the order of the request.
    pub values: Vec<f32>,
}

/// Time at which a push is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Apply {
    /// As soon as bounded staleness allows it.
    Now,
    /// By [`ShardClient::commit`], together with the pushes of all other workers.
    OnCommit,
}

/// Gradients for one shard.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PushedPart {
    /// The shard.
    pub shard: ShardId,
    /// Places of the rows in the shard, each once; `None` stands for all rows of the shard.
    pub places: Option<Vec<u32>>,
    /// A gradient row for each place, row-major.
    pub gradients: PushedRows,
}

/// Location of pushed gradient rows.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PushedRows {
    /// In the message.
    Values(Vec<f32>),
    /// In the frames of a message, as they came; does not serialise.
    #[serde(skip)]
    Packed(PackedRows),
    /// On the device that holds the shard, in this process; does not serialise.
    #[serde(skip)]
    OnDevice(GradientRows),
}

/// Gradients of a step for all shards of a layout. Either all shards take their part, or none does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PushRequest {
    /// Sender.
    pub caller: Caller,
    /// Time at which the gradients are applied.
    pub apply: Apply,
    /// Samples behind the gradients: their weight in the average over workers.
    pub samples: f32,
    /// Σ g² over all gradients of the step, for the shards' figures.
    pub squares: f64,
    /// Parts of the entity shards, then of the relation shards.
    pub parts: Vec<PushedPart>,
}

impl PushedRows {
    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            PushedRows::Values(values) => values.len(),
            PushedRows::Packed(rows) => rows.len(),
            PushedRows::OnDevice(rows) => rows.len(),
        }
    }

    /// Returns whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl PushRequest {
    /// Makes the request that hands over a step's gradients without copying them.
    pub fn on_device(
        contribution: Contribution,
        apply: Apply,
        gradients: StepGradients,
    ) -> PushRequest {
        let part = |part: ShardGradients| PushedPart {
            shard: part.shard,
            places: part.places,
            gradients: PushedRows::OnDevice(part.gradients),
        };
        PushRequest {
            caller: Caller {
                worker: contribution.worker,
                generation: contribution.generation,
                step: contribution.step,
                layout: gradients.layout,
            },
            apply,
            samples: contribution.samples,
            squares: contribution.squares,
            parts: gradients.shards.into_iter().map(part).collect(),
        }
    }
}

/// A connection to the shards of a model.
///
/// Every call that waits has the deadline of the server's update mode. Futures need a tokio runtime with time.
/// A future that is dropped before its end changes nothing.
///
/// ```
/// use shardloom::ids::{Generation, Step};
/// use shardloom::kernel::Backend;
/// use shardloom::model::Model;
/// use shardloom::optim::OptimizerKind;
/// use shardloom::server::{
///     Apply, Caller, Initializer, ParameterServer, PullRequest, PushRequest, PushedPart, PushedRows,
///     Shape, ShardClient, ShardId, Storage, TableName, UpdateMode, WorkerId,
/// };
///
/// # let shape = Shape {
/// #     model: Model::DistMult,
/// #     dim: 2,
/// #     entities: 3,
/// #     relations: 1,
/// #     relation_dim: None,
/// # };
/// # let storage = Storage { optimizer: OptimizerKind::Sgd, ..Storage::default() };
/// let server = ParameterServer::new(Backend::cpu(), shape, storage, &Initializer::ZERO)?;
/// let worker = WorkerId(0);
/// server.configure(UpdateMode::default(), Generation(1), &[worker]);
/// server.set_rate(0.5);
///
/// let client: &dyn ShardClient = &server;
/// let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build()?;
/// let pulled = runtime.block_on(async {
///     let layout = client.layout().await?.version;
///     let caller = Caller { worker, generation: Generation(1), step: Step(0), layout };
///     let part = |shard, values: &[f32]| PushedPart {
///         shard,
///         places: Some(vec![0]),
///         gradients: PushedRows::Values(values.to_vec()),
///     };
///     let push = PushRequest {
///         caller,
///         apply: Apply::OnCommit,
///         samples: 1.0,
///         squares: 21.0,
///         parts: vec![
///             part(ShardId::entities(0), &[4.0, -2.0]),
///             part(ShardId::relations(0), &[0.0, 1.0]),
///         ],
///     };
///     client.push(push).await?;
///     client.commit(Generation(1), Step(0)).await?;
///     let (table, rows) = (TableName::Entities, vec![0]);
///     client.pull(PullRequest { caller, table, rows }).await
/// })?;
/// assert_eq!(pulled.values, [-2.0, 1.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait ShardClient: fmt::Debug + Send + Sync {
    /// The current layout.
    fn layout(&self) -> Answer<'_, Layout>;

    /// Announces that a worker is about to read the tables for a step. In async mode, waits until staleness
    /// allows it.
    fn begin(&self, caller: Caller) -> Answer<'_, ()>;

    /// Reads rows as they are now.
    fn pull(&self, request: PullRequest) -> Answer<'_, Pulled>;

    /// Reads rows as [`ShardClient::pull`] does, to memory that is used again: replaces the content of `out`.
    fn pull_into<'a>(
        &'a self,
        caller: Caller,
        table: TableName,
        rows: &'a [u32],
        out: &'a mut Vec<f32>,
    ) -> Answer<'a, ()> {
        Box::pin(async move {
            let rows = rows.to_vec();
            let request = PullRequest {
                caller,
                table,
                rows,
            };
            *out = self.pull(request).await?.values;
            Ok(())
        })
    }

    /// Hands gradients over; see [`Apply`].
    fn push(&self, request: PushRequest) -> Answer<'_, ()>;

    /// Applies a step that every worker of a generation has pushed, on all shards or on none.
    fn commit(&self, generation: Generation, step: Step) -> Answer<'_, ()>;

    /// Discards the pushes that wait for a commit, on all shards.
    fn abort(&self) -> Answer<'_, ()>;
}

impl ShardClient for ParameterServer {
    fn layout(&self) -> Answer<'_, Layout> {
        Box::pin(async move { Ok(self.record()) })
    }

    fn begin(&self, caller: Caller) -> Answer<'_, ()> {
        Box::pin(self.begin_step(caller.worker, caller.generation))
    }

    fn pull(&self, request: PullRequest) -> Answer<'_, Pulled> {
        Box::pin(async move {
            let PullRequest {
                caller,
                table,
                rows,
            } = request;
            let mut values = Vec::new();
            self.pull_into(caller, table, &rows, &mut values).await?;
            Ok(Pulled { values })
        })
    }

    fn pull_into<'a>(
        &'a self,
        caller: Caller,
        table: TableName,
        rows: &'a [u32],
        out: &'a mut Vec<f32>,
    ) -> Answer<'a, ()> {
        Box::pin(async move {
            self.check_caller(caller)?;
            self.pull_rows(caller.worker, table, rows, out).await
        })
    }

    fn push(&self, request: PushRequest) -> Answer<'_, ()> {
        Box::pin(async move {
            let PushRequest {
                caller,
                apply,
                samples,
                squares,
                parts,
            } = request;
            self.check_caller(caller)?;
            let gradients = StepGradients {
                layout: caller.layout,
                shards: self.shard_gradients(parts).await?,
            };
            let contribution = Contribution {
                worker: caller.worker,
                generation: caller.generation,
                step: caller.step,
                samples,
                squares,
            };
            match apply {
                Apply::Now => self.push_step(contribution, gradients).await,
                Apply::OnCommit => self.stage(contribution, gradients),
            }
        })
    }

    fn commit(&self, generation: Generation, step: Step) -> Answer<'_, ()> {
        Box::pin(async move {
            if self.is_small() {
                return ParameterServer::commit(self, generation, step);
            }
            let server = self.clone();
            let commit = move || ParameterServer::commit(&server, generation, step);
            off_runtime(commit)
                .await
                .unwrap_or(Err(ServerError::Stopped))
        })
    }

    fn abort(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            self.discard();
            Ok(())
        })
    }
}

impl ParameterServer {
    /// Record of the layout.
    pub(crate) fn record(&self) -> Layout {
        let tables = self.tables();
        let relations = tables.layout(TableName::Relations);
        Layout {
            version: tables.version(),
            entities: tables.assignment.record().clone(),
            relations: (0..relations.shards())
                .map(|shard| relations.range(shard).len())
                .collect(),
            widths: TableName::ALL.map(|table| tables.width(table)),
        }
    }

    /// Returns whether an update of all rows takes less time than waking another thread.
    fn is_small(&self) -> bool {
        let tables = self.tables();
        let values = TableName::ALL.map(|t| tables.layout(t).rows() * tables.width(t));
        !self.is_on_gpu() && values.iter().sum::<usize>() <= INLINE_VALUES
    }

    /// Copies the parts of a request to the devices of their shards.
    async fn shard_gradients(
        &self,
        parts: Vec<PushedPart>,
    ) -> Result<Vec<ShardGradients>, ServerError> {
        let server = self.clone();
        let bring = move |part: PushedPart| {
            Ok(ShardGradients {
                shard: part.shard,
                places: part.places,
                gradients: match part.gradients {
                    PushedRows::OnDevice(rows) => rows,
                    PushedRows::Values(values) => {
                        let fill = |out: &mut [f32]| out.copy_from_slice(&values);
                        server.upload_filled(part.shard, values.len(), fill)?
                    }
                    PushedRows::Packed(rows) => {
                        let fill = |out: &mut [f32]| rows.read(out);
                        server.upload_filled(part.shard, rows.len(), fill)?
                    }
                },
            })
        };
        let to_copy = |part: &PushedPart| match &part.gradients {
            PushedRows::OnDevice(_) => 0,
            rows => rows.len(),
        };
        let values: usize = parts.iter().map(to_copy).sum();
        if values == 0 || values <= INLINE_VALUES && !self.is_on_gpu() {
            return parts.into_iter().map(bring).collect();
        }
        off_runtime(move || parts.into_iter().map(bring).collect())
            .await
            .unwrap_or(Err(ServerError::Stopped))
    }

    /// Makes gradients on the device that holds a shard, in a buffer of the pool; `fill` writes them.
    fn upload_filled(
        &self,
        shard: ShardId,
        values: usize,
        fill: impl FnOnce(&mut [f32]),
    ) -> Result<GradientRows, ServerError> {
        let tables = self.tables();
        tables.index(shard)?;
        let device = tables.device(shard);
        Ok(device.upload_filled(values, fill, self.reuse(device))?)
    }

    /// Checks that a caller is one of the current generation's workers and knows the current layout.
    fn check_caller(&self, caller: Caller) -> Result<(), ServerError> {
        self.state().member(caller.worker, caller.generation)?;
        match caller.layout == self.tables().version() {
            true => Ok(()),
            false => Err(ServerError::LayoutChanged),
        }
    }
}
