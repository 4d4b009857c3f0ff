//! `score_all`: a tile of queries × every entity.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use super::Table;
use super::score::score;
use super::simd::simd;
use crate::model::{Model, Operator, Similarity, Visitor};

/// Candidate rows taken together in pairwise loops, so that they stay in the first-level cache
/// while all queries of a tile pass by.
pub(super) const CANDIDATES: usize = 16;

/// Writes the scores of `queries` (n × width) against all rows of `table` to `scores` (n × rows).
pub(super) fn score_all(model: Model, queries: &[f32], table: &Table, scores: &mut [f32]) {
    let width = table.spec.width;
    let n = queries.len() / width;
    let entities = table.spec.layout.rows();
    if model.similarity() != Similarity::Dot {
        model.visit(Pairwise {
            queries,
            table,
            scores,
        });
        return;
    }
    let queries = MatRef::from_row_major_slice(queries, n, width);
    let mut scores = MatMut::from_row_major_slice_mut(scores, n, entities);
    for (s, shard) in table.shards.iter().enumerate() {
        let range = table.spec.layout.range(s);
        let rows = MatRef::from_row_major_slice(&shard.values, range.len(), width);
        let out = scores.as_mut().subcols_mut(range.start, range.len());
        matmul(
            out,
            Accum::Replace,
            queries,
            rows.transpose(),
            1.0,
            Par::Seq,
        );
    }
}

struct Pairwise<'a> {
    queries: &'a [f32],
    table: &'a Table,
    scores: &'a mut [f32],
}

impl Visitor for Pairwise<'_> {
    type Output = ();

    fn visit<O: Operator>(self) {
        let width = self.table.spec.width;
        let entities = self.table.spec.layout.rows();
        simd(
            #[inline(always)]
            || {
                for (s, shard) in self.table.shards.iter().enumerate() {
                    let first = self.table.spec.layout.range(s).start;
                    for (b, rows) in shard.values.chunks(CANDIDATES * width).enumerate() {
                        let at = first + b * CANDIDATES;
                        for (q, query) in self.queries.chunks_exact(width).enumerate() {
                            let out = &mut self.scores[q * entities + at..];
                            for (out, row) in out.iter_mut().zip(rows.chunks_exact(width)) {
                                *out = score::<O>(query, row);
                            }
                        }
                    }
                }
            },
        );
    }
}
