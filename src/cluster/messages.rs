//! Messages between the leader and its nodes: JSON in frames of [`Kind::Control`].

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::coordinator::{Failure, MemberInfo, Vote};
use crate::ids::{Generation, Incarnation, ShardId, Step, WorkerId};
use crate::kernel::Column;
use crate::net::cut::{Attempt, CutError, ShardFile};
use crate::net::frame::MOST_PAYLOAD;
use crate::net::{Frame, FrameReceiver, FrameSender, Header, Kind, NetError};
use crate::sampler::PlanId;
use crate::server::{Layout, UpdateMode};

/// Time between two signs of life on a session.
pub const BEAT: Duration = Duration::from_millis(500);
/// Silence of a session after which the other process counts as lost.
pub const SILENCE: Duration = Duration::from_secs(2);

/// First message on a stream of [`Channel::Session`](crate::net::Channel).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Opening {
    /// A node wants to join the run.
    Hello(Hello),
    /// A process wants to read a shard's column.
    Columns(ColumnRequest),
    /// The leader wants a holder to save shards of a cut.
    Save(SaveRequest),
    /// A standby wants to hear from the leader until its run is over.
    Watch,
    /// A process wants the files that a node needs to join.
    Files,
}

/// Request of a node to join a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// Release of the node.
    pub release: String,
    /// Life of the process.
    pub incarnation: Incarnation,
    /// Address at which other nodes reach this one.
    pub address: String,
    /// Description of the node for people.
    pub info: MemberInfo,
    /// True if the node can read and write the run's directory.
    pub directory: bool,
    /// Digest of the run's configuration and graph, as the node has them.
    pub run: String,
}

/// Message of the leader to a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToNode {
    /// The node is a worker of the run.
    Welcome {
        /// Number of the worker.
        worker: WorkerId,
        /// Epoch of leadership.
        epoch: u32,
    },
    /// The node may not join.
    Refused {
        /// Reason, for people.
        reason: String,
    },
    /// The nodes, or the holders of shards, have changed.
    Configure(Box<Configuration>),
    /// Compute a part of a step.
    Start(Task),
    /// Rank facts, together with the other nodes.
    Rank(RankTask),
    /// Apply the gradients of a step.
    Commit {
        /// Generation of the step.
        generation: Generation,
        /// Step of the shards, from 0.
        step: Step,
        /// Learning rate.
        rate: f64,
    },
    /// Discard the gradients of the step that runs.
    Discard {
        /// Generation of the step.
        generation: Generation,
    },
    /// The leader is alive.
    Beat,
    /// The run is over for this node.
    Stop {
        /// Reason, for people.
        reason: String,
        /// Way of the node then.
        then: AfterStop,
    },
}

/// Ways of a node after the end of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterStop {
    /// The run is over, or goes on without the node.
    End,
    /// The node may join again after a while.
    JoinAgain,
    /// The leader leaves a run that is not over: another process may lead it.
    OtherLeader,
}

/// Message of a node to the leader.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToLeader {
    /// The node is ready for its first configuration.
    Synced,
    /// The node has computed its part of a step.
    Done(Done),
    /// The nodes have ranked facts, or this one could not.
    Ranked(Ranked),
    /// The node cannot go on.
    Failed(Failure),
    /// The node cannot reach another.
    Unreachable {
        /// Generation in which the node needs the other.
        generation: Generation,
        /// The other node.
        worker: WorkerId,
        /// Failure of the connection.
        reason: String,
    },
    /// The node is alive.
    Beat,
    /// The node wants to leave after the step.
    Leave,
}

/// Nodes and holders of a generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Configuration {
    /// Epoch of leadership.
    pub epoch: u32,
    /// The generation.
    pub generation: Generation,
    /// Number of steps committed, which is the step that comes next.
    pub steps: u64,
    /// Address of the leader, for shards of the cut.
    pub leader: String,
    /// Name of the run in the files of its cuts.
    pub run: String,
    /// Files of the cut; `None` if the cut is the start of the run, and all rows are initial rows.
    pub cut: Option<Attempt>,
    /// Number of parts of a step.
    pub lanes: u32,
    /// Longest time of a step, in seconds.
    pub timeout: f64,
    /// Rows of every shard.
    pub layout: Layout,
    /// Nodes of the generation, ascending.
    pub nodes: Vec<Node>,
    /// Holders of every shard, entity shards first. The first one answers pulls.
    pub holders: Vec<Vec<WorkerId>>,
    /// Present place of every shard.
    pub sources: Vec<Source>,
}

impl Configuration {
    /// Rule for applying pushes.
    pub fn mode(&self) -> UpdateMode {
        UpdateMode::Sync {
            timeout: self.timeout(),
        }
    }

    /// Longest time of a step.
    pub fn timeout(&self) -> Duration {
        Duration::try_from_secs_f64(self.timeout).unwrap_or(Duration::from_secs(60))
    }
}

/// Address of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Number of the node's worker.
    pub worker: WorkerId,
    /// Address at which other nodes reach the node.
    pub address: String,
}

/// Place where a new holder finds a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The last cut, whose step is the configuration's.
    Cut,
    /// Nodes that have the last committed step of the shard, with their addresses.
    Holders(Vec<Node>),
}

/// Part of a step for one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Generation of the step.
    pub generation: Generation,
    /// Step of the coordinator, for the vote.
    pub step: Step,
    /// Step of the shards, from 0.
    pub first: u64,
    /// Step of the plan.
    pub plan: PlanId,
    /// Parts of the step.
    pub parts: Vec<LanePart>,
}

