//! `score_all`: a tile of queries × every entity.

use crate::kernel::cpu::matmul::{Matrix, Out};
use crate::kernel::cpu::simd::simd;
use crate::kernel::cpu::table::TableReadGuard;
use crate::model::{Lanes, Model, Operator, Similarity, Visitor, lane_count};

/// Candidate rows taken together in pairwise loops, so that they stay in the first-level cache
/// while all queries of a tile pass by.
pub const CANDIDATES: usize = 16;
/// Candidate rows of one matrix product: few enough that the packed rows stay in the second-level
/// cache.
const BLOCK_ROWS: usize = 512;
/// Queries scored together against a panel of candidates.
const QUERIES: usize = 4;

/// Writes the scores of `queries` (n × width) against all rows of `table` to `scores` (n × rows).
pub fn score_all(model: Model, queries: &[f32], table: &TableReadGuard<'_>, scores: &mut [f32]) {
    let width = table.spec.width;
    let entities = table.spec.layout.rows();
    if model.similarity() != Similarity::Dot {
        model.visit(Pairwise {
            queries,
            table,
            scores,
        });
        return;
    }
    let mut wide = Vec::new();
    for s in 0..table.shards.len() {
        let start = table.spec.layout.range(s).start;
        for block in table.shard_row_blocks(s, BLOCK_ROWS) {
            let out = Out {
                first: start + block.start,
                ..Out::new(scores, entities)
            };
            let rows = Matrix::new(table.rows(s, block, &mut wide), width);
            out.product(Matrix::new(queries, width), rows.transposed());
        }
    }
}

/// The score of a query against a row, with the bits that [`score_all`] gives models which do not score by a dot
/// product.
pub fn score_row(model: Model, query: &[f32], row: &[f32]) -> f32 {
    model.visit(OneRow { query, row })
}

struct OneRow<'a> {
    query: &'a [f32],
    row: &'a [f32],
}

impl Visitor for OneRow<'_> {
    type Output = f32;

    fn visit<O: Operator>(self) -> f32 {
        let mut panel = vec![[0.0; CANDIDATES]; self.row.len()];
        simd(
            #[inline(always)]
            || {
                transpose(self.row, &mut panel);
                score_panel::<O>(self.query, &panel)[0][0]
            },
        )
    }
}

struct Pairwise<'a> {
    queries: &'a [f32],
    table: &'a TableReadGuard<'a>,
    scores: &'a mut [f32],
}

impl Visitor for Pairwise<'_> {
    type Output = ();

    fn visit<O: Operator>(self) {
        let width = self.table.spec.width;
        let entities = self.table.spec.layout.rows();
        let mut panel = vec![[0.0; CANDIDATES]; width];
        let mut wide = Vec::new();
        simd(
            #[inline(always)]
            || {
                for s in 0..self.table.shards.len() {
                    let first = self.table.spec.layout.range(s).start;
                    for block in self.table.shard_row_blocks(s, CANDIDATES) {
                        let (at, count) = (first + block.start, block.len());
                        let rows = self.table.rows(s, block, &mut wide);
                        transpose(rows, &mut panel);
                        let groups = self.queries.chunks(QUERIES * width).enumerate();
                        for (g, queries) in groups {
                            let found = score_panel::<O>(queries, &panel);
                            for (i, found) in found.iter().take(queries.len() / width).enumerate() {
                                let start = (g * QUERIES + i) * entities + at;
                                self.scores[start..start + count].copy_from_slice(&found[..count]);
                            }
                        }
                    }
                }
            },
        );
    }
}

/// Turns up to `CANDIDATES` rows into columns, so that one vector holds a value of each.
#[inline(always)]
fn transpose(rows: &[f32], panel: &mut [[f32; CANDIDATES]]) {
    for (c, row) in rows.chunks_exact(panel.len()).enumerate() {
        for (column, &value) in panel.iter_mut().zip(row) {
            column[c] = value;
        }
    }
}

/// Scores of up to `QUERIES` queries against a panel of candidates. Each score is a sum over
/// lanes in order, whatever its neighbours, so equal rows score equal wherever they stand.
#[inline(always)]
fn score_panel<O: Operator>(
    queries: &[f32],
    panel: &[[f32; CANDIDATES]],
) -> [[f32; CANDIDATES]; QUERIES] {
    let width = panel.len();
    let lanes = lane_count(O::SIMILARITY.lanes(), width);
    // A short last group repeats its last query.
    let last = queries.len() / width - 1;
    let query: [&[f32]; QUERIES] =
        std::array::from_fn(|i| &queries[i.min(last) * width..][..width]);
    let mut sums = [[0.0f32; CANDIDATES]; QUERIES];
    for k in 0..lanes {
        let first = panel[k];
        let second = if O::SIMILARITY.lanes() == Lanes::Complex {
            panel[k + lanes]
        } else {
            [0.0; CANDIDATES]
        };
        for i in 0..QUERIES {
            let q = if O::SIMILARITY.lanes() == Lanes::Complex {
                [query[i][k], query[i][k + lanes]]
            } else {
                [query[i][k], 0.0]
            };
            let term = |c: usize| O::SIMILARITY.term(q, [first[c], second[c]]);
            sums[i] = std::array::from_fn(
                #[inline(always)]
                |c| sums[i][c] + term(c),
            );
        }
    }
    for sums in &mut sums {
        for sum in sums {
            *sum = O::SIMILARITY.finish(*sum);
        }
    }
    sums
}
