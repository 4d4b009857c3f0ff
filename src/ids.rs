//! Identifiers that travel in messages: workers, generations, steps, shards and layouts.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// Number of a worker. A run never gives a number twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerId(pub u32);

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {}", self.0)
    }
}

/// Number of a set of workers. Every change of the set makes a new generation; numbers only rise.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation after this one.
    #[must_use]
    pub fn next(self) -> Generation {
        Generation(self.0 + 1)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "generation {}", self.0)
    }
}

/// Number of a training step.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Step(pub u64);

impl Step {
    /// The step after this one.
    #[must_use]
    pub fn next(self) -> Step {
        Step(self.0 + 1)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {}", self.0)
    }
}

/// Table of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableName {
    /// Rows of entities.
    Entities,
    /// Rows of relations, and of a core.
    Relations,
}

impl TableName {
    /// Both tables.
    pub const ALL: [TableName; 2] = [TableName::Entities, TableName::Relations];

    /// Name in files and messages.
    pub fn name(self) -> &'static str {
        match self {
            TableName::Entities => "entities",
            TableName::Relations => "relations",
        }
    }
}

/// One shard of one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShardId {
    /// The table.
    pub table: TableName,
    /// Number of the shard in the table.
    pub shard: usize,
}

impl ShardId {
    /// A shard of entities.
    pub fn entities(shard: usize) -> ShardId {
        ShardId {
            table: TableName::Entities,
            shard,
        }
    }

    /// A shard of relations.
    pub fn relations(shard: usize) -> ShardId {
        ShardId {
            table: TableName::Relations,
            shard,
        }
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard {} of {}", self.shard, self.table.name())
    }
}

/// Version of a layout, which is the assignment of rows to shards. A server's version changes whenever rows
/// move to other shards, and no two servers of a process share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LayoutVersion(pub u64);

impl LayoutVersion {
    /// Makes a version that this process has not used before.
    pub fn next() -> LayoutVersion {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        LayoutVersion(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Display for LayoutVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "layout {}", self.0)
    }
}
