//! The fence of a holder of shards: whom it serves, and for how long.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Reason why a holder refuses a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum FenceError {
    /// The message is of an earlier epoch.
    #[error("leadership epoch {found} has ended: epoch {current} leads")]
    Old {
        /// Epoch of the message.
        found: u32,
        /// Highest epoch that the holder has seen.
        current: u32,
    },
    /// The holder has not heard from the leader of the epoch for too long, or not at all.
    #[error(
        "the leader of epoch {epoch} is silent for {silent:?}, of at most {limit:?}: nothing is served until it speaks"
    )]
    Silent {
        /// Highest epoch that the holder has seen.
        epoch: u32,
        /// Time since the leader's last message; since the holder learned of the epoch if none came.
        silent: Duration,
        /// Longest silence.
        limit: Duration,
    },
}

/// Highest epoch that a holder has seen, and the time of the last message of its leader.
///
/// A holder calls [`Fence::leader`] for every message of a leader and [`Fence::request`] for every request of
/// anybody else, and carries out only what neither refuses. `now` is the time since any fixed moment. A time
/// before the latest one is taken as the latest.
///
/// ```
/// use std::time::Duration;
/// use shardloom::net::registry::Fence;
///
/// let second = Duration::from_secs;
/// let mut fence = Fence::new(second(5));
/// assert!(fence.leader(second(0), 7).is_ok());
/// assert!(fence.request(second(4), 7).is_ok());
/// assert!(fence.request(second(6), 7).is_err(), "the leader is silent");
/// assert!(fence.leader(second(6), 8).is_ok());
/// assert!(fence.leader(second(6), 7).is_err(), "epoch 7 has ended");
/// ```
#[derive(Clone, Debug)]
pub struct Fence {
    limit: Duration,
    epoch: u32,
    /// Time of the last message of the leader of `epoch`.
    heard: Option<Duration>,
    /// Time at which the holder learned of `epoch`.
    learned: Duration,
    now: Duration,
}

impl Fence {
    /// Makes the fence of a holder that has not seen any epoch; `limit` is the longest silence of a leader.
    pub fn new(limit: Duration) -> Fence {
        Fence {
            limit,
            epoch: 0,
            heard: None,
            learned: Duration::ZERO,
            now: Duration::ZERO,
        }
    }

    /// Highest epoch that the holder has seen; 0 for none.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Takes note of a message of the leader of `epoch`. Only with `Ok` may the holder acknowledge the message.
    ///
    /// # Errors
    /// [`FenceError::Old`].
    pub fn leader(&mut self, now: Duration, epoch: u32) -> Result<(), FenceError> {
        self.see(now, epoch)?;
        self.heard = Some(self.now);
        Ok(())
    }

    /// Checks a request of a worker that knows `epoch`. A newer epoch ends the holder's own: nothing is served
    /// until the newer leader speaks.
    ///
    /// # Errors
    /// [`FenceError::Old`] and [`FenceError::Silent`].
    pub fn request(&mut self, now: Duration, epoch: u32) -> Result<(), FenceError> {
        self.see(now, epoch)?;
        let silent = self.now - self.heard.unwrap_or(self.learned);
        match self.heard {
            Some(_) if silent <= self.limit => Ok(()),
            _ => Err(FenceError::Silent {
                epoch: self.epoch,
                silent,
                limit: self.limit,
            }),
        }
    }

    /// Time at which the holder stops serving unless the leader speaks before; `None` if the holder does not serve.
    pub fn serves_until(&self) -> Option<Duration> {
        let until = self.heard? + self.limit;
        (self.now <= until).then_some(until)
    }

    fn see(&mut self, now: Duration, epoch: u32) -> Result<(), FenceError> {
        self.now = self.now.max(now);
        if epoch < self.epoch {
            return Err(FenceError::Old {
                found: epoch,
                current: self.epoch,
            });
        }
        if epoch > self.epoch {
            self.epoch = epoch;
            self.heard = None;
            self.learned = self.now;
        }
        Ok(())
    }
}
