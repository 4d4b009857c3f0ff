//! Vectors of `f32` as numbers, so that formulas written once for [`Lane`]s run on whole registers.
//! The compiler vectorises loops over plain values unreliably; these are always vectors.

use std::ops::{Add, Div, Mul, Neg, Sub};

use pulp::Simd;

use crate::model::Lane;

/// A register of values, and the instruction set that it is for.
#[derive(Clone, Copy)]
pub struct Vector<S: Simd> {
    simd: S,
    pub values: S::f32s,
}

impl<S: Simd> Vector<S> {
    #[inline(always)]
    pub fn new(simd: S, values: S::f32s) -> Vector<S> {
        Vector { simd, values }
    }

    #[inline(always)]
    pub fn splat(simd: S, value: f32) -> Vector<S> {
        Vector::new(simd, simd.splat_f32s(value))
    }

    #[inline(always)]
    fn of(self, values: S::f32s) -> Vector<S> {
        Vector { values, ..self }
    }
}

/// `eˣ` for arguments up to 0, by the polynomial of [`exp`](crate::model::exp): 0 below −87.3.
#[inline(always)]
pub fn exp_lanes<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let splat = |x: f32| simd.splat_f32s(x);
    // Rounds to the nearest integer n, and leaves n + 127 in the low bits.
    let round = splat(12_582_912.0 + 127.0);
    let rounded = simd.mul_add_e_f32s(x, splat(std::f32::consts::LOG2_E), round);
    let n = simd.sub_f32s(rounded, round);
    let r = simd.mul_add_e_f32s(n, splat(-0.693_359_4), x);
    let r = simd.mul_add_e_f32s(n, splat(2.121_944_4e-4), r);
    let mut p = splat(1.987_569_1e-4);
    for c in [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_6e-1,
        5e-1,
    ] {
        p = simd.mul_add_e_f32s(p, r, splat(c));
    }
    let value = simd.mul_add_e_f32s(p, simd.mul_f32s(r, r), simd.add_f32s(r, splat(1.0)));
    // In the exponent's place n + 127 is 2ⁿ.
    let bits = simd.transmute_u32s_f32s(rounded);
    let scale = simd.wrapping_dyn_shl_u32s(bits, simd.splat_u32s(23));
    let value = simd.mul_f32s(value, simd.transmute_f32s_u32s(scale));
    let nothing = simd.less_than_f32s(x, splat(-87.336_54));
    simd.select_f32s(nothing, splat(0.0), value)
}

impl<S: Simd> Add for Vector<S> {
    type Output = Vector<S>;

    #[inline(always)]
    fn add(self, other: Vector<S>) -> Vector<S> {
        self.of(self.simd.add_f32s(self.values, other.values))
    }
}

impl<S: Simd> Sub for Vector<S> {
    type Output = Vector<S>;

    #[inline(always)]
    fn sub(self, other: Vector<S>) -> Vector<S> {
        self.of(self.simd.sub_f32s(self.values, other.values))
    }
}

impl<S: Simd> Mul for Vector<S> {
    type Output = Vector<S>;

    #[inline(always)]
    fn mul(self, other: Vector<S>) -> Vector<S> {
        self.of(self.simd.mul_f32s(self.values, other.values))
    }
}

impl<S: Simd> Div for Vector<S> {
    type Output = Vector<S>;

    #[inline(always)]
    fn div(self, other: Vector<S>) -> Vector<S> {
        self.of(self.simd.div_f32s(self.values, other.values))
    }
}

impl<S: Simd> Neg for Vector<S> {
    type Output = Vector<S>;

    #[inline(always)]
    fn neg(self) -> Vector<S> {
        self.of(self.simd.neg_f32s(self.values))
    }
}

impl<S: Simd> Lane for Vector<S> {
    #[inline(always)]
    fn constant(self, x: f64) -> Vector<S> {
        Vector::splat(self.simd, x as f32)
    }

    #[inline(always)]
    fn abs(self) -> Vector<S> {
        self.of(self.simd.abs_f32s(self.values))
    }

    #[inline(always)]
    fn sign(self) -> Vector<S> {
        let Vector { simd, values } = self;
        let (zero, minus) = (simd.splat_f32s(0.0), simd.splat_f32s(-0.0));
        let one = simd.or_f32s(simd.and_f32s(values, minus), simd.splat_f32s(1.0));
        let is_zero = simd.equal_f32s(values, zero);
        self.of(simd.select_f32s(is_zero, zero, one))
    }

    #[inline(always)]
    fn times_plus(self, factor: Vector<S>, summand: Vector<S>) -> Vector<S> {
        self.of(self
            .simd
            .mul_add_e_f32s(self.values, factor.values, summand.values))
    }

