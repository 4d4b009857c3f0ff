//! The settings of a coordinator.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Limits on workers, and times to wait for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CoordinatorConfig {
    /// Fewest workers that a step starts with; below, training pauses.
    pub min_workers: usize,
    /// Most workers present at a time, those that are syncing or draining counted.
    pub max_workers: usize,
    /// Longest time from a worker's join until it is synced.
    pub sync_timeout: Duration,
    /// Longest time without a sign of life of a worker: a call of
    /// [`heartbeat`](super::Coordinator::heartbeat), [`synced`](super::Coordinator::synced) or
    /// [`vote`](super::Coordinator::vote). For workers in other processes or on other machines,
    /// which can go without a word. Threads of this process do not need it (`None`): the shell
    /// sees a thread end, and the other timeouts bound what a living one does.
    pub heartbeat_timeout: Option<Duration>,
    /// Longest time from a step's start until its last vote.
    pub step_timeout: Duration,
    /// Longest pause for lack of workers before the run stops.
    pub pause_timeout: Duration,
    /// Whether a step waits for the workers that are syncing, for `sync_timeout` at most. Workers
    /// that join before a step then take part in it, however long their devices take to open.
    pub await_joiners: bool,
    /// Most starts of one step before the run stops.
    pub max_attempts: u32,
}

impl Default for CoordinatorConfig {
    fn default() -> CoordinatorConfig {
        CoordinatorConfig {
            min_workers: 1,
            max_workers: 64,
            sync_timeout: Duration::from_secs(60),
            heartbeat_timeout: None,
            step_timeout: Duration::from_secs(60),
            pause_timeout: Duration::from_secs(60),
            await_joiners: true,
            max_attempts: 16,
        }
    }
}

/// A [`CoordinatorConfig`] that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConfig {
    /// There would be a run without workers.
    #[error("min_workers is 0; at least one worker is needed")]
    NoWorkers,
    /// The limits are the wrong way round.
    #[error("max_workers is {max}, below min_workers = {min}")]
    Limits {
        /// Fewest workers.
        min: usize,
        /// Most workers.
        max: usize,
    },
    /// A timeout of 0 would fail every worker at once.
    #[error("{name} is 0; it must be above")]
    ZeroTimeout {
        /// The field.
        name: &'static str,
    },
    /// No step might ever start.
    #[error("max_attempts is 0; every step needs one attempt")]
    NoAttempts,
}

impl CoordinatorConfig {
    /// Checks that the settings make sense.
    ///
    /// # Errors
    /// [`InvalidConfig`], naming the field.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let (min, max) = (self.min_workers, self.max_workers);
        if min == 0 {
            return Err(InvalidConfig::NoWorkers);
        }
        if max < min {
            return Err(InvalidConfig::Limits { min, max });
        }
        let timeouts = [
            ("sync_timeout", Some(self.sync_timeout)),
            ("heartbeat_timeout", self.heartbeat_timeout),
            ("step_timeout", Some(self.step_timeout)),
            ("pause_timeout", Some(self.pause_timeout)),
        ];
        for (name, timeout) in timeouts {
            if timeout == Some(Duration::ZERO) {
                return Err(InvalidConfig::ZeroTimeout { name });
            }
        }
        if self.max_attempts == 0 {
            return Err(InvalidConfig::NoAttempts);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_refused_by_field() {
        let refused = |change: fn(&mut CoordinatorConfig)| {
            let mut config = CoordinatorConfig::default();
            assert_eq!(config.validate(), Ok(()));
            change(&mut config);
            config.validate().unwrap_err().to_string()
        };
        assert!(refused(|c| c.min_workers = 0).contains("min_workers"));
        assert!(refused(|c| (c.min_workers, c.max_workers) = (3, 2)).contains("2, below"));
        assert!(refused(|c| c.sync_timeout = Duration::ZERO).contains("sync_timeout"));
        assert!(refused(|c| c.step_timeout = Duration::ZERO).contains("step_timeout"));
        assert!(refused(|c| c.pause_timeout = Duration::ZERO).contains("pause_timeout"));
        assert!(refused(|c| c.heartbeat_timeout = Some(Duration::ZERO)).contains("heartbeat"));
        assert!(refused(|c| c.max_attempts = 0).contains("max_attempts"));
    }
}
