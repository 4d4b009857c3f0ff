//! `update_row_adagrad`: Adagrad with one accumulator a row. The row's own rate; with it the row takes
//! a step of SGD in [`update_row`](super::update::update_row).

use crate::kernel::cpu::simd::{LANES, square_sum};
use crate::optim::row_adagrad_rate;

/// Adds the mean of g² to the row's accumulator, and returns the rate of the row's step.
#[inline(always)]
pub fn row_rate(rate: f32, gradient: &[f32], accumulator: &mut f32) -> f32 {
    let squares = square_sum::<LANES>(gradient);
    row_adagrad_rate(rate, squares, gradient.len(), accumulator)
}
