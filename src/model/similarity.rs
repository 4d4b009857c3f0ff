//! Similarities: how a query vector is compared with a candidate row.
//!
//! A similarity works lane by lane, on lanes of its own: all but the modulus take each value for
//! itself, whatever the model's operator makes of it. The terms of all lanes are added up and
//! `finish` turns the sum into the score.

use super::{Lane, Lanes, Real};

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

/// The square of a complex number's modulus, and a little more.
#[inline(always)]
fn square<F: Lane>(d: [F; 2]) -> F {
    d[0].times_plus(d[0], d[1].times_plus(d[1], d[0].constant(ROOT_EPSILON)))
}

impl Similarity {
    /// The name, as in `shaders/shared/similarity/<name>.wgsl`.
    pub const fn name(self) -> &'static str {
        match self {
            Similarity::Dot => "dot",
            Similarity::NegativeL1 => "negative_l1",
            Similarity::NegativeL2 => "negative_l2",
            Similarity::NegativeModulus => "negative_modulus",
        }
    }

    /// What it takes rows apart into.
    pub const fn lanes(self) -> Lanes {
        match self {
            Similarity::NegativeModulus => Lanes::Complex,
            _ => Lanes::Real,
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
            Similarity::NegativeModulus => square(d).root(),
        }
    }

    /// `sum` and the term of a lane of so many values, in as few operations as may be.
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
                let inverse = square(d).inverse_sqrt();
                [d[0] * inverse, d[1] * inverse]
            }
        }
    }

    /// A number k and directions, so that k · direction is `c` · [`Similarity::gradient`], of q and of e:
    /// every similarity here is symmetric, and distances depend on the difference alone.
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
