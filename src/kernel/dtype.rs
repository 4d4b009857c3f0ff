//! Stored types of values.
//!
//! Tables may keep their values as IEEE binary16, in half the memory; all arithmetic, gradients and
//! optimizer states stay `f32`. A row is widened when it is read, exactly, and narrowed when it is
//! written. Updates smaller than half the distance between two neighbouring halves would be lost if
//! values were always rounded to the nearest, so a table may round *stochastically*: up with a
//! probability of what is cut off, so that the mean of many roundings is the value itself (Gupta et
//! al. 2015, Deep learning with limited numerical precision; Zamirai et al. 2020, Revisiting
//! BFloat16 training).
//!
//! A table of binary16 is never widened whole. On the CPU, stages that want all rows widen a strip
//! at a time into the cache. On a GPU, each engine that ranks or trains against all entities keeps
//! room for one shard as `f32`, so there, more shards take less memory; a shard has no more rows
//! than it could have as `f32`.
//!
//! Everything here is made of integers and has the same bits as `shaders/shared/narrowed.wgsl` and
//! `widened.wgsl`: WGSL leaves it to the device how `pack2x16float` rounds and what becomes of small
//! numbers.

use half::f16;

use crate::rng::cell;

/// Stored type of a table's values. Optimizer states are always `f32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dtype {
    /// Four bytes a value.
    #[default]
    F32,
    /// Two bytes a value: IEEE binary16. What is over ±65504 is stored as ±65504; what is not a
    /// number stays so.
    F16 {
        /// Whether updates round stochastically; all other writes round to the nearest, ties to
        /// even.
        stochastic: bool,
    },
}

impl Dtype {
    /// The name in results.
    pub fn name(self) -> &'static str {
        match self {
            Dtype::F32 => "f32",
            Dtype::F16 { stochastic: false } => "f16",
            Dtype::F16 { stochastic: true } => "f16-stochastic",
        }
    }

    /// Bytes of a value.
    pub fn size(self) -> usize {
        match self {
            Dtype::F32 => 4,
            Dtype::F16 { .. } => 2,
        }
    }

    /// Whether values are stored as binary16.
    pub fn is_half(self) -> bool {
        self != Dtype::F32
    }

    /// Whether updates round stochastically.
    pub(super) fn is_stochastic(self) -> bool {
        self == Dtype::F16 { stochastic: true }
    }

    /// The same without stochastic rounding.
    pub(super) fn nearest(self) -> Dtype {
        match self {
            Dtype::F32 => Dtype::F32,
            Dtype::F16 { .. } => Dtype::F16 { stochastic: false },
        }
    }
}

/// The value of a half, exactly.
#[inline(always)]
pub(super) fn widened(half: f16) -> f32 {
    let half = u32::from(half.to_bits());
    let (sign, magnitude) = ((half & 0x8000) << 16, half & 0x7fff);
    // Below 2⁻¹⁴ halves are multiples of 2⁻²⁴, as values of f32 between ½ and 1 are.
    let small = (f32::from_bits(0x3f00_0000 | magnitude) - 0.5).to_bits();
    let normal = (magnitude << 13) + 0x3800_0000;
    let number = if magnitude < 0x400 { small } else { normal };
    let other = 0x7f80_0000 | magnitude << 13;
    let bits = if magnitude < 0x7c00 { number } else { other };
    f32::from_bits(sign | bits)
}

/// The nearest half, ties to even.
#[inline(always)]
pub(super) fn nearest(x: f32) -> f16 {
    narrowed(x, |digits, shift| {
        let below_half = (1u32.wrapping_shl(shift) >> 1).wrapping_sub(1);
        below_half.wrapping_add(digits.wrapping_shr(shift) & 1)
    })
}

/// One of the two halves around `x`, the upper one with a probability of the distance to the lower
/// one. `random` is uniform.
#[inline(always)]
pub(super) fn stochastic(x: f32, random: u32) -> f16 {
    narrowed(x, |_, shift| {
        random & 1u32.wrapping_shl(shift).wrapping_sub(1)
    })
}

/// Drops the digits that a half has no room for, after `rounding`, given all digits and how many
/// bits of them will be dropped, was added. Operations that wrap, though nothing does, vectorise
/// where overflow is checked, too.
#[inline(always)]
fn narrowed(x: f32, rounding: impl Fn(u32, u32) -> u32) -> f16 {
    let bits = x.to_bits();
    let (sign, exponent) = (bits >> 16 & 0x8000, bits >> 23 & 0xff);
    let normal = exponent >= 113;
    let digits = bits & 0x7f_ffff | if exponent > 0 { 0x80_0000 } else { 0 };
    let dropped = if normal {
        13
    } else {
        126u32.wrapping_sub(exponent)
    };
    // Of numbers below 2⁻³² no more digits are needed than there are random bits.
    let shift = dropped.min(31);
    let digits = digits.wrapping_shr(dropped.wrapping_sub(shift).min(31));
    let base = exponent.wrapping_sub(113) << 10;
    let base = if normal { base } else { 0 };
    let rounded = digits.wrapping_add(rounding(digits, shift));
    let magnitude = base.wrapping_add(rounded.wrapping_shr(shift)).min(0x7bff);
    let magnitude = if x.is_nan() { 0x7e00 } else { magnitude };
    f16::from_bits((sign | magnitude) as u16)
}

