//! Counts of pulls, pushes and refusals of a shard.

use std::time::Duration;

use serde::Serialize;

use super::ServerError;
use crate::kernel::TableName;

/// Buckets for a staleness of 0, 1, …, 15, and for 16 steps or more.
pub const STALENESS_BUCKETS: usize = 17;

/// Figures of one shard since the server was made.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShardStats {
    /// `"entities"` or `"relations"`.
    #[serde(serialize_with = "name")]
    pub table: TableName,
    /// Number of the shard.
    pub shard: usize,
    /// Number of rows of the shard.
    pub rows: usize,
    /// Number of steps applied.
    pub step: u64,
    /// Number of pulls that read from the shard.
    pub pulls: u64,
    /// Number of pushes applied.
    pub pushes: u64,
    /// Number of barriers that opened with the pushes of all workers.
    pub barriers: u64,
    /// Number of barriers that opened at their deadline, without the pushes of some workers.
    pub flushed: u64,
    /// Number of repeated pushes; these are not applied again.
    pub repeated: u64,
    /// Number of pushes withdrawn while they waited.
    pub cancelled: u64,
    /// Number of staged steps discarded.
    pub discarded: u64,
    /// Pushes refused, by cause.
    pub refused: Refusals,
    /// Number of pushes with a staleness of 0, 1, …, 15, and 16 or more.
    pub staleness: [u64; STALENESS_BUCKETS],
    /// Root mean square over pushes of the norms of their gradients.
    pub gradient_norm: f64,
    /// Bytes of pushed gradients.
    pub bytes_pushed: u64,
    /// Bytes of pulled rows.
    pub bytes_pulled: u64,
    /// Seconds spent on updates (on a GPU: on recording them).
    pub seconds: f64,
    #[serde(skip)]
    squares: f64,
}

/// Refused pushes by cause; see [`ServerError`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Refusals {
    /// From workers outside of the current generation.
    pub membership: u64,
    /// For a step that was over.
    pub late: u64,
    /// For a step that had not begun.
    pub early: u64,
    /// For rows that do not exist or belong to another shard.
    pub rows: u64,
    /// With gradients that do not fit the rows.
    pub length: u64,
    /// With values or weights that are not finite.
    pub not_finite: u64,
    /// With a staleness over the bound.
    pub stale: u64,
    /// Not applied before the deadline.
    pub timeout: u64,
}

impl Refusals {
    fn add(&mut self, other: &Refusals) {
        self.membership += other.membership;
        self.late += other.late;
        self.early += other.early;
        self.rows += other.rows;
        self.length += other.length;
        self.not_finite += other.not_finite;
        self.stale += other.stale;
        self.timeout += other.timeout;
    }
}

fn name<S: serde::Serializer>(table: &TableName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(table.name())
}

impl ShardStats {
    pub(super) fn new(table: TableName, shard: usize, rows: usize) -> ShardStats {
        ShardStats {
            table,
            shard,
            rows,
            step: 0,
            pulls: 0,
            pushes: 0,
            barriers: 0,
            flushed: 0,
            repeated: 0,
            cancelled: 0,
            discarded: 0,
            refused: Refusals::default(),
            staleness: [0; STALENESS_BUCKETS],
            gradient_norm: 0.0,
            bytes_pushed: 0,
            bytes_pulled: 0,
            seconds: 0.0,
            squares: 0.0,
        }
    }

    /// Adds the counts of another shard; steps and rows stay.
    pub(super) fn add(&mut self, other: &ShardStats) {
        self.squares += other.squares;
        for (mine, theirs) in [
            (&mut self.pulls, other.pulls),
            (&mut self.pushes, other.pushes),
            (&mut self.barriers, other.barriers),
            (&mut self.flushed, other.flushed),
            (&mut self.repeated, other.repeated),
            (&mut self.cancelled, other.cancelled),
            (&mut self.discarded, other.discarded),
            (&mut self.bytes_pushed, other.bytes_pushed),
            (&mut self.bytes_pulled, other.bytes_pulled),
        ] {
            *mine += theirs;
        }
        self.refused.add(&other.refused);
        for (mine, theirs) in self.staleness.iter_mut().zip(other.staleness) {
            *mine += theirs;
        }
        self.seconds += other.seconds;
        self.gradient_norm = (self.squares / self.pushes.max(1) as f64).sqrt();
    }

    pub(super) fn pulled(&mut self, values: usize) {
        self.pulls += 1;
        self.bytes_pulled += (values * size_of::<f32>()) as u64;
    }

    /// Counts an applied push of `values` gradients; `squares` is the square of their norm.
    pub(super) fn pushed(&mut self, values: usize, squares: f64, staleness: u64) {
        self.pushes += 1;
        self.bytes_pushed += (values * size_of::<f32>()) as u64;
        self.staleness[staleness.min(STALENESS_BUCKETS as u64 - 1) as usize] += 1;
        self.squares += squares;
        self.gradient_norm = (self.squares / self.pushes as f64).sqrt();
    }

    pub(super) fn took(&mut self, time: Duration) {
        self.seconds += time.as_secs_f64();
    }

    pub(super) fn refuse(&mut self, error: &ServerError) {
        let refused = &mut self.refused;
        match error {
            ServerError::UnknownWorker { .. }
            | ServerError::Generation { .. }
            | ServerError::Reconfigured { .. } => refused.membership += 1,
            ServerError::Late { .. } => refused.late += 1,
            ServerError::Early { .. } => refused.early += 1,
            ServerError::NoRow { .. }
            | ServerError::NoPlace { .. }
            | ServerError::ForeignRow { .. } => refused.rows += 1,
            ServerError::Length { .. } | ServerError::Parts { .. } => refused.length += 1,
            ServerError::NotFinite { .. } | ServerError::Samples { .. } => refused.not_finite += 1,
            ServerError::Stale { .. } => refused.stale += 1,
            ServerError::Timeout { .. } => refused.timeout += 1,
            ServerError::NoShard { .. }
            | ServerError::NotHeld { .. }
            | ServerError::PastStep { .. }
            | ServerError::NotReached { .. }
            | ServerError::NotLeader
            | ServerError::Incomplete { .. }
            | ServerError::Busy { .. }
            | ServerError::Mixed { .. }
            | ServerError::Abandoned { .. }
            | ServerError::LayoutChanged
            | ServerError::Stopped
            | ServerError::Shards(_)
            | ServerError::Placement { .. }
            | ServerError::Kernel(_)
            | ServerError::Count { .. }
            | ServerError::Malformed { .. }
            | ServerError::OldEpoch { .. }
            | ServerError::NewEpoch { .. }
            | ServerError::Unled { .. }
            | ServerError::Lost { .. }
            | ServerError::Remote { .. } => {}
        }
    }
}
