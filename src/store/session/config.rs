//! Limits of a session, and numbers that events bring.

use std::time::Duration;

/// Limits of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// Time after which a channel is closed whose client does nothing.
    pub lease: Duration,
    /// Batches that are sampled at once, of all channels: a few more than there are sampling threads.
    pub jobs: usize,
    /// Bytes of all batches that are under way, made, or being sent, of answers to single calls that wait to be sent, and of
    /// the seeds that clients have listed.
    pub memory: u64,
    /// Channels that are open, at most.
    pub most_channels: usize,
    /// Samplers that are open, at most.
    pub most_samplers: usize,
    /// Batches of a channel's window, at most.
    pub most_window: u32,
}

impl Default for SessionConfig {
    fn default() -> SessionConfig {
        SessionConfig {
            lease: Duration::from_secs(10),
            jobs: 4,
            memory: 2 << 30,
            most_channels: 4096,
            most_samplers: 1024,
            most_window: 64,
        }
    }
}

/// Permission to send. A stream sends while it has both; the last batch may take more bytes than are left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Credit {
    /// Number of batches.
    pub batches: u64,
    /// Number of bytes.
    pub bytes: u64,
}

/// A batch that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made<T> {
    /// The batch, as it is sent.
    pub payload: T,
    /// Number of its bytes.
    pub bytes: u64,
    /// Number of its facts.
    pub facts: u64,
}