/// Widens halves; to be called from a vectorised loop.
#[inline(always)]
pub(super) fn widen_row(halves: &[f16], out: &mut [f32]) {
    for (out, &half) in out.iter_mut().zip(halves) {
        *out = widened(half);
    }
}

/// Narrows values to the nearest halves; to be called from a vectorised loop.
#[inline(always)]
pub(super) fn narrow_row(values: &[f32], out: &mut [f16]) {
    for (out, &value) in out.iter_mut().zip(values) {
        *out = nearest(value);
    }
}

/// Narrows the values of a row stochastically: its random bits are a function of `salt` and of what
/// the row is called.
#[inline(always)]
pub(super) fn narrow_row_stochastically(values: &[f32], salt: u32, row: u32, out: &mut [f16]) {
    let width = out.len().min(values.len());
    let (values, out) = (&values[..width], &mut out[..width]);
    // Not enumerated: where overflow is checked, that would keep the loop from being vectorised.
    for column in 0..width {
        out[column] = stochastic(values[column], cell(salt, row, column as u32));
    }
}

/// Widens halves, vectorised.
pub(super) fn widen(halves: &[f16], out: &mut [f32]) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || widen_row(halves, out),
    );
}

/// Narrows values to the nearest halves, vectorised.
pub(super) fn narrow(values: &[f32], out: &mut [f16]) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || narrow_row(values, out),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn all_halves_widen_exactly() {
        for bits in 0..=u16::MAX {
            let half = f16::from_bits(bits);
            let (found, wanted) = (widened(half), half.to_f32());
            assert!(
                found.to_bits() == wanted.to_bits() || found.is_nan() && wanted.is_nan(),
                "{bits:x}"
            );
        }
    }

    fn clamped(x: f32) -> f16 {
        f16::from_f32(x.clamp(-65504.0, 65504.0))
    }

    #[test]
    fn every_exponent_and_tie_rounds_as_half_does() {
        let around = |m: u32| [m.wrapping_sub(1), m, m.wrapping_add(1)];
        let mantissas = (0..23).flat_map(|bit| [1 << bit, 3 << bit, !0 << bit]);
        let mantissas: Vec<u32> = mantissas.flat_map(around).map(|m| m & 0x7f_ffff).collect();
        for head in 0..1u32 << 9 {
            for &mantissa in mantissas.iter().chain(&[0]) {
                let x = f32::from_bits(head << 23 | mantissa);
                let found = nearest(x);
                if x.is_nan() {
                    assert!(found.is_nan(), "{x:e}");
                } else {
                    assert_eq!(found.to_bits(), clamped(x).to_bits(), "{x:e}: {found:e}");
                }
            }
        }
    }

    #[test]
    fn stochastic_rounding_has_the_value_for_its_mean() {
        // Of every size: normal, subnormal, far below the smallest half, and near the largest.
        for x in [
            1.000_1f32,
            -2.7,
            0.001_234_5,
            3.3e-5,
            -2.1e-7,
            1.1e-8,
            2e-10,
            65_490.0,
        ] {
            let n = 40_000;
            let found: Vec<f64> = (0..n)
                .map(|salt| f64::from(widened(stochastic(x, cell(salt, 7, 3)))))
                .collect();
            let (low, high) = found
                .iter()
                .fold((f64::MAX, f64::MIN), |(l, h), &f| (l.min(f), h.max(f)));
            let exact = f64::from(x);
            assert!(low <= exact && exact <= high || x == 2e-10, "{x}");
            // Neighbours are this far apart, and one draw this far from its mean.
            let unit = 2f64.powi(exact.abs().log2().floor().max(-14.0) as i32 - 10);
            assert!(high - low <= unit, "{x}: {low} to {high}");
            let share = (exact / unit).rem_euclid(1.0);
            let sigma = unit * (share * (1.0 - share) / f64::from(n)).sqrt();
            let mean = found.iter().sum::<f64>() / f64::from(n);
            assert!((mean - exact).abs() <= 4.0 * sigma, "{x}: {mean}");
        }
    }

    proptest! {
        #[test]
        fn any_number_rounds_as_half_does(bits: u32) {
            let x = f32::from_bits(bits);
            prop_assume!(!x.is_nan());
            prop_assert_eq!(nearest(x).to_bits(), clamped(x).to_bits());
        }

        #[test]
        fn stochastic_rounding_finds_a_neighbour(bits: u32, random: u32) {
            let x = f32::from_bits(bits);
            let found = stochastic(x, random);
            prop_assert_eq!(x.is_nan(), found.is_nan());
            if x.is_nan() {
                return Ok(());
            }
            let wide = widened(found);
            prop_assert_eq!(found, stochastic(wide, !random), "what is a half stays as it is");
            let step = |by: i32| widened(f16::from_bits((i32::from(found.to_bits()) + by) as u16));
            let x = x.clamp(-65504.0, 65504.0);
            prop_assert!(wide == x || (wide.abs() < x.abs() && x.abs() < step(1).abs())
                || (x.abs() < wide.abs() && step(-1).abs() < x.abs()));
        }
    }
}
