//! Softmax cross-entropy: lse(s) − Σ y·s, with labels y that sum to one.

use super::{Loss, largest, sum};
use crate::model::Real;

#[inline(always)]
pub(super) fn row<F: Real>(loss: &Loss, scores: &mut [F], positives: &[u32], weight: F) -> F {
    let smoothing = F::of(f64::from(loss.smoothing));
    let spread = smoothing / F::of(scores.len() as f64);
    let label = (F::ONE - smoothing) / F::of(positives.len() as f64);

    let top = largest(scores);
    let mut target = F::ZERO;
    for &p in positives {
        target += label * scores[p as usize];
    }
    if loss.smoothing > 0.0 {
        target += spread * sum(scores, |s| s);
    }
    for s in scores.iter_mut() {
        *s = (*s - top).exp();
    }
    let total = sum(scores, |s| s);
    let scale = weight / total;
    let shift = weight * spread;
    for s in scores.iter_mut() {
        *s = *s * scale - shift;
    }
    for &p in positives {
        let s = &mut scores[p as usize];
        *s = *s - weight * label;
    }
    weight * (top + F::of(total.get().ln()) - target)
}
