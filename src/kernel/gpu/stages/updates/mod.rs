//! The optimizer, and sums of gradients.

mod average;
mod square_sum;
pub mod update;
mod update_row_adagrad;

pub use average::average;
pub use square_sum::{PARTS, square_sum};
pub use update::{Pushes, update, update_dense, update_sparse};
