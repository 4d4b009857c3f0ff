//! `square_sum`: Σ x², which is not finite if a value is not.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::kernel::cpu::parallel::for_each_block;
use crate::kernel::cpu::simd::{self, simd};
use crate::kernel::cpu::stages::updates::update::INLINE;
use crate::kernel::cpu::table::AlignedVec;

/// Values whose squares are added up side by side.
const WIDE: usize = 64;
/// Values between two sums in `f64`.
const STRETCH: usize = 4096;

/// Values that a thread takes at a time.
const PART: usize = 8 * STRETCH;

/// Σ x². Not finite if a value is not, or if a value's square is over [`f32::MAX`].
pub fn square_sum(values: &[f32]) -> f64 {
    let parts: Vec<&[f32]> = values.chunks(PART).collect();
    part_sums(parts.len(), values.len(), |part, sum| {
        for stretch in parts[part].chunks(STRETCH) {
            *sum += stretch_square_sum(stretch);
        }
    })
}

/// The same, and a copy in place of what `out` holds: values are read once.
pub fn copy_square_sum(values: &[f32], out: &mut AlignedVec) -> f64 {
    let out = out.resize_for_overwrite(values.len());
    let parts: Vec<_> = values.chunks(PART).zip(out.chunks_mut(PART)).collect();
    let parts: Vec<_> = parts.into_iter().map(Mutex::new).collect();
    part_sums(parts.len(), values.len(), |part, sum| {
        // Uncontended: every part is one thread's.
        let (from, to) = &mut *parts[part].lock().unwrap_or_else(PoisonError::into_inner);
        for (from, to) in from.chunks(STRETCH).zip(to.chunks_mut(STRETCH)) {
            *sum += stretch_square_sum(from);
            to.copy_from_slice(from);
        }
    })
}

/// Sums that `add` makes of every part, added up in the order of the parts.
#[inline(always)]
fn part_sums(parts: usize, values: usize, add: impl Fn(usize, &mut f64) + Sync) -> f64 {
    let sums: Vec<AtomicU64> = (0..parts).map(|_| AtomicU64::new(0)).collect();
    for_each_block(parts, 1, values >= INLINE, |range| {
        simd(
            #[inline(always)]
            || {
                for part in range {
                    let mut sum = 0.0;
                    add(part, &mut sum);
                    sums[part].store(f64::to_bits(sum), Ordering::Relaxed);
                }
            },
        );
    });
    let sums = sums.into_iter().map(AtomicU64::into_inner);
    sums.map(f64::from_bits).sum()
}

#[inline(always)]
fn stretch_square_sum(values: &[f32]) -> f64 {
    f64::from(simd::square_sum::<WIDE>(values))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn squares_add_up(values in prop::collection::vec(-1e3f32..1e3, 0..10_000)) {
            let exact: f64 = values.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
            prop_assert!((square_sum(&values) - exact).abs() <= exact * 1e-5);
        }

        #[test]
        fn a_copy_has_the_same_sum(values in prop::collection::vec(-1e3f32..1e3, 0..100_000)) {
            let mut copy = AlignedVec::default();
            prop_assert_eq!(copy_square_sum(&values, &mut copy), square_sum(&values));
            prop_assert_eq!(&copy[..], &values[..]);
        }

        #[test]
        fn one_value_that_is_not_finite_shows(
            n in 1usize..9000, at in 0usize..9000, bad in 0usize..3,
        ) {
            let mut values = vec![1.0; n];
            values[at % n] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][bad];
            prop_assert!(!square_sum(&values).is_finite());
        }
    }
}
