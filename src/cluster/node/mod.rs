//! A node: a process that holds shards and computes parts of steps.

mod against_all;
mod ahead;
mod compute;
mod fetch;
mod group;
mod lanes;
mod ranking;
mod router;
mod save;
mod session;
mod shards;
mod unfinished;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

pub use compute::{Computing, Work};
pub use ranking::RankSource;
pub use router::{Answered, Pull, Requests, RouteError, Router, StepPush, Wanted};
pub use session::{NodeEnding, NodeError};
pub use shards::{HeldColumn, NodeShards};

use self::save::Saver;
use super::columns::{refuse_column, send_column};
use super::leader::Leader;
use super::messages::{ColumnRequest, Opening, receive};
use crate::coordinator::MemberInfo;
use crate::ids::Incarnation;
use crate::kernel::{Backend, StepSpec};
use crate::net::collective::Joins;
use crate::net::rows::{ServeOptions, serve};
use crate::net::{Accept, Channel, Dial, FrameSender, FrameStream, NetError};
use crate::sampler::PlanSource;
use crate::server::{Initializer, PackedType, ServerError, Shape, Storage};

/// Arguments of a node.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// Shape of the whole model.
    pub shape: Shape,
    /// Optimizer and type of the stored values.
    pub storage: Storage,
    /// Rows at the start of the run.
    pub init: Initializer,
    /// Directory of the run; `None` if this process cannot reach the directory.
    pub directory: Option<PathBuf>,
    /// Arithmetic of a step.
    pub spec: StepSpec,
    /// Source of the plans.
    pub source: Arc<dyn PlanSource>,
    /// Source of the facts that the leader may ask to rank; `None` if there are none.
    pub ranking: Option<Arc<dyn RankSource>>,
    /// True if the candidates of every plan are all entities: then queries travel, and not the entities' rows.
    pub against_all: bool,
    /// Number of threads that compute; `None` stands for all cores, or a GPU.
    pub threads: Option<usize>,
    /// Bytes that the node's shards may take; `None` stands for all memory that is free.
    pub memory: Option<u64>,
    /// Address at which other nodes reach this one.
    pub address: String,
    /// Description of the node for people.
    pub info: MemberInfo,
    /// Digest of the run's configuration and graph.
    pub run: String,
    /// Opens streams to other nodes.
    pub dial: Arc<dyn Dial>,
    /// Type in which rows and gradients travel between nodes.
    pub value_type: PackedType,
    /// Longest time of a request for rows.
    pub deadline: Duration,
}

/// A process that holds shards and computes parts of steps.
#[derive(Debug)]
pub struct Node {
    options: NodeOptions,
    engine: Backend,
    shards: NodeShards,
    /// Streams of other nodes to groups; `None` where neither steps nor rankings need a group.
    joins: Option<Arc<Joins>>,
    incarnation: Incarnation,
    /// Notified when the node is to leave the run.
    leaves: Notify,
    /// Takes the place of the thread that computes.
    computing: Option<Arc<dyn Computing>>,
}

impl Node {
    /// Makes a node that computes on `engine` and keeps its shards there.
    pub fn new(engine: Backend, options: NodeOptions) -> Node {
        Node {
            joins: (options.against_all || options.ranking.is_some()).then(Arc::default),
            options,
            engine,
            shards: NodeShards::default(),
            incarnation: Incarnation::random(),
            leaves: Notify::new(),
            computing: None,
        }
    }

    /// Lets something else than the node's own thread compute: for simulations, in which time is not real.
    #[must_use]
    pub fn with_computing(self, computing: Arc<dyn Computing>) -> Node {
        Node {
            computing: Some(computing),
            ..self
        }
    }

    /// Leaves the run in order: after the step that runs, and after others have taken over the node's shards. The
    /// session ends then.
    pub fn leave(&self) {
        self.leaves.notify_one();
    }

    /// The node's shards.
    pub fn shards(&self) -> &NodeShards {
        &self.shards
    }

