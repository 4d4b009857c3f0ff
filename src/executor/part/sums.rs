//! Sums over parts whose bits depend neither on the order of the parts nor on the ranks that hold them.
//!
//! Values are rounded to multiples of one power of two for each query, and added as integers. The power follows from
//! the largest value of the query in any part, so that the rounding of a value is below that of an f32 of this size.

use crate::collective::Element;

/// Most parts whose sums fit 32 bits with at least 25 bits for the largest value.
const MOST_NARROW: usize = 32;
/// Bits for the largest value in sums of 64 bits.
const WIDE: i32 = 40;
/// Adding this rounds an f64 below 2⁵¹ to an integer, in the low bits of the sum.
const ROUNDING: f64 = 6_755_399_441_055_744.0;

/// Integer in which values of parts are added.
pub(super) trait Fixed: Element {
    /// Bits of the largest value in a sum over `parts` parts.
    fn bits(parts: usize) -> i32;

    /// The low bits of an integer of 64 bits.
    fn low_bits(integer: u64) -> Self;

    /// The sum of two integers, which wraps around.
    fn add_wrapping(self, other: Self) -> Self;

    /// The integer, with its sign.
    fn value(self) -> f64;
}

impl Fixed for u32 {
    fn bits(parts: usize) -> i32 {
        30 - parts.max(1).next_power_of_two().trailing_zeros() as i32
    }

    fn low_bits(integer: u64) -> u32 {
        integer as u32
    }

    fn add_wrapping(self, other: u32) -> u32 {
        self.wrapping_add(other)
    }

    fn value(self) -> f64 {
        f64::from(self as i32)
    }
}

impl Fixed for u64 {
    fn bits(_: usize) -> i32 {
        WIDE
    }

    fn low_bits(integer: u64) -> u64 {
        integer
    }

    fn add_wrapping(self, other: u64) -> u64 {
        self.wrapping_add(other)
    }

    fn value(self) -> f64 {
        self as i64 as f64
    }
}

/// Returns whether sums over `parts` parts fit 32 bits.
pub(super) fn is_narrow(parts: usize) -> bool {
    parts <= MOST_NARROW
}

/// Bits of the largest absolute value of each row of `width` values, as an integer: rises with the value, and is
/// largest for a row that is not finite.
pub(super) fn largest(values: &[f32], width: usize, largest: &mut [u32]) {
    for (row, largest) in values.chunks_exact(width.max(1)).zip(largest) {
        let bits = row.iter().map(|x| x.to_bits() & !(1 << 31));
        *largest = bits.fold(*largest, u32::max);
    }
}

/// Factor between values and integers; `None` if a value is not finite.
fn scale<T: Fixed>(largest: u32, parts: usize) -> Option<f64> {
    if !f32::from_bits(largest).is_finite() {
        return None;
    }
    // All values are below 2 to the power of `exponent`.
    let exponent = (largest >> 23) as i32 - 126;
    let power = T::bits(parts) - exponent;
    Some(f64::from_bits(((1023 + power) as u64) << 52))
}

/// Adds the values of a part to the sums of its queries. `largest` has the largest values over all parts, one for each
/// query.
pub(super) fn add<T: Fixed>(sums: &mut [T], values: &[f32], largest: &[u32], parts: usize) {
    let width = values.len() / largest.len().max(1);
    let rows = sums
        .chunks_exact_mut(width.max(1))
        .zip(values.chunks_exact(width.max(1)));
    for ((sums, values), &largest) in rows.zip(largest) {
        let Some(scale) = scale::<T>(largest, parts) else {
            continue;
        };
        for (sum, &x) in sums.iter_mut().zip(values) {
            let rounded = (f64::from(x) * scale + ROUNDING).to_bits();
            *sum = sum.add_wrapping(T::low_bits(rounded.wrapping_sub(ROUNDING.to_bits())));
        }
    }
}

