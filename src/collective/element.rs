//! The element types of values that travel between ranks.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Wire;
use super::buffer::packed::Packed;

/// An element type: `f32`, `f64`, `u32` or `u64`.
pub trait Element:
    arithmetic::Arithmetic + Packed + bytemuck::Pod + PartialEq + fmt::Debug
{
    /// The tag that ranks compare and wires carry.
    const TYPE: ElementType;
}

/// The element type of values, as a value: ranks compare it and wires carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Size of a value in bytes.
    pub fn size(self) -> usize {
        match self {
            ElementType::F32 | ElementType::U32 => 4,
            ElementType::F64 | ElementType::U64 => 8,
        }
    }

    /// Whether values are floating-point numbers. Only these have means.
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

/// Seals [`Element`]: other crates cannot name this trait.
pub(super) mod arithmetic {
    use super::Wire;

    pub trait Arithmetic: Copy + Send + Sync + 'static {
        fn plus(self, other: Self) -> Self;
        fn times(self, other: Self) -> Self;
        fn over(self, other: Self) -> Self;
        /// The nearest value of this type.
        fn of(value: f64) -> Self;
        fn to_f64(self) -> f64;
        /// Rounds values to the wire format.
        fn round_to_wire(_values: &mut [Self], _wire: Wire) {}
    }
}

macro_rules! element {
    ($type:ty, $tag:ident, $plus:expr, $times:expr, $over:expr $(, $round:item)?) => {
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
            $($round)?
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
    fn round_to_wire(values: &mut [f32], wire: Wire) {
        match wire {
            Wire::Exact => {}
            Wire::F16 => each(values, to_f16),
            Wire::Bf16 => each(values, to_bf16),
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

/// Rounds every value. The roundings below are those of `half` without branches, so that the
/// compiler vectorises the loop.
fn each(values: &mut [f32], round: impl Fn(f32) -> f32) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            for x in values {
                *x = round(*x);
            }
        },
    );
}

/// The nearest binary16, ties to even.
#[inline(always)]
fn to_f16(x: f32) -> f32 {
    let bits = x.to_bits();
    let nearest = f32::from_bits(bits.wrapping_add(0xFFF + (bits >> 13 & 1)) & !0x1FFF);
    // Below 2⁻¹⁴ all values are multiples of 2⁻²⁴, as those of f32 between ½ and 1 are.
    let small = (x.abs() + 0.5 - 0.5).copysign(x);
    let nan = f32::from_bits((bits | 0x40_0000) & !0x1FFF);
    let finite = if x.abs() < 6.103_515_6e-5 {
        small
    } else {
        nearest
    };
    let number = if x.abs() < 65_520.0 {
        finite
    } else {
        f32::INFINITY.copysign(x)
    };
    if x.is_nan() { nan } else { number }
}

/// The nearest bfloat16, ties to even.
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
    use half::{bf16, f16};

    use super::arithmetic::Arithmetic;
    use super::*;

    /// Values of every sign and exponent, with mantissas around ties and around every bit.
    fn values() -> Vec<f32> {
        let ties = [
            0, 0x1000, 0x2000, 0x3000, 0x8000, 0x1_8000, 0x7F_F000, 0x7F_8000, 0x7F_FFFF,
        ];
        let bits = (0..23).flat_map(|bit| [1 << bit, 3 << bit & 0x7F_FFFF]);
        let around = |m: u32| [m.saturating_sub(1), m, (m + 1) & 0x7F_FFFF];
        let mantissas: Vec<u32> = ties.into_iter().chain(bits).flat_map(around).collect();
        let heads = (0..1 << 9).map(|head| head << 23);
        let all = heads.flat_map(|head| mantissas.iter().map(move |m| f32::from_bits(head | m)));
        all.collect()
    }

    #[track_caller]
    fn check(wire: Wire, round: impl Fn(f32) -> f32) {
        let mut found = values();
        f32::round_to_wire(&mut found, wire);
        for (x, found) in values().into_iter().zip(found) {
            let expected = round(x);
            assert_eq!(
                found.to_bits(),
                expected.to_bits(),
                "{x:e}: {found:e}, {expected:e}"
            );
        }
    }

    #[test]
    fn wires_round_as_half_does() {
        check(Wire::Exact, |x| x);
        check(Wire::F16, |x| f16::from_f32(x).to_f32());
        check(Wire::Bf16, |x| bf16::from_f32(x).to_f32());
        let mut edge = [65_519.99, 65_520.0, -65_520.0];
        f32::round_to_wire(&mut edge, Wire::F16);
        assert_eq!(edge, [65_504.0, f32::INFINITY, f32::NEG_INFINITY]);
    }
}
