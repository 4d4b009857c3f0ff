//! `grad_query_all`: ∂loss/∂query of a tile of queries from coefficients against every entity.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use super::score::add_gradient;
use super::score_all::CANDIDATES;
use super::simd::simd;
use super::table::View;
use crate::kernel::Dtype;
use crate::model::{Model, Operator, Similarity, Visitor};

/// Rows of binary16 that are widened for one matrix product.
const STRIP: usize = 512;

/// Overwrites `d_queries` (n × width), given `coefficients` (n × rows of the table).
pub(super) fn grad_query_all(
    model: Model,
    coefficients: &[f32],
    queries: &[f32],
    table: &View<'_>,
    d_queries: &mut [f32],
) {
    let width = table.spec.width;
    let n = queries.len() / width;
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
    let coefficients = MatRef::from_row_major_slice(coefficients, n, entities);
    let mut d_queries = MatMut::from_row_major_slice_mut(d_queries, n, width);
    let mut wide = Vec::new();
    for s in 0..table.shards.len() {
        let range = table.spec.layout.range(s);
        let most = match table.spec.dtype {
            Dtype::F32 => range.len().max(1),
            Dtype::F16 { .. } => STRIP,
        };
        for strip in table.strips(s, most) {
            let part = coefficients.subcols(range.start + strip.start, strip.len());
            let count = strip.len();
            let rows = table.rows(s, strip, &mut wide);
            let rows = MatRef::from_row_major_slice(rows, count, width);
            matmul(d_queries.as_mut(), Accum::Add, part, rows, 1.0, Par::Seq);
        }
    }
}

struct Pairwise<'a> {
    coefficients: &'a [f32],
    queries: &'a [f32],
    table: &'a View<'a>,
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
                    for strip in self.table.strips(s, CANDIDATES) {
                        let at = first + strip.start;
                        let rows = self.table.rows(s, strip, &mut wide);
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
