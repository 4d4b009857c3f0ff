//! The one way of a worker to shards, wherever those are: pull, push, commit, abort.
//!
//! [`ShardClient`] is object-safe and its requests are plain values, so that a worker does not know
//! whether the shards are in its own process. [`ParameterServer`] implements it for the shards that
//! it holds; gradients that lie on a shard's device already are handed over as they are.

use std::fmt;
use std::pin::Pin;

use serde::{Deserialize, Serialize};

use super::off_runtime::off_runtime;
use super::{
    Contribution, Generation, LayoutVersion, ParameterServer, ServerError, ShardGradients, ShardId,
    ShardRecord, Step, StepGradients, TableName, WorkerId,
};
use crate::kernel::GradientRows;

/// What a call of a [`ShardClient`] resolves to.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, ServerError>> + Send + 'a>>;

/// Who calls, and for which step of which layout: a late or repeated call is recognised by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// The worker.
    pub worker: WorkerId,
    /// The generation of workers that it belongs to.
    pub generation: Generation,
    /// The shards' step (sync), or the worker's own count (async), from 0.
    pub step: Step,
    /// The layout that the worker cut its rows and gradients by.
    pub layout: LayoutVersion,
}

/// Which rows every shard holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layout {
    /// Changes whenever rows move.
    pub version: LayoutVersion,
    /// What the places of entity rows follow from.
    pub entities: ShardRecord,
    /// Rows of the shards of relations, which lie in order.
    pub relations: Vec<usize>,
    /// Values in a row of entities, and of relations.
    pub widths: [usize; 2],
}

/// Asks for rows of a table, by their numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PullRequest {
    /// Who asks.
    pub caller: Caller,
    /// The table.
    pub table: TableName,
    /// The rows, in any order.
    pub rows: Vec<u32>,
}

/// Rows that were asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pulled {
    /// Their values, row-major, in the order asked for.
    pub values: Vec<f32>,
}

/// When a push is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Apply {
    /// As soon as bounded staleness allows it.
    Now,
    /// By [`ShardClient::commit`], together with those of all other workers.
    OnCommit,
}

/// Gradients for one shard.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PushedPart {
    /// The shard.
    pub shard: ShardId,
    /// The rows, by their place in the shard, each once; all rows of the shard if none are listed.
    pub places: Option<Vec<u32>>,
    /// A gradient row for each place, row-major.
    pub gradients: PushedRows,
}

/// Where pushed gradient rows lie.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PushedRows {
    /// In the message.
    Values(Vec<f32>),
    /// On the device that holds the shard, in this process; does not serialise.
    #[serde(skip)]
    OnDevice(GradientRows),
}

/// Hands the gradients of a step to all shards of a layout: to all of them, or to none.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PushRequest {
    /// Who pushes.
    pub caller: Caller,
    /// When the gradients are applied.
    pub apply: Apply,
    /// Samples behind the gradients: their weight in the average over workers.
    pub samples: f32,
    /// Σ g² over all gradients of the step, for the shards' figures.
    pub squares: f64,
    /// Entity shards, then relation shards.
    pub parts: Vec<PushedPart>,
}

impl PushRequest {
    /// The request that hands a step's gradients over where they lie.
    pub fn on_device(share: Contribution, apply: Apply, gradients: StepGradients) -> PushRequest {
        let part = |part: ShardGradients| PushedPart {
            shard: part.shard,
            places: part.places,
            gradients: PushedRows::OnDevice(part.gradients),
        };
        PushRequest {
            caller: Caller {
                worker: share.worker,
                generation: share.generation,
                step: share.step,
                layout: gradients.layout,
            },
            apply,
            samples: share.samples,
            squares: share.squares,
            parts: gradients.shards.into_iter().map(part).collect(),
        }
    }
}

/// A connection to the shards of a model.
///
/// Every call that waits has the deadline of the server's update mode. Futures need a tokio runtime
/// with time; one that is dropped leaves no trace.
///
/// ```
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
/// server.configure(UpdateMode::default(), 1, &[worker]);
/// server.set_rate(0.5);
///
/// let client: &dyn ShardClient = &server;
/// let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build()?;
/// let pulled = runtime.block_on(async {
///     let layout = client.layout().await?.version;
///     let caller = Caller { worker, generation: 1, step: 0, layout };
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
///     client.commit(1, 0).await?;
///     let (table, rows) = (TableName::Entities, vec![0]);
///     client.pull(PullRequest { caller, table, rows }).await
/// })?;
/// assert_eq!(pulled.values, [-2.0, 1.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait ShardClient: fmt::Debug + Send + Sync {
    /// The layout of now.
    fn layout(&self) -> Answer<'_, Layout>;

    /// Notes that a worker is about to read the tables for a step (async: as soon as staleness
    /// allows).
    fn begin(&self, caller: Caller) -> Answer<'_, ()>;

    /// Rows as they are now.
    fn pull(&self, request: PullRequest) -> Answer<'_, Pulled>;

    /// Hands gradients over, see [`Apply`].
    fn push(&self, request: PushRequest) -> Answer<'_, ()>;

    /// Applies a step that every worker of a generation has pushed, on all shards or on none.
    fn commit(&self, generation: Generation, step: Step) -> Answer<'_, ()>;

    /// Throws away what waits for a commit, on all shards.
    fn abort(&self) -> Answer<'_, ()>;
}

impl ShardClient for ParameterServer {
    fn layout(&self) -> Answer<'_, Layout> {
        Box::pin(async move {
            let tables = self.tables();
            let relations = tables.layout(TableName::Relations);
            Ok(Layout {
                version: tables.version(),
                entities: tables.assignment.record().clone(),
                relations: (0..relations.shards())
                    .map(|shard| relations.range(shard).len())
                    .collect(),
                widths: TableName::ALL.map(|table| tables.width(table)),
            })
        })
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
            self.check_caller(caller)?;
            let mut values = Vec::new();
            self.pull_rows(caller.worker, table, &rows, &mut values)
                .await?;
            Ok(Pulled { values })
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
            let share = Contribution {
                worker: caller.worker,
                generation: caller.generation,
                step: caller.step,
                samples,
                squares,
            };
            match apply {
                Apply::Now => self.push_step(share, gradients).await,
                Apply::OnCommit => self.stage(share, gradients),
            }
        })
    }

    fn commit(&self, generation: Generation, step: Step) -> Answer<'_, ()> {
        Box::pin(async move {
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
    /// Brings the parts of a request to the devices of their shards.
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
                    PushedRows::Values(values) => server.upload(part.shard, &values, None)?,
                },
            })
        };
        let is_here = |part: &PushedPart| matches!(part.gradients, PushedRows::OnDevice(_));
        if parts.iter().all(is_here) {
            return parts.into_iter().map(bring).collect();
        }
        off_runtime(move || parts.into_iter().map(bring).collect())
            .await
            .unwrap_or(Err(ServerError::Stopped))
    }

    /// Checks that a caller is one of the current generation's workers and knows the layout of now.
    fn check_caller(&self, caller: Caller) -> Result<(), ServerError> {
        self.state().member(caller.worker, caller.generation)?;
        match caller.layout == self.tables().version() {
            true => Ok(()),
            false => Err(ServerError::LayoutChanged),
        }
    }
}