    /// Takes the streams that others open to this process. `leader` is there in the process that leads.
    pub fn accept(&self, leader: Option<Leader>) -> NodeAccept {
        NodeAccept {
            shards: self.shards.clone(),
            saver: Saver {
                directory: self.options.directory.clone(),
                holder: self.incarnation,
            },
            joins: self.joins.clone(),
            limit: self.options.deadline,
            leader,
        }
    }
}

/// Takes the streams that others open to a node's process.
#[derive(Clone, Debug)]
pub struct NodeAccept {
    shards: NodeShards,
    saver: Saver,
    joins: Option<Arc<Joins>>,
    /// Longest wait of a stream for its group.
    limit: Duration,
    leader: Option<Leader>,
}

impl NodeAccept {
    /// Takes the streams that others open to a leader that has no node yet.
    pub fn leading(leader: Leader) -> NodeAccept {
        NodeAccept {
            shards: NodeShards::default(),
            saver: Saver {
                directory: None,
                holder: Incarnation::random(),
            },
            joins: None,
            limit: Duration::ZERO,
            leader: Some(leader),
        }
    }
}

impl Accept for NodeAccept {
    fn accept(&self, channel: Channel, stream: FrameStream) {
        match channel {
            Channel::Rows => {
                let (shards, fence) = (self.shards.clone(), self.shards.clone());
                let served = serve(
                    stream,
                    Arc::new(shards),
                    Arc::new(fence),
                    ServeOptions::default(),
                );
                tokio::spawn(async move {
                    if let Err(error) = served.await {
                        tracing::debug!(%error, "stream of rows ended");
                    }
                });
            }
            Channel::Session => {
                tokio::spawn(self.clone().session(stream));
            }
            Channel::Collective => {
                // Without joins, the stream is dropped: no step needs a group.
                let Some(joins) = self.joins.clone() else {
                    return;
                };
                let limit = self.limit;
                tokio::spawn(async move {
                    if let Err(error) = joins.accept(stream, limit).await {
                        tracing::debug!(%error, "stream to a group refused");
                    }
                });
            }
        }
    }
}

impl NodeAccept {
    /// Serves a session's stream by its first message.
    async fn session(self, mut stream: FrameStream) {
        let limit = super::columns::LIMIT;
        let opening = receive::<Opening>(&mut stream.receiver, limit).await;
        let peer = stream.peer().to_owned();
        let served = match (opening, self.leader) {
            (Ok(Some(Opening::Columns(request))), leader) => match (request.generation, leader) {
                (None, Some(leader)) => leader.send_column(&stream.sender, &request).await,
                (None, None) => refuse(&stream.sender, "this process does not lead the run").await,
                (Some(_), _) => send_held(&stream.sender, &self.shards, &request).await,
            },
            (Ok(Some(Opening::Save(request))), _) => {
                self.saver.save(&stream.sender, &self.shards, request).await
            }
            (Ok(Some(opening)), Some(leader)) => {
                leader.open(opening, stream).await;
                Ok(())
            }
            (Ok(Some(_)), None) => {
                refuse(&stream.sender, "this process does not lead the run").await
            }
            (Ok(None), _) => Ok(()),
            (Err(error), _) => Err(error),
        };
        if let Err(error) = served {
            tracing::debug!(%peer, %error, "session ended");
        }
    }
}

async fn refuse(sender: &FrameSender, reason: &str) -> Result<(), NetError> {
    refuse_column(sender, reason).await;
    Ok(())
}

/// Sends a column of a held shard.
async fn send_held(
    sender: &FrameSender,
    shards: &NodeShards,
    request: &ColumnRequest,
) -> Result<(), NetError> {
    let column = match shards.column(request, super::columns::LIMIT).await {
        Ok(column) => column,
        Err(error) => return refuse(sender, &error.to_string()).await,
    };
    let failed = |error: ServerError| NetError::Refused {
        peer: sender.peer().to_owned(),
        reason: error.to_string(),
    };
    send_column(sender, column.rows, column.width, |places, out| {
        column.read(places, out).map_err(failed)
    })
    .await
}
