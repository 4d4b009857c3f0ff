//! Losses of rows of scores, and their derivatives.
//!
//! A row holds the scores of one query against its candidates, some of which are positives. Every loss replaces
//! the row by ∂loss/∂score and returns the loss. A score at or below [`MASKED`] belongs to a masked candidate,
//! which does not count: its derivative is zero.

mod bce;
mod margin;
mod part;
mod self_adversarial;
mod softmax;

pub use part::{PartRow, Statistic};

use crate::model::Real;

/// Score of a masked candidate. Finite, because WGSL has no portable infinity.
pub const MASKED: f64 = -1e30;

/// All losses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossKind {
    /// Cross-entropy of the softmax over the row; labels are divided by their sum.
    Softmax,
    /// Logistic loss, summed over the row: softplus(s) − y·s.
    Bce,
    /// Σ max(0, margin + negative − positive) / negatives.
    Margin,
    /// Negatives weighted by the softmax of their own scores (Sun et al. 2019).
    SelfAdversarial,
}

/// A loss with its parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// Formula of the loss.
    pub kind: LossKind,
    /// Margin γ of the ranking loss; the other losses with a margin add it to every score.
    pub margin: f32,
    /// Inverse temperature α of self-adversarial weights.
    pub temperature: f32,
    /// Label smoothing ε: labels become (1 − ε)·y + ε/n.
    pub smoothing: f32,
}

impl Loss {
    /// Makes a loss with margin 0, temperature 1 and no smoothing.
    pub fn new(kind: LossKind) -> Loss {
        Loss {
            kind,
            margin: 0.0,
            temperature: 1.0,
            smoothing: 0.0,
        }
    }

    /// Returns whether a row may have several positives and smoothed labels.
    pub fn takes_labels(&self) -> bool {
        matches!(self.kind, LossKind::Softmax | LossKind::Bce)
    }

    /// Replaces the scores of a row by `weight`·∂loss/∂score and returns `weight`·loss.
    ///
    /// `positives` holds the positions of the positive candidates, each once. The margin and self-adversarial
    /// losses use only the first.
    #[inline(always)]
    pub fn row<F: Real>(&self, scores: &mut [F], positives: &[u32], weight: F) -> F {
        match self.kind {
            LossKind::Softmax => softmax::row(self, scores, positives, weight),
            LossKind::Bce => bce::row(self, scores, positives, weight),
            LossKind::Margin => margin::row(self, scores, positives, weight),
            LossKind::SelfAdversarial => self_adversarial::row(self, scores, positives, weight),
        }
    }
}

/// Number of parallel partial sums: reductions vectorise and keep a fixed order.
const PARTIAL_SUMS: usize = 16;

/// Σ f(x) over a row, in a fixed order.
#[inline(always)]
fn sum<F: Real>(row: &[F], f: impl Fn(F) -> F) -> F {
    let mut sums = [F::ZERO; PARTIAL_SUMS];
    let (blocks, rest) = row.as_chunks::<PARTIAL_SUMS>();
    for block in blocks {
        for (s, &x) in sums.iter_mut().zip(block) {
            *s += f(x);
        }
    }
    for (s, &x) in sums.iter_mut().zip(rest) {
        *s += f(x);
    }
    sums.into_iter().fold(F::ZERO, |a, b| a + b)
}

/// Replaces every x of a row by f(x) and returns the sum of the results, in the order of [`sum`].
#[inline(always)]
fn replace<F: Real>(row: &mut [F], f: impl Fn(F) -> F) -> F {
    let mut sums = [F::ZERO; PARTIAL_SUMS];
    let (blocks, rest) = row.as_chunks_mut::<PARTIAL_SUMS>();
    for block in blocks {
        for (s, x) in sums.iter_mut().zip(block) {
            *x = f(*x);
            *s += *x;
        }
    }
    for (s, x) in sums.iter_mut().zip(rest) {
        *x = f(*x);
        *s += *x;
    }
    sums.into_iter().fold(F::ZERO, |a, b| a + b)
}

/// Replaces every x of a row by the first value of f(x) and returns the sum of the second values, in the order
/// of [`sum`].
#[inline(always)]
fn replace_and_sum<F: Real>(row: &mut [F], f: impl Fn(F) -> (F, F)) -> F {
    let mut sums = [F::ZERO; PARTIAL_SUMS];
    let (blocks, rest) = row.as_chunks_mut::<PARTIAL_SUMS>();
    for block in blocks {
        // Without these local arrays, the compiler does not vectorise the loop.
        let (old, mut new, mut summands) =
            (*block, [F::ZERO; PARTIAL_SUMS], [F::ZERO; PARTIAL_SUMS]);
        for l in 0..PARTIAL_SUMS {
            (new[l], summands[l]) = f(old[l]);
        }
        *block = new;
        for l in 0..PARTIAL_SUMS {
            sums[l] += summands[l];
        }
    }
    for (s, x) in sums.iter_mut().zip(rest) {
        let (new, summand) = f(*x);
        *x = new;
        *s += summand;
    }
    sums.into_iter().fold(F::ZERO, |a, b| a + b)
}

/// Largest value of a row.
#[inline(always)]
fn largest<F: Real>(row: &[F]) -> F {
    let mut tops = [F::of(MASKED); PARTIAL_SUMS];
    let (blocks, rest) = row.as_chunks::<PARTIAL_SUMS>();
    for block in blocks {
        for (t, &x) in tops.iter_mut().zip(block) {
            *t = t.larger(x);
        }
    }
    for (t, &x) in tops.iter_mut().zip(rest) {
        *t = t.larger(x);
    }
    tops.into_iter().fold(F::of(MASKED), F::larger)
}

/// 1/(1 + e⁻ˣ) and ln(1 + eˣ), without overflow.
#[inline(always)]
fn logistic<F: Real>(x: F) -> (F, F) {
    let e = (-x.abs()).exp();
    let small = e / (F::ONE + e);
    let sigmoid = if x < F::ZERO { small } else { F::ONE - small };
    (sigmoid, x.larger(F::ZERO) + e.ln_1p())
}

#[cfg(test)]
mod tests;
