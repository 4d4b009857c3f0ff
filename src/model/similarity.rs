//! Similarities: how a query vector is compared with a candidate row.
//!
//! A similarity works lane by lane. A lane is a pair of values: `[x[k], 0]` where rows are real,
//! `[x[k], x[k + width/2]]` (real and imaginary part) where they are complex. The terms of all
//! lanes are added up and `finish` turns the sum into the score.

use super::{Lane, Real};

/// How a query is compared with a candidate; larger scores are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Similarity {
    /// Σ q·e.
    Dot,
    /// −Σ |q − e|.
    NegativeL1,
    /// −√Σ (q − e)².
    NegativeL2,
    /// −Σ |q − e| over complex lanes, |·| the modulus.
    NegativeModulus,
}

/// Added under a square root so that its derivative stays finite at zero.
pub const ROOT_EPSILON: f64 = 1e-12;

impl Similarity {
    /// Its name, as in `shaders/shared/similarity_<name>.wgsl`.
    pub const fn name(self) -> &'static str {
        match self {
            Similarity::Dot => "dot",
            Similarity::NegativeL1 => "negative_l1",
            Similarity::NegativeL2 => "negative_l2",
            Similarity::NegativeModulus => "negative_modulus",
        }
    }

    /// One lane's share of the sum.
    #[inline(always)]
    pub fn term<F: Lane>(self, q: [F; 2], e: [F; 2]) -> F {
        let d = [q[0] - e[0], q[1] - e[1]];
        match self {
            Similarity::Dot => q[0] * e[0] + q[1] * e[1],
            Similarity::NegativeL1 => d[0].abs() + d[1].abs(),
            Similarity::NegativeL2 => d[0] * d[0] + d[1] * d[1],
            Similarity::NegativeModulus => {
                (d[0] * d[0] + d[1] * d[1] + d[0].constant(ROOT_EPSILON)).root()
            }
        }
    }

    /// The score from the sum of the lanes' terms.
    #[inline(always)]
    pub fn finish<F: Real>(self, sum: F) -> F {
        match self {
            Similarity::Dot => sum,
            Similarity::NegativeL1 | Similarity::NegativeModulus => -sum,
            Similarity::NegativeL2 => -(sum + F::of(ROOT_EPSILON)).sqrt(),
        }
    }

    /// The factor that turns ∂loss/∂score into the coefficient of [`Similarity::gradient`]: what
    /// the chain rule needs of the whole row, known from the score alone.
    #[inline(always)]
    pub fn slope<F: Real>(self, score: F) -> F {
        match self {
            Similarity::NegativeL2 => F::ONE / (-score),
            _ => F::ONE,
        }
    }

    /// ∂score/∂q of one lane, up to the factor [`Similarity::slope`].
    #[inline(always)]
    pub fn gradient<F: Lane>(self, q: [F; 2], e: [F; 2]) -> [F; 2] {
        let d = [e[0] - q[0], e[1] - q[1]];
        match self {
            Similarity::Dot => e,
            Similarity::NegativeL1 => [d[0].sign(), d[1].sign()],
            Similarity::NegativeL2 => d,
            Similarity::NegativeModulus => {
                let square = d[0] * d[0] + d[1] * d[1] + d[0].constant(ROOT_EPSILON);
                let inverse = square.inverse_sqrt();
                [d[0] * inverse, d[1] * inverse]
            }
        }
    }
    /// The same, and ∂score/∂e: every similarity here is symmetric, and distances depend on the
    /// difference alone.
    #[inline(always)]
    pub fn gradients<F: Lane>(self, q: [F; 2], e: [F; 2]) -> ([F; 2], [F; 2]) {
        let d = self.gradient(q, e);
        match self {
            Similarity::Dot => (d, q),
            _ => (d, [-d[0], -d[1]]),
        }
    }
}
