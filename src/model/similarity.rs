//! Similarities: comparisons of a query vector with a candidate row.
//!
//! A similarity has its own lanes, whatever the lanes of the model's operator: complex ones for the modulus,
//! single values for the others. The terms of all lanes are added up, and `finish` turns the sum into the
//! score.

use super::{Lane, Lanes, Real};

/// Comparison of a query with a candidate; larger scores are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Similarity {
    /// Σ q·e.
    Dot,
    /// −Σ |q − e|.
    NegativeL1,
    /// −√Σ (q − e)².
    NegativeL2,
    /// −Σ |q − e| over complex lanes, with |·| the modulus.
    NegativeModulus,
}

/// Added under a square root so that its derivative stays finite at zero.
pub const ROOT_EPSILON: f64 = 1e-12;

/// Squared modulus of a complex number, plus [`ROOT_EPSILON`].
#[inline(always)]
fn square<F: Lane>(d: [F; 2]) -> F {
    d[0].times_plus(d[0], d[1].times_plus(d[1], d[0].constant(ROOT_EPSILON)))
}

impl Similarity {
    /// Name, as in `shaders/shared/similarity/<name>.wgsl`.
    pub const fn name(self) -> &'static str {
        match self {
            Similarity::Dot => "dot",
            Similarity::NegativeL1 => "negative_l1",
            Similarity::NegativeL2 => "negative_l2",
            Similarity::NegativeModulus => "negative_modulus",
        }
    }

    /// Lanes of the similarity.
    pub const fn lanes(self) -> Lanes {
        match self {
            Similarity::NegativeModulus => Lanes::Complex,
            _ => Lanes::Real,
        }
    }

    /// Term of one lane.
    #[inline(always)]
    pub fn term<F: Lane>(self, q: [F; 2], e: [F; 2]) -> F {
        let d = [q[0] - e[0], q[1] - e[1]];
        match self {
            Similarity::Dot => q[0] * e[0] + q[1] * e[1],
            Similarity::NegativeL1 => d[0].abs() + d[1].abs(),
            Similarity::NegativeL2 => d[0] * d[0] + d[1] * d[1],
            Similarity::NegativeModulus => square(d).root(),
        }
    }

    /// Adds the term of a lane of `parts` values to `sum`, in as few operations as possible.
    #[inline(always)]
    pub fn add_term<F: Lane>(self, parts: usize, q: [F; 2], e: [F; 2], sum: F) -> F {
        let d = q[0] - e[0];
        match (self, parts) {
            (Similarity::Dot, 1) => q[0].times_plus(e[0], sum),
            (Similarity::NegativeL1, 1) => sum + d.abs(),
            (Similarity::NegativeL2, 1) => d.times_plus(d, sum),
            _ => sum + self.term(q, e),
        }
    }

    /// Computes the score from the sum of the lanes' terms.
    #[inline(always)]
    pub fn finish<F: Real>(self, sum: F) -> F {
        match self {
            Similarity::Dot => sum,
            Similarity::NegativeL1 | Similarity::NegativeModulus => -sum,
            Similarity::NegativeL2 => -(sum + F::of(ROOT_EPSILON)).sqrt(),
        }
    }

    /// Factor that turns ∂loss/∂score into the coefficient of [`Similarity::gradient`]: the part of the chain
    /// rule that depends on the whole row, computed from the score alone.
    #[inline(always)]
    pub fn slope<F: Real>(self, score: F) -> F {
        match self {
            Similarity::NegativeL2 => F::ONE / (-score),
            _ => F::ONE,
        }
    }

    /// ∂score/∂q of one lane, without the factor [`Similarity::slope`].
    #[inline(always)]
    pub fn gradient<F: Lane>(self, q: [F; 2], e: [F; 2]) -> [F; 2] {
        let d = [e[0] - q[0], e[1] - q[1]];
        match self {
            Similarity::Dot => e,
            Similarity::NegativeL1 => [d[0].sign(), d[1].sign()],
            Similarity::NegativeL2 => d,
            Similarity::NegativeModulus => {
                let inverse = square(d).inverse_sqrt();
                [d[0] * inverse, d[1] * inverse]
            }
        }
    }

    /// Returns k and directions for q and e, such that k · direction is `c` · [`Similarity::gradient`]: every
    /// similarity here is symmetric, and distances depend only on the difference.
    #[inline(always)]
    pub fn gradients<F: Lane>(self, c: F, q: [F; 2], e: [F; 2]) -> (F, [F; 2], [F; 2]) {
        let (k, d) = match self {
            Similarity::NegativeModulus => {
                let d = [e[0] - q[0], e[1] - q[1]];
                (c * square(d).inverse_sqrt(), d)
            }
            _ => (c, self.gradient(q, e)),
        };
        match self {
            Similarity::Dot => (k, d, q),
            _ => (k, d, [-d[0], -d[1]]),
        }
    }
}