/// Values of sums; not a number for a query with a value that is not finite in some part.
pub(super) fn values<T: Fixed>(sums: &[T], largest: &[u32], parts: usize) -> Vec<f32> {
    let width = sums.len() / largest.len().max(1);
    let mut values = Vec::with_capacity(sums.len());
    for (sums, &largest) in sums.chunks_exact(width.max(1)).zip(largest) {
        let scale = scale::<T>(largest, parts).unwrap_or(f64::NAN);
        values.extend(sums.iter().map(|sum| (sum.value() / scale) as f32));
    }
    values
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Sums of `parts`, grouped as `ranks` says and added in the order of `ranks`.
    fn sums<T: Fixed>(parts: &[Vec<f32>], ranks: &[usize], width: usize) -> Vec<f32> {
        let queries = parts[0].len() / width;
        let mut most = vec![0; queries];
        for part in parts {
            largest(part, width, &mut most);
        }
        let mut all = vec![T::zeroed(); parts[0].len()];
        for rank in 0..3 {
            let mut own = vec![T::zeroed(); all.len()];
            for (part, _) in parts.iter().zip(ranks).filter(|(_, of)| **of == rank) {
                add(&mut own, part, &most, parts.len());
            }
            for (all, own) in all.iter_mut().zip(own) {
                *all = all.add_wrapping(own);
            }
        }
        values(&all, &most, parts.len())
    }

    proptest! {
        #[test]
        fn sums_do_not_depend_on_the_ranks(
            parts in (1usize..40, -40i32..40).prop_flat_map(|(parts, power)| {
                let value = (-1.0f32..1.0).prop_map(move |x| x * 2f32.powi(power));
                prop::collection::vec(prop::collection::vec(value, 6), parts)
            }),
            ranks in prop::collection::vec(0usize..3, 40), other in prop::collection::vec(0usize..3, 40),
        ) {
            let bits = |sums: Vec<f32>| -> Vec<u32> { sums.into_iter().map(f32::to_bits).collect() };
            let found = sums::<u64>(&parts, &ranks, 3);
            prop_assert_eq!(bits(found.clone()), bits(sums::<u64>(&parts, &other, 3)));
            if is_narrow(parts.len()) {
                let narrow = sums::<u32>(&parts, &ranks, 3);
                prop_assert_eq!(bits(narrow), bits(sums::<u32>(&parts, &other, 3)));
            }
            for narrow in [false, is_narrow(parts.len())] {
                let found = match narrow {
                    true => sums::<u32>(&parts, &ranks, 3),
                    false => found.clone(),
                };
                for (k, &found) in found.iter().enumerate() {
                    let wanted: f64 = parts.iter().map(|part| f64::from(part[k])).sum();
                    let row = 3 * (k / 3)..3 * (k / 3) + 3;
                    let size = parts.iter().flat_map(|part| &part[row.clone()]);
                    let size = size.fold(0.0f32, |most, x| most.max(x.abs()));
                    let off = (f64::from(found) - wanted).abs();
                    let allowed = f64::from(f32::EPSILON) * (f64::from(size) + wanted.abs());
                    prop_assert!(off <= parts.len() as f64 * allowed, "{} not {}", found, wanted);
                }
            }
        }
    }

    #[test]
    fn the_largest_values_do_not_overflow() {
        for parts in [1, 2, 16, 31, 32] {
            let part = vec![f32::from_bits(2f32.to_bits() - 1), -1.5];
            let parts = vec![part; parts];
            let ranks = vec![0; parts.len()];
            let found = sums::<u32>(&parts, &ranks, 2);
            let count = parts.len() as f32;
            assert!((found[0] - 2.0 * count).abs() < 1e-5 * count, "{found:?}");
            assert_eq!(found[1], -1.5 * count);
        }
    }

    #[test]
    fn a_value_that_is_not_finite_stays_with_its_query() {
        let parts = vec![vec![1.0, f32::NAN, 3.0], vec![f32::NEG_INFINITY, 0.0, 4.0]];
        let found = sums::<u32>(&parts, &[0, 1], 1);
        assert!(found[0].is_nan() && found[1].is_nan());
        assert_eq!(found[2], 7.0);
    }

    #[test]
    fn zeros_and_tiny_values_have_sums() {
        let tiny = f32::from_bits(3);
        let parts = vec![vec![0.0, tiny], vec![0.0, tiny]];
        let found = sums::<u32>(&parts, &[0, 1], 1);
        assert_eq!(found, [0.0, 2.0 * tiny]);
    }
}
