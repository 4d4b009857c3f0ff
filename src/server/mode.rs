//! How pushes become updates.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// When a push is applied.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum UpdateMode {
    /// When every expected worker has pushed to the shard: as the average of all, weighted by
    /// samples. Shards do not wait for each other.
    Sync {
        /// How long a shard waits from the first push on; then it goes on with those that came.
        timeout: Duration,
    },
    /// At once.
    Async {
        /// The most steps that a shard may have made since the worker's pull.
        bound: u64,
        /// What happens beyond.
        policy: StalenessPolicy,
        /// How long a push or a pull waits for others before it fails.
        timeout: Duration,
    },
}

/// What happens to a push that is, or would make another one, staler than the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StalenessPolicy {
    /// It waits until the slowest have pushed (stale-synchronous parallel, Ho et al. 2013).
    Wait,
    /// It is refused: the worker must pull again.
    Refuse,
    /// It is applied with the learning rate divided by its staleness (Zhang et al. 2016), whatever
    /// the bound.
    Scale,
}

impl Default for UpdateMode {
    fn default() -> UpdateMode {
        UpdateMode::Sync {
            timeout: Duration::from_secs(60),
        }
    }
}
