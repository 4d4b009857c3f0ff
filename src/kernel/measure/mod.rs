//! Functions for benchmarks: work that is prepared once and repeated, and the times of stages on the
//! device's own clock. Training and evaluation use none of them.

mod repeat;
mod times;

pub use repeat::{RowBatch, repeat_gather, repeat_update};
pub use times::{StageTime, Timed, counts, start_clock, stop_clock};