    /// The same steps as [`f32`]'s, or one from the guess that x86 has an instruction for.
    #[inline(always)]
    fn inverse_sqrt(self) -> Vector<S> {
        let simd = self.simd;
        if let Some(y) = self.approximate_inverse_sqrt() {
            return (y * self.constant(0.5)).times_plus(self.error(y), y);
        }
        #[cfg(target_arch = "x86_64")]
        if let Some(v3) = (&simd as &dyn std::any::Any).downcast_ref::<pulp::x86::V3>() {
            let values: pulp::f32x8 = bytemuck::cast(self.values);
            let y = self.of(bytemuck::cast(v3.approx_reciprocal_sqrt_f32x8(values)));
            // Eleven bits, of which a step of third order makes 33.
            let error = self.error(y);
            let step = error.times_plus(self.constant(0.375), self.constant(0.5));
            return (y * error).times_plus(step, y);
        }
        let bits = simd.transmute_u32s_f32s(self.values);
        let halved = simd.wrapping_dyn_shr_u32s(bits, simd.splat_u32s(1));
        let guess = simd.sub_u32s(simd.splat_u32s(0x5f37_5a86), halved);
        let mut y = self.of(simd.transmute_f32s_u32s(guess));
        let (half, three_halves) = (self * self.constant(0.5), self.constant(1.5));
        for _ in 0..3 {
            y = y * (-(half * y)).times_plus(y, three_halves);
        }
        y
    }

    #[inline(always)]
    fn sqrt(self) -> Vector<S> {
        self.of(self.simd.sqrt_f32s(self.values))
    }

    /// One step from `self` times the guess, which is the root's guess.
    #[inline(always)]
    fn root(self) -> Vector<S> {
        match self.approximate_inverse_sqrt() {
            Some(y) => {
                let root = self * y;
                let error = (-root).times_plus(y, self.constant(1.0));
                (root * self.constant(0.5)).times_plus(error, root)
            }
            None => (self * self.inverse_sqrt()).abs(),
        }
    }
}

impl<S: Simd> Vector<S> {
    /// A guess of the inverse root, where the processor has an instruction for one that a single step
    /// of Newton's method is enough for.
    #[inline(always)]
    fn approximate_inverse_sqrt(self) -> Option<Vector<S>> {
        #[cfg(target_arch = "x86_64")]
        if let Some(v4) = (&self.simd as &dyn std::any::Any).downcast_ref::<pulp::x86::V4>() {
            // Here they are of one size.
            let values: pulp::f32x16 = bytemuck::cast(self.values);
            let guess = v4.avx512f._mm512_rsqrt14_ps(pulp::cast(values));
            let guess: pulp::f32x16 = pulp::cast(guess);
            return Some(self.of(bytemuck::cast(guess)));
        }
        None
    }

    /// The error of a guess `y` of the inverse root: 1 − self · y².
    #[inline(always)]
    fn error(self, y: Vector<S>) -> Vector<S> {
        (-(self * y)).times_plus(y, self.constant(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::cpu::matmul::microkernel::{Tiled, tiled};

    struct Exponentials<'a>(&'a mut [f32]);

    impl Tiled for Exponentials<'_> {
        type Output = ();

        #[inline(always)]
        fn run<S: Simd, const VECTORS: usize>(self, simd: S) {
            for x in S::as_mut_simd_f32s(self.0).0 {
                *x = exp_lanes(simd, *x);
            }
        }
    }

    struct InverseRoots<'a>(&'a mut [f32]);

    impl Tiled for InverseRoots<'_> {
        type Output = ();

        #[inline(always)]
        fn run<S: Simd, const VECTORS: usize>(self, simd: S) {
            for x in S::as_mut_simd_f32s(self.0).0 {
                *x = Vector::new(simd, *x).inverse_sqrt().values;
            }
        }
    }

    #[test]
    fn inverse_roots_are_those_of_the_library() {
        // From 2⁻⁸⁰ to 2⁸⁰, all kinds of digits.
        let arguments: Vec<f32> = (0..1 << 16)
            .map(|i| f32::from_bits((47 << 23) + i * 20_479))
            .collect();
        let mut found = arguments.clone();
        tiled(InverseRoots(&mut found));
        for (x, found) in arguments.into_iter().zip(found) {
            let wanted = f64::from(x).sqrt().recip();
            let error = (f64::from(found) / wanted - 1.0).abs();
            assert!(error < 2.4e-7, "{x} {found}: {error}");
        }
    }

    #[test]
    fn exponentials_are_those_of_the_library() {
        let arguments: Vec<f32> = (0..1 << 16).map(|i| i as f32 * -100.0 / 65536.0).collect();
        let mut found = arguments.clone();
        tiled(Exponentials(&mut found));
        for (x, found) in arguments.into_iter().zip(found) {
            let wanted = f64::from(x).exp();
            match x < -87.336_54 {
                true => assert_eq!(found, 0.0),
                false => assert!(
                    (f64::from(found) / wanted - 1.0).abs() < 3e-7,
                    "{x} {found}"
                ),
            }
        }
        let mut special = [f32::NAN; 64];
        special[..32].fill(f32::NEG_INFINITY);
        tiled(Exponentials(&mut special));
        assert_eq!(special[..32], [0.0; 32]);
        assert!(special[32..].iter().all(|x| x.is_nan()));
    }
}
