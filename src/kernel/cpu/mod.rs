//! The CPU twin of every stage, and the engine that runs them: the product on a machine without
//! adapters.

mod dropout;
mod engine;
mod matmul;
mod parallel;
mod push;
mod rank;
mod simd;
mod stages;
mod step;
mod table;

pub use engine::Engine;
pub use push::{copy_square_sum, square_sum};
pub use table::prefetch::prefetch_row;
pub use table::{Table, Values};

/// Rows or queries that one task works on; fixed, so that no sum depends on the number of threads.
const BLOCK: usize = 64;
