//! Self-adversarial negative sampling (Sun et al. 2019, eq. 5 and 6):
//! ½·(−log σ(γ + sₚ) − Σ wₙ·log σ(−γ − sₙ)), w = softmax(α·s) of the negatives, held constant.

use super::{Loss, MASKED, largest, sigmoid, softplus, sum};
use crate::model::Real;

#[inline(always)]
pub(super) fn row<F: Real>(loss: &Loss, scores: &mut [F], positives: &[u32], weight: F) -> F {
    let offset = F::of(f64::from(loss.margin));
    let temperature = F::of(f64::from(loss.temperature));
    let half = weight * F::of(0.5);
    let positive = positives[0] as usize;

    let score = scores[positive] + offset;
    scores[positive] = F::of(MASKED);
    let top = largest(scores);
    // Masked candidates have no odds even at temperature 0, which gives all others equal ones.
    let odds = |s: F| {
        let odds = ((s - top) * temperature).exp();
        if s > F::of(MASKED * 0.5) {
            odds
        } else {
            F::ZERO
        }
    };
    // A row whose candidates are all masked has no negatives to weigh.
    let live = top > F::of(MASKED * 0.5);
    let share = if live {
        half / sum(scores, odds)
    } else {
        F::ZERO
    };
    let negatives = sum(scores, |s| odds(s) * softplus(s + offset));
    for s in scores.iter_mut() {
        *s = share * odds(*s) * sigmoid(*s + offset);
    }
    scores[positive] = -half * sigmoid(-score);
    half * softplus(-score) + share * negatives
}
