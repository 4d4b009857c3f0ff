//! Errors between workers and shards.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Generation, PlacementError, ShardError, ShardId, Step, WorkerId};
use crate::kernel::{KernelError, TableName};

/// Reason for which a pull or a push was refused or failed. Unless a variant says otherwise, nothing has
/// changed.
///
/// Errors travel between processes with their fields, after [`ServerError::to_send`].
#[derive(Clone, Debug, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServerError {
    /// The worker does not belong to this generation.
    #[error("{worker} is not among the {workers} workers of {generation}")]
    UnknownWorker {
        /// Worker that pushed.
        worker: WorkerId,
        /// The generation.
        generation: Generation,
        /// Number of workers of the generation.
        workers: usize,
    },
    /// The push belongs to another generation than the current one.
    #[error("{worker} pushed in {found}, expected {expected}")]
    Generation {
        /// Worker that pushed.
        worker: WorkerId,
        /// The generation of the push.
        found: Generation,
        /// The current generation.
        expected: Generation,
    },
    /// The workers changed while a push waited for them.
    #[error("the workers changed to {generation} while {worker} waited for a barrier")]
    Reconfigured {
        /// Worker that waited.
        worker: WorkerId,
        /// The new generation.
        generation: Generation,
    },
    /// The shard does not exist.
    #[error("{table} have no shard {shard}: expected below {shards}", table = .table.name())]
    NoShard {
        /// The table.
        table: TableName,
        /// Number of the requested shard.
        shard: usize,
        /// Number of shards of the table.
        shards: usize,
    },
    /// Another process holds the shard.
    #[error("{shard} is not held here")]
    NotHeld {
        /// The shard.
        shard: ShardId,
    },
    /// The step is over at the shards.
    #[error("{worker} is in {step}, but the shards are in {expected}")]
    PastStep {
        /// Worker that asked.
        worker: WorkerId,
        /// Step of the request.
        step: Step,
        /// Step of the shards.
        expected: Step,
    },
    /// The shards did not reach the step of a request in time.
    #[error("{worker} waited {after:?} for {step} of {generation}")]
    NotReached {
        /// Worker that asked.
        worker: WorkerId,
        /// Generation of the request.
        generation: Generation,
        /// Step of the request.
        step: Step,
        /// Time that the request waited.
        after: Duration,
    },
    /// Only the leader commits and discards steps.
    #[error("only the leader of a run commits and discards its steps")]
    NotLeader,
    /// The row does not exist.
    #[error("row {row} of {table} does not exist: it has {rows}", table = .table.name())]
    NoRow {
        /// The table.
        table: TableName,
        /// The row.
        row: u32,
        /// Number of rows of the table.
        rows: usize,
    },
    /// The shard does not hold the pushed row.
    #[error("{worker} pushed row {row} to {shard}, expected shard {home}")]
    ForeignRow {
        /// Worker that pushed.
        worker: WorkerId,
        /// Shard that received the push.
        shard: ShardId,
        /// The row.
        row: u32,
        /// Number of the shard that holds the row.
        home: usize,
    },
    /// The length of the gradients does not fit the rows.
    #[error(
        "{worker} pushed {found} values for {rows} rows to {shard}, expected {expected} (rows × {width})"
    )]
    Length {
        /// Worker that pushed.
        worker: WorkerId,
        /// Shard that received the push.
        shard: ShardId,
        /// Number of rows.
        rows: usize,
        /// Values in a row.
        width: usize,
        /// Expected number of values.
        expected: usize,
        /// Number of values received.
        found: usize,
    },
    /// The gradients of a step are not for the layout's shards, in order.
    #[error(
        "{worker} has gradients for {found} shards, expected those of the {expected} shards of the layout, in order"
    )]
    Parts {
        /// Worker that pushed.
        worker: WorkerId,
        /// Number of shards with gradients.
        found: usize,
        /// Number of shards of the layout.
        expected: usize,
    },
    /// The shard does not have the place.
    #[error("{worker} has a gradient for place {place} of {shard}, which has {rows} rows")]
    NoPlace {
        /// Worker that pushed.
        worker: WorkerId,
        /// Shard that received the push.
        shard: ShardId,
        /// The place, from 0.
        place: u32,
        /// Number of rows of the shard.
        rows: usize,
    },
    /// A gradient is not a finite number.
    #[error(
        "{worker} pushed {value} for row {row}, column {column}, to {shard}: expected a finite number"
    )]
    NotFinite {
        /// Worker that pushed.
        worker: WorkerId,
        /// Shard that received the push.
        shard: ShardId,
        /// The row.
        row: u32,
        /// Index of the value in its row.
        column: usize,
        /// The value.
        #[serde(with = "text")]
        value: f32,
    },
    /// The weight of a push is negative or not finite.
    #[error(
        "{worker} pushed to {shard} with weight {samples}: expected a finite number, at least 0"
    )]
    Samples {
        /// Worker that pushed.
        worker: WorkerId,
        /// Shard that received the push.
        shard: ShardId,
        /// The weight.
        #[serde(with = "text")]
        samples: f32,
    },
    /// The push is for a step that is over.
    #[error("{worker} pushed {step} to {shard} too late: expected {expected}")]
    Late {
        /// Worker that pushed.
        worker: WorkerId,
        /// Shard that received the push.
        shard: ShardId,
        /// Step of the push.
        step: Step,
        /// Step of the shard.
        expected: Step,
    },
    /// The push is for a step that has not begun.
    #[error("{worker} pushed {step} to {shard} too early: expected {expected}")]
    Early {
        /// Worker that pushed.
        worker: WorkerId,
        /// Shard that received the push.
        shard: ShardId,
        /// Step of the push.
        step: Step,
        /// Step of the shard.
        expected: Step,
    },
    /// One worker pushed the step while another staged it for a vote.
    #[error(
        "{worker} brought {step} of {shard} one way (pushed or staged) and others the other way: \
         expected all alike"
    )]
    Mixed {
        /// Worker that pushed.
        worker: WorkerId,
        /// Shard that received the push.
        shard: ShardId,
        /// Step of the push.
        step: Step,
    },
    /// The gradients of a push are too old.
    #[error("{worker} is {staleness} steps behind {shard}, expected at most {bound}: pull again")]
    Stale {
        /// Worker that pushed.
        worker: WorkerId,
        /// Shard that received the push.
        shard: ShardId,
        /// Steps since the worker's pull.
        staleness: u64,
        /// The most steps allowed.
        bound: u64,
    },
    /// Other workers did not push in time.
    #[error("{worker} waited {after:?} at {shard} for {}", list(.waiting_for))]
    Timeout {
        /// Worker that waited.
        worker: WorkerId,
        /// Shard at which it waited.
        shard: ShardId,
        /// Time that it waited.
        after: Duration,
        /// Workers whose pushes were missing.
        waiting_for: Vec<WorkerId>,
    },
    /// A step cannot be committed, because gradients of some workers are missing.
    #[error("{step} of {generation} cannot be committed: {} missing at {shard}", list(.missing))]
    Incomplete {
        /// The generation.
        generation: Generation,
        /// The step.
        step: Step,
        /// First shard that lacks gradients.
        shard: ShardId,
        /// Workers whose gradients are missing.
        missing: Vec<WorkerId>,
    },
    /// A shard still waits for pushes or applies them.
    #[error("{shard} is in the middle of {step}")]
    Busy {
        /// First such shard.
        shard: ShardId,
        /// Step of the shard.
        step: Step,
    },
    /// The async runtime was shut down during the call.
    #[error("the async runtime was shut down")]
    Stopped,
    /// Rows have moved between two calls that belong together. The caller must translate its plan and compute
    /// the gradients again.
    #[error("the shards have moved since: translate the plan again and make its gradients again")]
    LayoutChanged,
    /// Rows cannot be spread over shards as requested.
    #[error(transparent)]
    #[serde(skip)]
    Shards(#[from] ShardError),
    /// Shards do not fit on the devices.
    #[error("{}: {source}", .table.name())]
    #[serde(skip)]
    Placement {
        /// Table of the shards.
        table: TableName,
        /// Shard or device that does not fit.
        source: PlacementError,
    },
    /// The update that a worker waited for failed. Whether it was applied is not known.
    #[error("an update of {shard} that {worker} took part in was given up")]
    Abandoned {
        /// Worker that waited.
        worker: WorkerId,
        /// Shard of the update.
        shard: ShardId,
    },
    /// The device failed.
    #[error(transparent)]
    #[serde(skip)]
    Kernel(Arc<KernelError>),
    /// A request came with another number of parts than its header says, or than is allowed.
    #[error("a request has {found} {what}, expected {expected}")]
    Count {
        /// The counted parts, such as `"rows"`.
        what: Cow<'static, str>,
        /// Number of parts that came.
        found: u64,
        /// Number by the header, or largest number.
        expected: u64,
    },
    /// The frames of a request do not form one.
    #[error("the frames of a request do not form one: {fault}")]
    Malformed {
        /// Fault of the frames.
        fault: Cow<'static, str>,
    },
    /// The request is of an earlier epoch of leadership: another leader has taken over since.
    #[error("the request has leadership epoch {found}, and epoch {expected} has begun: join anew")]
    OldEpoch {
        /// Epoch of the request.
        found: u32,
        /// Epoch of the server.
        expected: u32,
    },
    /// The request is of a later epoch of leadership than the server knows of.
    #[error(
        "the request has leadership epoch {found}, but the server knows of epoch {expected} only"
    )]
    NewEpoch {
        /// Epoch of the request.
        found: u32,
        /// Epoch of the server.
        expected: u32,
    },
    /// The server does not know whether it still belongs to the run, and has stopped to serve.
    #[error("the server has not heard from its leader for {after:?} and does not serve")]
    Unled {
        /// Time since the last message of the leader.
        after: Duration,
    },
    /// The process of the shards is lost. Whether it has done what was requested is not known.
    #[error("{peer} is lost: {reason}")]
    Lost {
        /// Name or address of the process.
        peer: String,
        /// Failure of the connection.
        reason: String,
    },
    /// A failure in another process that only its sentence is known of.
    #[error("{message}")]
    Remote {
        /// Sentence of the failure.
        message: String,
    },
}

impl ServerError {
    /// Returns whether another process is lost, or does not serve any more.
    pub fn is_lost(&self) -> bool {
        matches!(self, ServerError::Lost { .. })
    }

    /// Makes the error fit to travel: errors of devices and of the spread of rows become their sentence
    /// ([`ServerError::Remote`]), all others keep their fields.
    #[must_use]
    pub fn to_send(&self) -> ServerError {
        match self {
            ServerError::Shards(_) | ServerError::Placement { .. } | ServerError::Kernel(_) => {
                ServerError::Remote {
                    message: self.to_string(),
                }
            }
            other => other.clone(),
        }
    }
}

/// Numbers as text, since JSON does not have those that are not finite.
mod text {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(value: &f32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl From<KernelError> for ServerError {
    fn from(error: KernelError) -> ServerError {
        ServerError::Kernel(Arc::new(error))
    }
}

/// Joins names, as in "worker 1 and worker 2".
fn list(workers: &[WorkerId]) -> String {
    let names: Vec<String> = workers.iter().map(WorkerId::to_string).collect();
    match &names[..] {
        [] => "nobody".to_owned(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}
