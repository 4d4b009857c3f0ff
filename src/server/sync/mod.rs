//! State machines that decide who may push and when, and the state of all shards.

pub(super) mod barrier;
pub(super) mod guards;
pub(super) mod staleness;
pub(super) mod state;
