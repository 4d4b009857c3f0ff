//! The modes by which pushes become updates.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Time at which a push is applied.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum UpdateMode {
    /// Applied once every expected worker has pushed to the shard. The shard applies the average of the gradients,
    /// weighted by samples. Shards do not wait for each other.
    Sync {
        /// Time from the first push after which a shard goes on without the missing workers.
        timeout: Duration,
    },
    /// At once.
    Async {
        /// The most steps that a shard may have made since the worker's pull.
        bound: u64,
        /// Treatment of pushes beyond the bound.
        policy: StalenessPolicy,
        /// Time after which a waiting push or pull fails.
        timeout: Duration,
    },
}

/// Treatment of a push that is staler than the bound, or would make another one staler than the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StalenessPolicy {
    /// Waits until the slowest workers have pushed (stale-synchronous parallel, Ho et al. 2013).
    Wait,
    /// Fails if the push itself is staler than the bound: the worker must pull again.
    Refuse,
    /// Applies the push with the learning rate divided by its staleness (Zhang et al. 2016), regardless of the
    /// bound.
    Scale,
}

impl Default for UpdateMode {
    fn default() -> UpdateMode {
        UpdateMode::Sync {
            timeout: Duration::from_secs(60),
        }
    }
}
