//! Rankings among some entities only: a list, or the entities that training shows on the queried side of the
//! relation.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::metrics::Sums;
use super::{Breakdown, Evaluation, Ranked};
use crate::dataset::{Candidates, Triple};
use crate::executor::Executor;
use crate::kernel::{KernelError, RankBatch};

/// Scores in memory at a time: 64 MiB.
const SCORES: usize = 16 << 20;

/// Evaluation among some entities.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Restricted {
    /// Metrics of the ranking.
    pub metrics: Evaluation,
    /// Number of queries whose right answer is not among the candidates. With a list, such queries are left out
    /// of the metrics; with the entities of the relation's side, the right answer counts as an additional
    /// candidate.
    pub answers_outside: usize,
}

/// Ranks batch by batch.
pub(super) struct Ranker<'a> {
    candidates: &'a Candidates,
    sums: Sums,
    outside: usize,
}

impl<'a> Ranker<'a> {
    pub fn new(candidates: &'a Candidates, breakdown: &Breakdown) -> Self {
        Ranker {
            candidates,
            sums: Sums::new(breakdown),
            outside: 0,
        }
    }

    /// Ranks the queries of `facts`: two per fact, the query for the tail first.
    pub fn rank(
        &mut self,
        executor: &mut Executor,
        facts: &[Triple],
        batch: &RankBatch,
    ) -> Result<Vec<Option<Ranked>>, KernelError> {
        let entities = executor.server().shape().entities;
        let candidates = self.candidates;
        let of = |q: usize| match q % 2 == 1 {
            true => candidates.heads(facts[q / 2].relation),
            false => candidates.tails(facts[q / 2].relation),
        };
        let inside = |q: usize| of(q).binary_search(&batch.queries[q].target).is_ok();
        let listed = matches!(candidates, Candidates::Listed(_));
        // Queries that the metrics leave out are not scored.
        let asked: Vec<usize> = (0..batch.queries.len())
            .filter(|&q| !listed || inside(q))
            .collect();
        let mut found = vec![None; batch.queries.len()];
        for asked in asked.chunks((SCORES / entities.max(1)).max(1)) {
            let queries: Vec<_> = asked.iter().map(|&q| batch.queries[q]).collect();
            let scores = executor.scores(&queries)?;
            let ranked: Vec<Ranked> = (asked.par_iter())
                .zip(scores.par_chunks_exact(entities))
                .map(|(&q, scores)| {
                    let target = batch.queries[q].target;
                    ranked(scores, target, of(q), batch.known_of(q))
                })
                .collect();
            for (&q, ranked) in asked.iter().zip(ranked) {
                found[q] = Some(ranked);
            }
        }
        self.outside += (0..found.len()).filter(|&q| !inside(q)).count();
        for (q, ranked) in found.iter().enumerate() {
            if let Some(ranked) = ranked {
                let head = q % 2 == 1;
                let again = head && found[q - 1].is_some();
                (self.sums).add(ranked, facts[q / 2].relation, head, again);
            }
        }
        Ok(found)
    }

    pub fn finish(self, breakdown: &Breakdown, seconds: f64) -> Restricted {
        let mut metrics = self.sums.finish(breakdown);
        metrics.seconds = seconds;
        Restricted {
            metrics,
            answers_outside: self.outside,
        }
    }
}

/// Ranks the target among itself and the candidates, without other known answers.
fn ranked(scores: &[f32], target: u32, candidates: &[u32], known: &[u32]) -> Ranked {
    let threshold = scores[target as usize];
    let mut ranked = Ranked {
        better: 0,
        equal: 0,
        candidates: 1,
    };
    // Known answers come in two ascending parts, from training and from held-out facts.
    let mut known = known.to_vec();
    known.sort_unstable();
    for &candidate in candidates {
        if candidate != target && known.binary_search(&candidate).is_err() {
            let score = scores[candidate as usize];
            ranked.candidates += 1;
            ranked.equal += u32::from(score == threshold);
            // As in full rankings, a score that is not a number counts as better.
            let at_most = score <= threshold;
            ranked.better += u32::from(!at_most);
        }
    }
    ranked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_candidates_count_and_the_target_is_one() {
        let scores = [3.0, 1.0, 2.0, 2.0, 5.0, f32::NAN, 2.0];
        let rank = |candidates: &[u32], known: &[u32]| {
            let found = ranked(&scores, 2, candidates, known);
            (found.better, found.equal, found.candidates)
        };
        assert_eq!(rank(&[0, 1, 2, 3, 4, 5, 6], &[]), (3, 2, 7));
        assert_eq!(rank(&[1, 3, 4], &[]), (1, 1, 4));
        assert_eq!(rank(&[0, 2, 3, 4], &[4, 0]), (0, 1, 2));
        assert_eq!(rank(&[], &[]), (0, 0, 1));
    }
}
