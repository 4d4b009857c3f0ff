//! A node: a process that holds shards and computes parts of steps.

mod against_all;
mod compute;
mod fetch;
mod group;
mod ranking;
mod router;
mod session;
mod shards;

use std::sync::Arc;
use std::time::Duration;

pub use ranking::RankSource;
pub use router::{RouteError, Router, StepPush};
pub use session::{NodeEnding, NodeError};
pub use shards::{HeldColumn, NodeShards};

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
use crate::server::{PackedType, ServerError, Shape, Storage};

/// Arguments of a node.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// Shape of the whole model.
    pub shape: Shape,
    /// Optimizer and type of the stored values.
    pub storage: Storage,
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
    /// Streams of other nodes to the groups of this one.
    joins: Arc<Joins>,
    incarnation: Incarnation,
}

impl Node {
    /// Makes a node that computes on `engine` and keeps its shards there.
    pub fn new(engine: Backend, options: NodeOptions) -> Node {
        Node {
            joins: Arc::default(),
            options,
            engine,
            shards: NodeShards::default(),
            incarnation: Incarnation::random(),
        }
    }

    /// The node's shards.
    pub fn shards(&self) -> &NodeShards {
        &self.shards
    }

    /// Takes the streams that others open to this process. `leader` is there in the process that leads.
    pub fn accept(&self, leader: Option<Leader>) -> NodeAccept {
        NodeAccept {
            shards: self.shards.clone(),
            joins: Arc::clone(&self.joins),
            limit: self.options.deadline,
            leader,
        }
    }
}

/// Takes the streams that others open to a node's process.
#[derive(Clone, Debug)]
pub struct NodeAccept {
    shards: NodeShards,
    joins: Arc<Joins>,
    /// Longest wait of a stream for its group.
    limit: Duration,
    leader: Option<Leader>,
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
                let (joins, limit) = (Arc::clone(&self.joins), self.limit);
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
