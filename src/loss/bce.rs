//! Logistic loss (binary cross-entropy) of every candidate: softplus(s + γ) − y·(s + γ), summed.

use super::{Loss, logistic, replace_and_sum, sum};
use crate::model::Real;

#[inline(always)]
pub(super) fn row<F: Real>(loss: &Loss, scores: &mut [F], positives: &[u32], weight: F) -> F {
    let offset = F::of(f64::from(loss.margin));
    let smoothing = F::of(f64::from(loss.smoothing));
    let spread = smoothing / F::of(scores.len() as f64);
    let label = F::ONE - smoothing;

    let mut target = F::ZERO;
    for &p in positives {
        target += label * (scores[p as usize] + offset);
    }
    if loss.smoothing > 0.0 {
        target += spread * sum(scores, |s| s + offset);
    }
    let cost = replace_and_sum(scores, |s| {
        let (slope, cost) = logistic(s + offset);
        (weight * (slope - spread), cost)
    });
    for &p in positives {
        let s = &mut scores[p as usize];
        *s = *s - weight * label;
    }
    weight * (cost - target)
}
