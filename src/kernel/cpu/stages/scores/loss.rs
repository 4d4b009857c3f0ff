//! `loss`: a row of scores → its loss and ∂loss/∂score, in place.

use crate::kernel::cpu::simd::simd;
use crate::loss::Loss;
use crate::model::Similarity;

/// Replaces the scores of one query by the coefficients that the gradient stages take
/// (∂loss/∂score times the similarity's slope) and returns the query's weighted loss.
///
/// A function of its own, vectorised once: taken in where it is called, it was compiled for every
/// similarity and instruction set, and not vectorised as part of a loop of queries.
#[inline(never)]
pub fn loss(
    loss: &Loss,
    similarity: Similarity,
    scores: &mut [f32],
    positives: &[u32],
    weight: f32,
    slopes: &mut Vec<f32>,
) -> f32 {
    simd(
        #[inline(always)]
        || {
            if similarity == Similarity::NegativeL2 {
                slopes.clear();
                slopes.extend(scores.iter().map(|&s| similarity.slope(s)));
            }
            let value = loss.row(scores, positives, weight);
            if similarity == Similarity::NegativeL2 {
                for (s, slope) in scores.iter_mut().zip(slopes.iter()) {
                    *s *= slope;
                }
            }
            value
        },
    )
}
