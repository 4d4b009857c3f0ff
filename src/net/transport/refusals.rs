//! Counts of what was refused.

use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers of refusals since the start of a listener or a dialer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// Frames that were not valid. Each ended its stream.
    pub frames: u64,
    /// Streams without the token.
    pub tokens: u64,
    /// Streams of another version of the protocol.
    pub versions: u64,
}

/// Counters behind [`Refusals`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub frames: AtomicU64,
    pub tokens: AtomicU64,
    pub versions: AtomicU64,
}

impl Counters {
    pub fn read(&self) -> Refusals {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Refusals {
            frames: read(&self.frames),
            tokens: read(&self.tokens),
            versions: read(&self.versions),
        }
    }
}

/// Adds one to a counter.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
