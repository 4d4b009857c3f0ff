//! The types of values that travel between ranks.

use std::fmt;

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::Wire;

/// A type of values: `f32`, `f64`, `u32` or `u64`.
pub trait Element: arithmetic::Arithmetic + bytemuck::Pod + PartialEq + fmt::Debug {
    /// The tag that ranks compare and wires carry.
    const TYPE: ElementType;
}

/// The tag of an [`Element`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElementType {
    /// `f32`
    F32,
    /// `f64`
    F64,
    /// `u32`
    U32,
    /// `u64`
    U64,
}

impl ElementType {
    /// Bytes of a value.
    pub fn size(self) -> usize {
        match self {
            ElementType::F32 | ElementType::U32 => 4,
            ElementType::F64 | ElementType::U64 => 8,
        }
    }

    /// Whether values have fractions, and so means.
    pub fn is_float(self) -> bool {
        matches!(self, ElementType::F32 | ElementType::F64)
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ElementType::F32 => "f32",
            ElementType::F64 => "f64",
            ElementType::U32 => "u32",
            ElementType::U64 => "u64",
        })
    }
}

/// Seals [`Element`]: nobody outside can name this trait.
pub(super) mod arithmetic {
    use super::Wire;

    pub trait Arithmetic: Copy + Send + Sync + 'static {
        fn plus(self, other: Self) -> Self;
        fn times(self, other: Self) -> Self;
        fn over(self, other: Self) -> Self;
        /// The nearest value of this type.
        fn of(value: f64) -> Self;
        fn to_f64(self) -> f64;
        /// What is left of values after a journey.
        fn travel(_values: &mut [Self], _wire: Wire) {}
    }
}

macro_rules! element {
    ($type:ty, $tag:ident, $plus:expr, $times:expr, $over:expr $(, $travel:item)?) => {
        impl Element for $type {
            const TYPE: ElementType = ElementType::$tag;
        }

        impl arithmetic::Arithmetic for $type {
            #[inline(always)]
            fn plus(self, other: $type) -> $type {
                $plus(self, other)
            }
            #[inline(always)]
            fn times(self, other: $type) -> $type {
                $times(self, other)
            }
            #[inline(always)]
            fn over(self, other: $type) -> $type {
                $over(self, other)
            }
            fn of(value: f64) -> $type {
                value as $type
            }
            fn to_f64(self) -> f64 {
                self as f64
            }
            $($travel)?
        }
    };
}

element!(f64, F64, |a, b| a + b, |a, b| a * b, |a, b| a / b);
element!(
    f32,
    F32,
    |a, b| a + b,
    |a, b| a * b,
    |a, b| a / b,
    fn travel(values: &mut [f32], wire: Wire) {
        match wire {
            Wire::Exact => {}
            Wire::F16 => {
                let mut half = [f16::ZERO; CHUNK];
                for values in values.chunks_mut(CHUNK) {
                    let half = &mut half[..values.len()];
                    half.convert_from_f32_slice(values);
                    half.convert_to_f32_slice(values);
                }
            }
            Wire::Bf16 => pulp::Arch::new().dispatch(
                #[inline(always)]
                || {
                    for x in values {
                        *x = to_bf16(*x);
                    }
                },
            ),
        }
    }
);
// Means of integers are refused before any arithmetic; a quotient by zero need not panic for that.
element!(
    u32,
    U32,
    u32::wrapping_add,
    u32::wrapping_mul,
    |a: u32, b| a.checked_div(b).unwrap_or(0)
);
element!(
    u64,
    U64,
    u64::wrapping_add,
    u64::wrapping_mul,
    |a: u64, b| a.checked_div(b).unwrap_or(0)
);

/// Values converted at a time: they stay in the first cache.
const CHUNK: usize = 1024;

/// The nearest bfloat16, ties to even, without the branches that keep `half`'s own from being
/// vectorised.
#[inline(always)]
fn to_bf16(x: f32) -> f32 {
    let bits = x.to_bits();
    let nearest = bits.wrapping_add(0x7FFF + (bits >> 16 & 1));
    let bits = if x.is_nan() {
        bits | 0x40_0000
    } else {
        nearest
    };
    f32::from_bits(bits & 0xFFFF_0000)
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::arithmetic::Arithmetic;
    use super::*;

    /// Every sign and exponent, with the mantissas around ties.
    fn values() -> Vec<f32> {
        let mantissas = [
            0, 1, 0x7FFF, 0x8000, 0x8001, 0x1_7FFF, 0x1_8000, 0x7F_8000, 0x7F_FFFF,
        ];
        let heads = 0..1u32 << 9;
        let all = heads.flat_map(|head| mantissas.map(|m| f32::from_bits(head << 23 | m)));
        all.collect()
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|x| x.to_bits()).collect()
    }

    #[test]
    fn wires_round_as_half_does() {
        let roundings: [(Wire, fn(f32) -> f32); 3] = [
            (Wire::Exact, |x| x),
            (Wire::F16, |x| f16::from_f32(x).to_f32()),
            (Wire::Bf16, |x| bf16::from_f32(x).to_f32()),
        ];
        for (wire, round) in roundings {
            let mut found = values();
            f32::travel(&mut found, wire);
            let expected: Vec<f32> = values().into_iter().map(round).collect();
            assert_eq!(bits(&found), bits(&expected), "{wire}");
        }
        let mut edge = [65_519.99, 65_520.0, -65_520.0];
        f32::travel(&mut edge, Wire::F16);
        assert_eq!(edge, [65_504.0, f32::INFINITY, f32::NEG_INFINITY]);
    }
}
