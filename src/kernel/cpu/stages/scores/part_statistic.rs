//! `part_statistic`: a row of scores against a part of the entities → its statistic, which the parts exchange.

use crate::kernel::cpu::simd::simd;
use crate::loss::{Loss, PartRow, Statistic};

/// Statistic of the scores of one query, given those of all parts of earlier rounds. The scores are the same
/// afterwards.
#[inline(never)]
pub fn part_statistic(
    loss: &Loss,
    scores: &mut [f32],
    row: &PartRow<'_>,
    before: &[Statistic],
) -> Statistic {
    simd(
        #[inline(always)]
        || loss.part_statistic(scores, row, before),
    )
}
