//! Steps against all entities whose entity table is cut into parts.

use std::ops::Range;
use std::sync::Arc;

use super::{Candidates, Plan};

/// Rows of the entity table that one part holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartRows {
    /// Row of the whole table of each row of the part, in the part's order.
    rows: Vec<u32>,
    /// Positions in `rows`, by ascending row; empty if `rows` ascends.
    order: Vec<u32>,
}

impl PartRows {
    /// Makes the list of a part whose row `i` is row `rows[i]` of the whole table; rows are distinct.
    pub fn new(rows: Vec<u32>) -> PartRows {
        let mut order = Vec::new();
        if !rows.is_sorted() {
            order.extend(0..rows.len() as u32);
            order.sort_unstable_by_key(|&at| rows[at as usize]);
        }
        PartRows { rows, order }
    }

    /// Number of rows of the part.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns whether the part is empty.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Rows of the whole table, in the part's order.
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// Position in the part of a row of the whole table, if the part holds that row.
    pub fn position(&self, row: u32) -> Option<u32> {
        match self.order.is_empty() {
            true => self.rows.binary_search(&row).ok().map(|at| at as u32),
            false => {
                let by_row = |&at: &u32| self.rows[at as usize].cmp(&row);
                let at = self.order.binary_search_by(by_row).ok()?;
                Some(self.order[at])
            }
        }
    }
}

/// A step against all entities, as one part of the entity table computes it: the queries' weights, and those
/// right answers that lie in the part.
#[derive(Clone, Debug, PartialEq)]
pub struct PartPlan {
    /// Weight of each query's loss.
    pub weights: Vec<f32>,
    /// Query `q` has the right answers `answers[offsets[q]..offsets[q + 1]]` in the part.
    pub offsets: Vec<u32>,
    /// Positions in the part, in the order of the whole plan.
    pub answers: Vec<u32>,
    /// Number of right answers of each query in all parts.
    pub all_answers: Vec<u32>,
    /// Position in the part of each query's first right answer, if that lies in the part.
    pub first_answers: Vec<Option<u32>>,
    /// Number of entities in all parts.
    pub entities: usize,
    /// Seed of the step's dropout masks.
    pub dropout_seed: u32,
    /// Rows of the part.
    pub rows: Arc<PartRows>,
    /// Queries whose losses have, in this part, the terms that belong to no candidate.
    pub lane: Range<usize>,
}

impl PartPlan {
    /// Makes a part's view of a step. `entities` is the number of entities in all parts, and `lane` the range of
    /// queries of the rank that holds the part. `None` if the candidates are not all entities.
    pub fn new(
        plan: &Plan,
        rows: Arc<PartRows>,
        entities: usize,
        lane: Range<usize>,
    ) -> Option<PartPlan> {
        let Candidates::All { offsets, positives } = &plan.candidates else {
            return None;
        };
        let n = plan.queries.len();
        let mut part = PartPlan {
            weights: plan.weights.clone(),
            offsets: vec![0],
            answers: Vec::new(),
            all_answers: Vec::with_capacity(n),
            first_answers: Vec::with_capacity(n),
            entities,
            dropout_seed: plan.dropout_seed,
            rows,
            lane,
        };
        for ends in offsets.windows(2) {
            let all = &positives[ends[0] as usize..ends[1] as usize];
            let position = |&row: &u32| part.rows.position(row);
            part.answers.extend(all.iter().filter_map(position));
            part.offsets.push(part.answers.len() as u32);
            part.all_answers.push(all.len() as u32);
            part.first_answers.push(all.first().and_then(position));
        }
        Some(part)
    }

    /// Number of queries of the step.
    pub fn queries(&self) -> usize {
        self.weights.len()
    }

    /// Positions in the part of a query's right answers.
    #[inline(always)]
    pub fn answers_of(&self, query: usize) -> &[u32] {
        &self.answers[self.offsets[query] as usize..self.offsets[query + 1] as usize]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn positions_are_those_of_the_rows(rows in Just((0u32..40).collect::<Vec<_>>()).prop_shuffle(), held in 0usize..40) {
            let part = PartRows::new(rows[..held].to_vec());
            for (at, &row) in rows.iter().enumerate() {
                prop_assert_eq!(part.position(row), (at < held).then_some(at as u32));
            }
        }
    }
}
