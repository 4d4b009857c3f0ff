//! Hooks for `bench`: repeated commands, and times by the device's clock. Training does not use them.

mod repeat;
mod times;

pub use repeat::{CopyPair, RowBatch};
