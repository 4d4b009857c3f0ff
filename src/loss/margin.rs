//! Margin ranking (Bordes et al. 2013): the mean over negatives of max(0, γ + sₙ − sₚ).

use super::{Loss, sum};
use crate::model::Real;

#[inline(always)]
pub(super) fn row<F: Real>(loss: &Loss, scores: &mut [F], positives: &[u32], weight: F) -> F {
    let positive = positives[0] as usize;
    let threshold = scores[positive] - F::of(f64::from(loss.margin));
    let share = weight / F::of((scores.len() - 1).max(1) as f64);

    // The positive itself would violate by γ, so it is masked before the sums.
    scores[positive] = F::of(super::MASKED);
    let value = sum(scores, |s| (s - threshold).larger(F::ZERO));
    let violations = sum(scores, |s| if s > threshold { F::ONE } else { F::ZERO });
    for s in scores.iter_mut() {
        *s = if *s > threshold { share } else { F::ZERO };
    }
    scores[positive] = -share * violations;
    share * value
}
