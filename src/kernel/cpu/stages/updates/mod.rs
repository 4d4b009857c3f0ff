//! The optimizer, averages of gradients, and sums of their squares.

pub mod average;
pub mod square_sum;
pub mod update;
pub mod update_row_adagrad;
