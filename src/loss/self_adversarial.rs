//! Self-adversarial negative sampling (Sun et al. 2019, eq. 5 and 6):
//! ½·(−log σ(γ + sₚ) − Σ wₙ·log σ(−γ − sₙ)), w = softmax(α·s) of the negatives, held constant.

use super::{Loss, MASKED, largest, logistic, replace_and_sum, sum};
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
    // Masked candidates have odds of 0, also at temperature 0, where all others have equal odds.
    let odds = |s: F| {
        let odds = ((s - top) * temperature).exp();
        if s > F::of(MASKED * 0.5) {
            odds
        } else {
            F::ZERO
        }
    };
    // A row of masked candidates only has no negatives to weigh.
    let live = top > F::of(MASKED * 0.5);
    let share = if live {
        half / sum(scores, odds)
    } else {
        F::ZERO
    };
    let negatives = replace_and_sum(scores, |s| {
        let (odds, (slope, cost)) = (odds(s), logistic(s + offset));
        (share * odds * slope, odds * cost)
    });
    let (slope, cost) = logistic(-score);
    scores[positive] = -half * slope;
    half * cost + share * negatives
}
