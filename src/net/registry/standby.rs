//! Decision of a node that does not lead: to wait, or to try to lead.

use std::time::Duration;

use crate::rng::{self, Purpose};

/// Times of a [`Standby`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StandbyConfig {
    /// Longest silence of a leader whose stream has not ended.
    pub timeout: Duration,
    /// Bound of the wait before the first attempt. Doubles with each attempt that fails.
    pub back_off: Duration,
    /// Largest bound of the wait before an attempt.
    pub most_back_off: Duration,
}

impl Default for StandbyConfig {
    /// Two seconds of silence; waits from 100 milliseconds to 2 seconds.
    fn default() -> StandbyConfig {
        StandbyConfig {
            timeout: Duration::from_secs(2),
            back_off: Duration::from_millis(100),
            most_back_off: Duration::from_secs(2),
        }
    }
}

/// Advice to a standby.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Ask again at this time; until then the standby has no reason to try.
    Wait(Duration),
    /// Acquire the epoch after this one now.
    Acquire {
        /// Highest epoch that the standby knows.
        after: u32,
    },
}

/// A node that takes over when the leader is lost.
///
/// `now` is the time since any fixed moment. A time before the latest one is taken as the latest. A wrong
/// suspicion costs an epoch and never a commit: who leads is decided by the registry and by the holders of shards.
///
/// ```
/// use std::time::Duration;
/// use shardloom::net::registry::{Decision, Standby, StandbyConfig};
///
/// let second = Duration::from_secs;
/// let mut standby = Standby::new(StandbyConfig::default(), 1, second(0), 7);
/// assert_eq!(standby.decide(second(1)), Decision::Wait(second(2)));
/// standby.lost(second(1), 7);
/// assert_eq!(standby.decide(second(2)), Decision::Acquire { after: 7 });
/// ```
#[derive(Clone, Debug)]
pub struct Standby {
    config: StandbyConfig,
    seed: u64,
    now: Duration,
    /// Highest epoch that the standby knows.
    epoch: u32,
    /// Time of the leader's last message; of the news of its epoch if none came.
    heard: Duration,
    /// Time at which the leader's stream ended.
    lost: Option<Duration>,
    /// Number and last time of attempts on the epoch after `epoch`.
    failed: u32,
    last_attempt: Duration,
}

impl Standby {
    /// Makes a standby that learns at `now` that `epoch` leads; 0 if nobody does yet. Standbys with different
    /// seeds try at different times.
    pub fn new(config: StandbyConfig, seed: u64, now: Duration, epoch: u32) -> Standby {
        Standby {
            config,
            seed,
            now,
            epoch,
            heard: now,
            lost: None,
            failed: 0,
            last_attempt: now,
        }
    }

    /// Highest epoch that the standby knows.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Takes note of an epoch in a record or a message. The leader of a newer one gets the whole timeout to
    /// speak.
    pub fn saw(&mut self, now: Duration, epoch: u32) {
        self.pass(now);
        if epoch > self.epoch {
            self.epoch = epoch;
            self.heard = self.now;
            self.lost = None;
            self.failed = 0;
        }
    }

    /// Takes note of a message of the leader of `epoch`.
    pub fn heard(&mut self, now: Duration, epoch: u32) {
        self.saw(now, epoch);
        if epoch == self.epoch {
            self.heard = self.now;
            self.lost = None;
            self.failed = 0;
        }
    }

    /// Takes note of the end of the stream to the leader of `epoch`.
    pub fn lost(&mut self, now: Duration, epoch: u32) {
        self.saw(now, epoch);
        if epoch == self.epoch && self.lost.is_none() {
            self.lost = Some(self.now);
        }
    }

    /// Takes note of an attempt that failed without news of a newer epoch, such as an error of the registry. If
    /// another process won, call [`Standby::saw`] instead.
    pub fn failed(&mut self, now: Duration) {
        self.pass(now);
        self.failed = self.failed.saturating_add(1);
        self.last_attempt = self.now;
    }

    /// Says whether to try now, or when to ask again. An attempt has to end in [`Standby::saw`],
    /// [`Standby::failed`] or in leadership before the next call.
    pub fn decide(&mut self, now: Duration) -> Decision {
        self.pass(now);
        let silent = self.heard + self.config.timeout;
        let suspected = self.lost.map_or(silent, |lost| lost.min(silent));
        if self.now < suspected {
            return Decision::Wait(suspected);
        }
        let from = match self.failed {
            0 => suspected,
            _ => self.last_attempt,
        };
        let at = from + self.back_off();
        match self.now < at {
            true => Decision::Wait(at),
            false => Decision::Acquire { after: self.epoch },
        }
    }

    /// Wait before the next attempt: uniform from half of its bound to the bound.
    fn back_off(&self) -> Duration {
        let doubled = 1u32.checked_shl(self.failed).unwrap_or(u32::MAX);
        let bound = self.config.back_off.saturating_mul(doubled);
        let bound = bound.min(self.config.most_back_off);
        let indices = [u64::from(self.epoch), u64::from(self.failed)];
        let random = rng::key(self.seed, Purpose::BackOff, indices) >> 40;
        bound.mul_f64(0.5 + random as f64 / (1u64 << 25) as f64)
    }

    fn pass(&mut self, now: Duration) {
        self.now = self.now.max(now);
    }
}
