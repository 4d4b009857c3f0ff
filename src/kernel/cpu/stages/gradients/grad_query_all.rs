//! `grad_query_all`: ∂loss/∂query of a tile of queries from coefficients against every entity.

use crate::kernel::Dtype;
use crate::kernel::cpu::matmul::{Matrix, Out};
use crate::kernel::cpu::simd::simd;
use crate::kernel::cpu::stages::gradients::grad_query::add_gradient;
use crate::kernel::cpu::stages::scores::score_all::CANDIDATES;
use crate::kernel::cpu::table::TableReadGuard;
use crate::model::{Model, Operator, Similarity, Visitor};

/// Rows of binary16 that are widened for one matrix product.
const BLOCK_ROWS: usize = 512;

/// Overwrites `d_queries` (n × width), given `coefficients` (n × rows of the table).
pub fn grad_query_all(
    model: Model,
    coefficients: &[f32],
    queries: &[f32],
    table: &TableReadGuard<'_>,
    d_queries: &mut [f32],
) {
    let width = table.spec.width;
    let entities = table.spec.layout.rows();
    d_queries.fill(0.0);
    if model.similarity() != Similarity::Dot {
        model.visit(Pairwise {
            coefficients,
            queries,
            table,
            d_queries,
        });
        return;
    }
    let coefficients = Matrix::new(coefficients, entities);
    let mut wide = Vec::new();
    for s in 0..table.shards.len() {
        let range = table.spec.layout.range(s);
        let most = match table.spec.dtype {
            Dtype::F32 => range.len().max(1),
            Dtype::F16 { .. } => BLOCK_ROWS,
        };
        for block in table.shard_row_blocks(s, most) {
            let part = coefficients.columns(range.start + block.start..range.start + block.end);
            let out = Out {
                add: true,
                ..Out::new(d_queries, width)
            };
            out.product(part, Matrix::new(table.rows(s, block, &mut wide), width));
        }
    }
}

struct Pairwise<'a> {
    coefficients: &'a [f32],
    queries: &'a [f32],
    table: &'a TableReadGuard<'a>,
    d_queries: &'a mut [f32],
}

impl Visitor for Pairwise<'_> {
    type Output = ();

    fn visit<O: Operator>(self) {
        let width = self.table.spec.width;
        let entities = self.table.spec.layout.rows();
        let mut wide = Vec::new();
        simd(
            #[inline(always)]
            || {
                for s in 0..self.table.shards.len() {
                    let first = self.table.spec.layout.range(s).start;
                    for block in self.table.shard_row_blocks(s, CANDIDATES) {
                        let at = first + block.start;
                        let rows = self.table.rows(s, block, &mut wide);
                        let pairs = self
                            .queries
                            .chunks_exact(width)
                            .zip(self.d_queries.chunks_exact_mut(width));
                        for (q, (query, d_query)) in pairs.enumerate() {
                            let coefficients = &self.coefficients[q * entities + at..];
                            for (&c, row) in coefficients.iter().zip(rows.chunks_exact(width)) {
                                add_gradient::<O>(c, query, row, d_query);
                            }
                        }
                    }
                }
            },
        );
    }
}
