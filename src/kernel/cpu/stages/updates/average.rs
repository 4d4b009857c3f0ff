//! `average`: Σ wᵢ·xᵢ / d over gradient rows of one length, in their order.

use rayon::prelude::*;

use crate::kernel::cpu::simd::simd;

/// Number of values that a task takes: a block of sums stays in the nearest cache while parts are added.
const BLOCK: usize = 4096;

/// Writes Σ wᵢ·xᵢ / `divisor` over parts of `sums.len()` values to `sums`, in the order of `parts`.
pub fn average(parts: &[(&[f32], f32)], divisor: f32, sums: &mut [f32]) {
    (sums.par_chunks_mut(BLOCK).enumerate())
        .for_each(|(block, sums)| average_block(parts, divisor, block * BLOCK, sums));
}

/// Writes the sums of a block of values, which begins with value `first`.
fn average_block(parts: &[(&[f32], f32)], divisor: f32, first: usize, sums: &mut [f32]) {
    let Some((&(head, weight), rest)) = parts.split_first() else {
        return;
    };
    simd(
        #[inline(always)]
        || {
            for (sum, x) in sums.iter_mut().zip(&head[first..]) {
                *sum = weight * x;
            }
            for &(part, weight) in rest {
                for (sum, x) in sums.iter_mut().zip(&part[first..]) {
                    *sum += weight * x;
                }
            }
            if divisor != 1.0 {
                for sum in &mut *sums {
                    *sum /= divisor;
                }
            }
        },
    );
}
