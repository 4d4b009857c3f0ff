//! The numbers a coordinator goes by.

use std::time::Duration;

/// How many workers there may be, and how long to wait for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElasticConfig {
    /// Fewest workers a step starts with; below, training pauses.
    pub min_workers: usize,
    /// Most workers present at a time, those that are syncing or draining counted.
    pub max_workers: usize,
    /// How long a worker may take from joining until it is synced.
    pub sync_timeout: Duration,
    /// How long a worker may be silent; `None` leaves that to the other timeouts.
    pub heartbeat_timeout: Option<Duration>,
    /// How long a step may take until its last vote.
    pub step_timeout: Duration,
    /// How long training may pause before it stops for lack of workers.
    pub pause_timeout: Duration,
    /// Whether a step waits for the workers that are syncing, for `sync_timeout` at most. What
    /// joins before a step then takes part in it, however long its device takes to open.
    pub await_joiners: bool,
    /// How often one step may be started before the run is given up.
    pub max_attempts: u32,
}

impl Default for ElasticConfig {
    fn default() -> ElasticConfig {
        ElasticConfig {
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

/// An [`ElasticConfig`] that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConfig {
    /// A run without workers.
    #[error("min_workers is 0; at least one worker is needed")]
    NoWorkers,
    /// Limits the wrong way round.
    #[error("max_workers is {max}, below min_workers = {min}")]
    Limits {
        /// Fewest workers.
        min: usize,
        /// Most workers.
        max: usize,
    },
    /// A timeout after which everything would fail at once.
    #[error("{name} is 0; it must be above")]
    ZeroTimeout {
        /// The field.
        name: &'static str,
    },
    /// Steps that may never start.
    #[error("max_attempts is 0; every step needs one attempt")]
    NoAttempts,
}

impl ElasticConfig {
    /// Checks that the numbers make sense.
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
        let refused = |change: fn(&mut ElasticConfig)| {
            let mut config = ElasticConfig::default();
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
