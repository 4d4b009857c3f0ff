//! What can go wrong between workers and shards.

use std::sync::Arc;
use std::time::Duration;

use super::{Generation, PlacementError, ShardError, ShardId, Step, WorkerId};
use crate::kernel::{KernelError, TableName};

/// Why a pull or a push was refused, or did not get through. Nothing has changed then, unless it
/// says so.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ServerError {
    /// A worker that is not of this generation.
    #[error("{worker} is not among the {workers} workers of {generation}")]
    UnknownWorker {
        /// Who pushed.
        worker: WorkerId,
        /// The generation.
        generation: Generation,
        /// How many workers it has.
        workers: usize,
    },
    /// A push of another generation than the current one.
    #[error("{worker} pushed in {found}, expected {expected}")]
    Generation {
        /// Who pushed.
        worker: WorkerId,
        /// The generation of the push.
        found: Generation,
        /// The current one.
        expected: Generation,
    },
    /// The workers changed while a push waited for them.
    #[error("the workers changed to {generation} while {worker} waited for a barrier")]
    Reconfigured {
        /// Who waited.
        worker: WorkerId,
        /// The new generation.
        generation: Generation,
    },
    /// A shard that there is not.
    #[error("{table} have no shard {shard}: expected below {shards}", table = .table.name())]
    NoShard {
        /// The table.
        table: TableName,
        /// What was asked for.
        shard: usize,
        /// How many shards it has.
        shards: usize,
    },
    /// A row that the table has not.
    #[error("row {row} of {table} does not exist: it has {rows}", table = .table.name())]
    NoRow {
        /// The table.
        table: TableName,
        /// The row.
        row: u32,
        /// How many rows it has.
        rows: usize,
    },
    /// A row pushed to a shard that does not hold it.
    #[error("{worker} pushed row {row} to {shard}, expected shard {home}")]
    ForeignRow {
        /// Who pushed.
        worker: WorkerId,
        /// Where to.
        shard: ShardId,
        /// The row.
        row: u32,
        /// The shard that holds it.
        home: usize,
    },
    /// Gradients that do not fit the rows.
    #[error(
        "{worker} pushed {found} values for {rows} rows to {shard}, expected {expected} (rows × {width})"
    )]
    Length {
        /// Who pushed.
        worker: WorkerId,
        /// Where to.
        shard: ShardId,
        /// How many rows.
        rows: usize,
        /// Values in a row.
        width: usize,
        /// Values that there should be.
        expected: usize,
        /// Values that there are.
        found: usize,
    },
    /// Gradients of a step that are not those of the layout's shards, in order.
    #[error(
        "{worker} has gradients for {found} shards, expected those of the {expected} shards of the layout, in order"
    )]
    Parts {
        /// Who pushed.
        worker: WorkerId,
        /// Shards that there are gradients for.
        found: usize,
        /// Shards that there are.
        expected: usize,
    },
    /// A place that a shard does not have.
    #[error("{worker} has a gradient for place {place} of {shard}, which has {rows} rows")]
    NoPlace {
        /// Who pushed.
        worker: WorkerId,
        /// Where to.
        shard: ShardId,
        /// The place, from 0.
        place: u32,
        /// Rows of the shard.
        rows: usize,
    },
    /// A gradient that is not a finite number.
    #[error(
        "{worker} pushed {value} for row {row}, column {column}, to {shard}: expected a finite number"
    )]
    NotFinite {
        /// Who pushed.
        worker: WorkerId,
        /// Where to.
        shard: ShardId,
        /// The row.
        row: u32,
        /// The value's place in the row.
        column: usize,
        /// The value.
        value: f32,
    },
    /// A weight that is not one.
    #[error(
        "{worker} pushed to {shard} with weight {samples}: expected a finite number, at least 0"
    )]
    Samples {
        /// Who pushed.
        worker: WorkerId,
        /// Where to.
        shard: ShardId,
        /// The weight.
        samples: f32,
    },
    /// A push for a step that is over.
    #[error("{worker} pushed {step} to {shard} too late: expected {expected}")]
    Late {
        /// Who pushed.
        worker: WorkerId,
        /// Where to.
        shard: ShardId,
        /// The push's step.
        step: Step,
        /// The shard's step.
        expected: Step,
    },
    /// A push for a step that has not begun.
    #[error("{worker} pushed {step} to {shard} too early: expected {expected}")]
    Early {
        /// Who pushed.
        worker: WorkerId,
        /// Where to.
        shard: ShardId,
        /// The push's step.
        step: Step,
        /// The shard's step.
        expected: Step,
    },
    /// A push to a step that others have staged to be voted on, or the other way around.
    #[error(
        "{worker} brought {step} of {shard} one way (pushed or staged) and others the other way: \
         expected all alike"
    )]
    Mixed {
        /// Who pushed.
        worker: WorkerId,
        /// Where to.
        shard: ShardId,
        /// The push's step.
        step: Step,
    },
    /// A push of gradients that are too old.
    #[error("{worker} is {staleness} steps behind {shard}, expected at most {bound}: pull again")]
    Stale {
        /// Who pushed.
        worker: WorkerId,
        /// Where to.
        shard: ShardId,
        /// Steps since the worker's pull.
        staleness: u64,
        /// How many there may be.
        bound: u64,
    },
    /// Others did not come in time.
    #[error("{worker} waited {after:?} at {shard} for {}", list(.waiting_for))]
    Timeout {
        /// Who waited.
        worker: WorkerId,
        /// Where.
        shard: ShardId,
        /// How long.
        after: Duration,
        /// For whom.
        waiting_for: Vec<WorkerId>,
    },
    /// A step cannot be committed: not every worker has left its gradients.
    #[error("{step} of {generation} cannot be committed: {} missing at {shard}", list(.missing))]
    Incomplete {
        /// The generation.
        generation: Generation,
        /// The step.
        step: Step,
        /// Where.
        shard: ShardId,
        /// Who has not come.
        missing: Vec<WorkerId>,
    },
    /// Shards cannot be moved while pushes wait.
    #[error("{shard} is in the middle of {step}")]
    Busy {
        /// The first such shard.
        shard: ShardId,
        /// Its step.
        step: Step,
    },
    /// The async runtime was shut down during the call.
    #[error("the async runtime was shut down")]
    Stopped,
    /// Shards have moved between two calls that belong together. A plan is to be translated again
    /// and its gradients computed again.
    #[error("the shards have moved since: translate the plan again and make its gradients again")]
    LayoutChanged,
    /// Rows cannot be spread over shards as asked for.
    #[error(transparent)]
    Shards(#[from] ShardError),
    /// Shards do not fit on the devices.
    #[error("{}: {source}", .table.name())]
    Placement {
        /// Whose shards.
        table: TableName,
        /// What does not fit.
        source: PlacementError,
    },
    /// What a worker waited for has failed on the way; whether it was applied is not known.
    #[error("an update of {shard} that {worker} took part in was given up")]
    Abandoned {
        /// Who waited.
        worker: WorkerId,
        /// Where.
        shard: ShardId,
    },
    /// The device failed.
    #[error(transparent)]
    Kernel(Arc<KernelError>),
}

impl From<KernelError> for ServerError {
    fn from(error: KernelError) -> ServerError {
        ServerError::Kernel(Arc::new(error))
    }
}

/// "worker 1 and worker 2".
fn list(workers: &[WorkerId]) -> String {
    let names: Vec<String> = workers.iter().map(WorkerId::to_string).collect();
    match &names[..] {
        [] => "nobody".to_owned(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}
