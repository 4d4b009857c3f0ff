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

/// Combination of what the workers of a sync step pushed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Combination {
    /// The average, weighted by samples: each worker pushes the gradients of its samples alone.
    #[default]
    Mean,
    /// The sum: each worker pushes its share of the gradients of the whole step.
    Sum,
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
