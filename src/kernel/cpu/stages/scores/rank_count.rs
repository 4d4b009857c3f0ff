//! `rank_count`: scores a tile of queries and counts, while the scores are in cache, the candidates
//! with a better score than the target, or the same.

use crate::kernel::RankCounts;
use crate::kernel::cpu::simd::{LANES, simd};

/// Counts of one query, from its scores and its target's score; the rows `left_out` do not count.
pub fn rank_count(
    scores: &[f32],
    threshold: f32,
    left_out: impl Iterator<Item = u32>,
) -> RankCounts {
    let mut counts = simd(
        #[inline(always)]
        || count(scores, threshold),
    );
    for other in left_out {
        let own = count(&scores[other as usize..=other as usize], threshold);
        counts.better -= own.better;
        counts.equal -= own.equal;
    }
    counts
}

#[inline(always)]
fn count(scores: &[f32], threshold: f32) -> RankCounts {
    let mut at_most = [0u32; LANES];
    let mut equal = [0u32; LANES];
    let (blocks, rest) = scores.as_chunks::<LANES>();
    for block in blocks {
        for l in 0..LANES {
            at_most[l] += u32::from(block[l] <= threshold);
            equal[l] += u32::from(block[l] == threshold);
        }
    }
    for (l, &s) in rest.iter().enumerate() {
        at_most[l] += u32::from(s <= threshold);
        equal[l] += u32::from(s == threshold);
    }
    RankCounts {
        // "Not at most" rather than "above": a score that is not a number counts as better.
        better: scores.len() as u32 - at_most.iter().sum::<u32>(),
        equal: equal.iter().sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_hand() {
        let scores = [3.0, 1.0, 2.0, 2.0, 5.0, f32::NAN, 2.0];
        let counts = |target: u32, known: &[u32]| {
            let left_out = known.iter().chain([&target]).copied();
            let RankCounts { better, equal } =
                rank_count(&scores, scores[target as usize], left_out);
            (better, equal)
        };
        assert_eq!(counts(2, &[]), (3, 2));
        assert_eq!(counts(2, &[0, 3]), (2, 1));
        assert_eq!(counts(2, &[5]), (2, 2));
        assert_eq!(counts(4, &[]), (1, 0));
        assert_eq!(counts(5, &[]), (6, 0));
    }
}
