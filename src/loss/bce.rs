//! Logistic loss (binary cross-entropy) of every candidate: softplus(s + γ) − y·(s + γ), summed.

use super::{Loss, sigmoid, softplus, sum};
use crate::model::Real;

#[inline(always)]
pub(super) fn row<F: Real>(loss: &Loss, scores: &mut [F], positives: &[u32], weight: F) -> F {
    let offset = F::of(f64::from(loss.margin));
    let smoothing = F::of(f64::from(loss.smoothing));
    let spread = smoothing / F::of(scores.len() as f64);
    let label = F::ONE - smoothing;

    let mut value = sum(scores, |s| softplus(s + offset));
    for &p in positives {
        value = value - label * (scores[p as usize] + offset);
    }
    if loss.smoothing > 0.0 {
        value = value - spread * sum(scores, |s| s + offset);
    }
    for s in scores.iter_mut() {
        *s = weight * (sigmoid(*s + offset) - spread);
    }
    for &p in positives {
        let s = &mut scores[p as usize];
        *s = *s - weight * label;
    }
    weight * value
}
