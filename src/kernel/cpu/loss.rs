//! `loss`: a row of scores → its loss and ∂loss/∂score, in place.

use crate::loss::Loss;
use crate::model::Similarity;

/// Replaces the scores of one query by the coefficients that the gradient stages take
/// (∂loss/∂score times the similarity's slope) and returns the query's weighted loss.
#[inline(always)]
pub(super) fn loss(
    loss: &Loss,
    similarity: Similarity,
    scores: &mut [f32],
    positives: &[u32],
    weight: f32,
    slopes: &mut Vec<f32>,
) -> f32 {
    if similarity != Similarity::NegativeL2 {
        return loss.row(scores, positives, weight);
    }
    slopes.clear();
    slopes.extend(scores.iter().map(|&s| similarity.slope(s)));
    let value = loss.row(scores, positives, weight);
    for (s, slope) in scores.iter_mut().zip(slopes.iter()) {
        *s *= slope;
    }
    value
}
