//! `part_loss`: a row of scores against a part of the entities → the part's share of its loss and ∂loss/∂score, in
//! place.

use crate::kernel::cpu::simd::simd;
use crate::loss::{Loss, PartRow, Statistic};
use crate::model::Similarity;

/// Replaces the scores of one query by the coefficients that the gradient stages take, given the statistics of all
/// parts, one for each round, and returns the part's share of the query's weighted loss.
///
/// A function of its own for the reasons of [`loss`](super::loss::loss).
#[inline(never)]
pub fn part_loss(
    loss: &Loss,
    similarity: Similarity,
    scores: &mut [f32],
    row: &PartRow<'_>,
    statistics: &[Statistic],
    slopes: &mut Vec<f32>,
) -> f32 {
    simd(
        #[inline(always)]
        || {
            if similarity == Similarity::NegativeL2 {
                slopes.clear();
                slopes.extend(scores.iter().map(|&s| similarity.slope(s)));
            }
            let value = loss.part_row(scores, row, statistics);
            if similarity == Similarity::NegativeL2 {
                for (s, slope) in scores.iter_mut().zip(slopes.iter()) {
                    *s *= slope;
                }
            }
            value
        },
    )
}
