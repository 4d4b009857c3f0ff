//! Number types of the reference mathematics: `f32` for training, `f64` for the oracle, and vectors of `f32`
//! for inner loops.

use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

/// Operand of similarities: a number, or a vector of numbers.
pub trait Lane:
    Copy
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// Rounds a constant to this type; `self` only selects the type.
    fn constant(self, x: f64) -> Self;
    /// Absolute value.
    fn abs(self) -> Self;
    /// Sign: −1, 0 or 1.
    fn sign(self) -> Self;
    /// One over the square root of a positive normal number.
    fn inverse_sqrt(self) -> Self;

    /// `self` · `factor` + `summand`; rounded once by vectors on processors with fused multiply-add.
    #[inline(always)]
    fn times_plus(self, factor: Self, summand: Self) -> Self {
        self * factor + summand
    }

    /// Square root, rounded correctly.
    fn sqrt(self) -> Self;

    /// Square root of a positive number or infinity; nearly as exact as [`sqrt`](Self::sqrt), and faster.
    #[inline(always)]
    fn root(self) -> Self {
        (self * self.inverse_sqrt()).abs()
    }
}

/// `f32` or `f64`.
pub trait Real: Lane + Debug + Default + PartialOrd + Send + Sync + AddAssign + 'static {
    /// Zero.
    const ZERO: Self;
    /// One.
    const ONE: Self;
    /// Rounds a constant to this type.
    fn of(x: f64) -> Self;
    /// Value as `f64`.
    fn get(self) -> f64;
    /// Exponential of this value.
    fn exp(self) -> Self;
    /// Natural logarithm of one plus this value, which must be within 0 ..= 1.
    fn ln_1p(self) -> Self;
    /// Sine and cosine.
    fn sin_cos(self) -> (Self, Self);

    /// The larger of the two.
    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        if self < other { other } else { self }
    }
}

impl Lane for f64 {
    fn constant(self, x: f64) -> f64 {
        x
    }
    fn abs(self) -> f64 {
        self.abs()
    }
    fn sign(self) -> f64 {
        if self == 0.0 { 0.0 } else { self.signum() }
    }
    fn inverse_sqrt(self) -> f64 {
        1.0 / self.sqrt()
    }
    fn sqrt(self) -> f64 {
        self.sqrt()
    }
    fn root(self) -> f64 {
        self.sqrt()
    }
}

impl Real for f64 {
    const ZERO: f64 = 0.0;
    const ONE: f64 = 1.0;
    fn of(x: f64) -> f64 {
        x
    }
    fn get(self) -> f64 {
        self
    }
    fn exp(self) -> f64 {
        self.exp()
    }
    fn ln_1p(self) -> f64 {
        self.ln_1p()
    }
    fn sin_cos(self) -> (f64, f64) {
        self.sin_cos()
    }
}

impl Lane for f32 {
    #[inline(always)]
    fn constant(self, x: f64) -> f32 {
        x as f32
    }
    #[inline(always)]
    fn abs(self) -> f32 {
        self.abs()
    }
    #[inline(always)]
    fn sign(self) -> f32 {
        let one = 1.0f32.copysign(self);
        if self == 0.0 { 0.0 } else { one }
    }
    #[inline(always)]
    fn inverse_sqrt(self) -> f32 {
        inverse_sqrt(self)
    }
    #[inline(always)]
    fn sqrt(self) -> f32 {
        self.sqrt()
    }
}

