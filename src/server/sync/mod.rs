//! Who may push and when: pure state machines, and the state that they make up.

pub(super) mod barrier;
pub(super) mod guards;
pub(super) mod staleness;
pub(super) mod state;