/// One lane of a step. No plan travels: each node makes the plan of a step itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LanePart {
    /// Number of the lane.
    pub lane: u32,
    /// Step of the plan.
    pub plan: PlanId,
    /// Range of the step's queries.
    pub queries: Range<usize>,
}

/// Result of a [`Task`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// Generation of the task.
    pub generation: Generation,
    /// Step of the coordinator.
    pub step: Step,
    /// Vote on the step.
    pub vote: Vote,
    /// Loss of every lane, times its number of queries.
    pub losses: Vec<(u32, f64)>,
    /// Number of queries.
    pub queries: usize,
    /// Seconds that the task took.
    pub seconds: f64,
}

/// Facts to rank. The first node of the generation answers for all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RankTask {
    /// Generation of the nodes.
    pub generation: Generation,
    /// Number of steps that the shards have made.
    pub steps: u64,
    /// Range of the facts, which all nodes have.
    pub facts: Range<usize>,
}

/// Result of a [`RankTask`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ranked {
    /// Generation of the task.
    pub generation: Generation,
    /// Facts of the task.
    pub facts: Range<usize>,
    /// For each query, the number of better candidates, and that of others with the same score; `None` if the nodes
    /// could not rank.
    pub counts: Option<Vec<(u32, u32)>>,
}

/// Request for a column of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnRequest {
    /// Epoch of leadership.
    pub epoch: u32,
    /// Generation for which the shard is wanted: the holder answers with the step before it. `None` asks the
    /// leader for the last cut.
    pub generation: Option<Generation>,
    /// Number of steps that the shard must have made.
    pub steps: u64,
    /// The shard.
    pub shard: ShardId,
    /// The column.
    pub column: ColumnName,
}

/// Request to save shards of the last committed step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaveRequest {
    /// Name of the run in the files of its cuts.
    pub run: String,
    /// Step, epoch and generation of the cut.
    pub attempt: Attempt,
    /// Shards to write to files in the run's directory.
    pub write: Vec<ShardId>,
    /// Shards whose digests are wanted, without files.
    pub digest: Vec<ShardId>,
}

/// Answer to a [`SaveRequest`]: one for every shard, in order, those to write first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SaveAnswer {
    /// The shard is saved, or its digest is computed.
    Saved(ShardFile),
    /// The file cannot be written. No more answers follow.
    Failed(CutError),
    /// The holder does not have the shards of the step. No more answers follow.
    Refused {
        /// Reason, for people.
        reason: String,
    },
}

/// Column of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnName {
    /// Values of the rows.
    Values,
    /// First state of the optimizer.
    First,
    /// Second state of the optimizer.
    Second,
}

impl ColumnName {
    /// All columns.
    pub const ALL: [ColumnName; 3] = [ColumnName::Values, ColumnName::First, ColumnName::Second];
}

impl From<ColumnName> for Column {
    fn from(name: ColumnName) -> Column {
        match name {
            ColumnName::Values => Column::Values,
            ColumnName::First => Column::First,
            ColumnName::Second => Column::Second,
        }
    }
}

/// Sends a message, in as many frames as it takes.
///
/// # Errors
/// See [`FrameSender::send`].
pub async fn send(
    sender: &FrameSender,
    message: &impl Serialize,
    limit: Duration,
) -> Result<(), NetError> {
    for frame in frames(sender.peer(), message)? {
        sender.send(frame, limit).await?;
    }
    Ok(())
}

/// Frames of a message.
pub fn frames(peer: &str, message: &impl Serialize) -> Result<Vec<Frame>, NetError> {
    let text = serde_json::to_vec(message).map_err(|error| NetError::Refused {
        peer: peer.to_owned(),
        reason: format!("a message cannot be written: {error}"),
    })?;
    let text = Bytes::from(text);
    let chunks = text.len().div_ceil(MOST_PAYLOAD).max(1);
    let frame = |chunk: usize| {
        let end = text.len().min((chunk + 1) * MOST_PAYLOAD);
        Frame {
            header: Header {
                last: chunk + 1 == chunks,
                ..Header::new(Kind::Control)
            },
            payload: text.slice(chunk * MOST_PAYLOAD..end),
        }
    };
    Ok((0..chunks).map(frame).collect())
}

/// Most bytes of a message.
const MOST_BYTES: usize = 64 << 20;

/// Receives a message; `None` if the other process has ended the stream.
///
/// # Errors
/// See [`FrameReceiver::receive`]; [`NetError::Refused`] for anything but a message that can be understood.
pub async fn receive<M: DeserializeOwned>(
    receiver: &mut FrameReceiver,
    limit: Duration,
) -> Result<Option<M>, NetError> {
    let mut text = Vec::new();
    loop {
        let Some(frame) = receiver.receive(limit).await? else {
            return Ok(None);
        };
        let refused = |reason: String| NetError::Refused {
            peer: receiver.peer().to_owned(),
            reason,
        };
        if frame.header.kind != Kind::Control {
            let kind = frame.header.kind;
            return Err(refused(format!(
                "a frame of {kind:?} where a message belongs"
            )));
        }
        text.extend_from_slice(&frame.payload);
        if text.len() > MOST_BYTES {
            return Err(refused(format!(
                "a message of more than {MOST_BYTES} bytes"
            )));
        }
        if frame.header.last {
            let read = serde_json::from_slice(&text);
            return read
                .map(Some)
                .map_err(|error| refused(format!("a message cannot be understood: {error}")));
        }
    }
}