impl Real for f32 {
    const ZERO: f32 = 0.0;
    const ONE: f32 = 1.0;
    #[inline(always)]
    fn of(x: f64) -> f32 {
        x as f32
    }
    #[inline(always)]
    fn get(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn exp(self) -> f32 {
        exp(self)
    }
    #[inline(always)]
    fn ln_1p(self) -> f32 {
        ln_1p(self)
    }
    #[inline(always)]
    fn sin_cos(self) -> (f32, f32) {
        sin_cos(self)
    }
}

/// `eˣ` without branches, so that loops over it vectorise: split off the power of two, then evaluate the
/// degree-6 minimax polynomial of Cephes' `expf`. Relative error below 2⁻²²; 0 below −87.3; finite for the
/// largest argument.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let clamped = x.clamp(-87.336_54, 88.376_26);
    let rounded = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = clamped - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4f32;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_6e-1;
    p = p * r + 5e-1;
    let value = p * r * r + r + 1.0;
    // The low bits of `rounded` are n: shifted to the exponent they make 2ⁿ.
    let scale = f32::from_bits((rounded.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    if x < -87.336_54 { 0.0 } else { value * scale }
}

/// Adding 1.5·2²³ rounds to the nearest integer and leaves it in the low bits.
const ROUND: f32 = 12_582_912.0;

/// 1/√x of a positive normal number without division or root, for which processors have few units: a first
/// guess from the halved exponent (Lomont 2003), then three steps of Newton's method. Relative error below
/// 2⁻²².
#[inline(always)]
pub fn inverse_sqrt(x: f32) -> f32 {
    let half = 0.5 * x;
    let mut y = f32::from_bits(0x5f37_5a86u32.wrapping_sub(x.to_bits() >> 1));
    y = y * (1.5 - half * y * y);
    y = y * (1.5 - half * y * y);
    y * (1.5 - half * y * y)
}

/// ln(1 + x) for 0 ≤ x ≤ 1, without branches: Cephes' `logf` polynomial around 1, or around 2 for
/// the larger half. Relative error below 2⁻²¹.
#[inline(always)]
pub fn ln_1p(x: f32) -> f32 {
    let large = x > std::f32::consts::SQRT_2 - 1.0;
    let f = if large { (x - 1.0) * 0.5 } else { x };
    let mut p = 7.037_683_6e-2f32;
    p = p * f - 1.151_461e-1;
    p = p * f + 1.167_699_9e-1;
    p = p * f - 1.242_014_1e-1;
    p = p * f + 1.424_932_3e-1;
    p = p * f - 1.666_805_8e-1;
    p = p * f + 2.000_071_4e-1;
    p = p * f - 2.499_999_4e-1;
    p = p * f + 3.333_333e-1;
    let z = f * f;
    let value = f - 0.5 * z + f * z * p;
    if large {
        value + std::f32::consts::LN_2
    } else {
        value
    }
}

/// Sine and cosine without branches: Cody–Waite reduction by π/2, then Cephes' polynomials on
/// ±π/4; the same arithmetic as `shaders/shared/trig.wgsl`, because WGSL's own sine may be off by
/// 2⁻¹¹. Absolute error below 2⁻²² for |x| ≤ 8192.
#[inline(always)]
pub fn sin_cos(x: f32) -> (f32, f32) {
    let rounded = x * std::f32::consts::FRAC_2_PI + ROUND;
    let n = rounded - ROUND;
    let r = ((x - n * 1.570_312_5) - n * 4.837_513e-4) - n * 7.549_79e-8;
    let z = r * r;
    let sine = ((-1.951_529_6e-4 * z + 8.332_161e-3) * z - 1.666_665_5e-1) * z * r + r;
    let cosine =
        ((2.443_315_7e-5 * z - 1.388_731_6e-3) * z + 4.166_664_6e-2) * z * z - 0.5 * z + 1.0;
    let quadrant = rounded.to_bits();
    let (a, b) = if quadrant & 1 == 0 {
        (sine, cosine)
    } else {
        (cosine, sine)
    };
    let s = if quadrant & 2 == 0 { a } else { -a };
    let c = if quadrant.wrapping_add(1) & 2 == 0 {
        b
    } else {
        -b
    };
    (s, c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_to_the_library() {
        for i in -8700..8800 {
            let x = i as f32 / 100.0;
            let want = f64::from(x).exp();
            assert!((f64::from(exp(x)) / want - 1.0).abs() < 3e-7, "{x}");
        }
        assert_eq!(exp(-1e30), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert!(exp(1e30).is_finite());
        assert_eq!(exp(0.0), 1.0);
    }

    #[test]
    fn inverse_sqrt_is_close_to_the_library() {
        for exponent in -40..40 {
            for part in 0..1000 {
                let x = 2f32.powi(exponent) * (1.0 + part as f32 / 250.0);
                let want = 1.0 / f64::from(x).sqrt();
                assert!(
                    (f64::from(inverse_sqrt(x)) / want - 1.0).abs() < 2.4e-7,
                    "{x}"
                );
            }
        }
    }

    #[test]
    fn an_infinite_distance_is_infinite() {
        assert_eq!(f32::INFINITY.root(), f32::INFINITY);
        assert!(f32::NAN.root().is_nan());
    }

    #[test]
    fn ln_1p_is_close_to_the_library() {
        for i in 1..=100_000 {
            let x = i as f32 / 1e5;
            let want = f64::from(x).ln_1p();
            assert!((f64::from(ln_1p(x)) / want - 1.0).abs() < 5e-7, "{x}");
        }
        assert_eq!(ln_1p(0.0), 0.0);
        assert_eq!(ln_1p(1e-20), 1e-20);
    }

    #[test]
    fn sin_cos_is_close_to_the_library() {
        for i in -40_000..40_000 {
            let x = i as f32 / 777.0;
            let (s, c) = sin_cos(x);
            let (want_s, want_c) = f64::from(x).sin_cos();
            assert!((f64::from(s) - want_s).abs() < 3e-7, "sin {x}");
            assert!((f64::from(c) - want_c).abs() < 3e-7, "cos {x}");
        }
    }
}
