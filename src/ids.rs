//! Identifiers that travel in messages: workers, generations, steps, shards and layouts.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;
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

/// One life of a process. A process that is started again has another incarnation. Written as 32 hexadecimal
/// digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Incarnation(pub u128);

impl Incarnation {
    /// Draws a random incarnation from the system's random numbers.
    pub fn random() -> Incarnation {
        // Keys of a `RandomState` come from the system. The time tells apart processes that were copied.
        let time = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |time| time.as_nanos() as u64);
        let half = |salt: u64| RandomState::new().hash_one((salt, time, std::process::id()));
        Incarnation(u128::from(half(0)) << 64 | u128::from(half(1)))
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Incarnation({self})")
    }
}

impl FromStr for Incarnation {
    type Err = String;

    fn from_str(text: &str) -> Result<Incarnation, String> {
        let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let parsed = is_hex
            .then(|| u128::from_str_radix(text, 16).ok())
            .flatten();
        parsed
            .map(Incarnation)
            .ok_or_else(|| format!("{text:?} is not an incarnation of 32 hexadecimal digits"))
    }
}

impl TryFrom<String> for Incarnation {
    type Error = String;

    fn try_from(text: String) -> Result<Incarnation, String> {
        text.parse()
    }
}

impl From<Incarnation> for String {
    fn from(incarnation: Incarnation) -> String {
        incarnation.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incarnations_differ_and_survive_json() {
        let [a, b] = [(); 2].map(|()| Incarnation::random());
        assert_ne!(a, b);
        for incarnation in [a, Incarnation(0), Incarnation(u128::MAX)] {
            let json = serde_json::to_string(&incarnation).unwrap();
            assert_eq!(
                serde_json::from_str::<Incarnation>(&json).unwrap(),
                incarnation
            );
        }
        for wrong in ["", "+0000000000000000000000000000000", "12"] {
            assert!(wrong.parse::<Incarnation>().is_err(), "{wrong}");
        }
    }
}
