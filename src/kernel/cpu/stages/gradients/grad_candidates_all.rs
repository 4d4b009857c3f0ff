//! `grad_candidates_all`: ∂loss/∂row of every entity from a tile of coefficients.

use rayon::prelude::*;

use crate::kernel::cpu::AlignedVec;
use crate::kernel::cpu::matmul::{Matrix, Out};
use crate::kernel::cpu::simd::simd;
use crate::kernel::cpu::stages::gradients::grad_query::add_gradient;
use crate::kernel::cpu::table::TableReadGuard;
use crate::model::{Model, Operator, Similarity, Visitor};

/// Rows that one task works on; fixed, so that sums do not depend on the number of threads.
const BLOCK_ROWS: usize = 512;

/// Adds to (or, for the first tile of a step, overwrites) the gradients of every row of `table`,
/// one slice a shard. `queries` is n × width, `coefficients` n × rows of the table.
pub fn grad_candidates_all(
    model: Model,
    coefficients: &[f32],
    queries: &[f32],
    table: &TableReadGuard<'_>,
    gradients: &mut [AlignedVec],
    overwrite: bool,
) {
    let width = table.spec.width;
    let entities = table.spec.layout.rows();
    for (s, gradient) in gradients.iter_mut().enumerate() {
        let first = table.spec.layout.range(s).start;
        let blocks = gradient.par_chunks_mut(BLOCK_ROWS * width);
        blocks.enumerate().for_each(|(i, gradient)| {
            let rows = gradient.len() / width;
            let at = first + i * BLOCK_ROWS;
            if model.similarity() != Similarity::Dot {
                let mut wide = Vec::new();
                let values = table.rows(s, i * BLOCK_ROWS..i * BLOCK_ROWS + rows, &mut wide);
                model.visit(Pairwise {
                    coefficients,
                    queries,
                    at,
                    entities,
                    values,
                    gradient,
                    overwrite,
                });
                return;
            }
            let part = Matrix::new(coefficients, entities).columns(at..at + rows);
            let out = Out {
                add: !overwrite,
                ..Out::new(gradient, width)
            };
            out.product(part.transposed(), Matrix::new(queries, width));
        });
    }
}

struct Pairwise<'a> {
    coefficients: &'a [f32],
    queries: &'a [f32],
    at: usize,
    entities: usize,
    values: &'a [f32],
    gradient: &'a mut [f32],
    overwrite: bool,
}

impl Visitor for Pairwise<'_> {
    type Output = ();

    fn visit<O: Operator>(self) {
        let rows = self.gradient.len() * self.queries.len().min(1);
        if self.overwrite {
            self.gradient.fill(0.0);
        }
        if rows == 0 {
            return;
        }
        let n = self.coefficients.len() / self.entities;
        let width = self.queries.len() / n;
        simd(
            #[inline(always)]
            || {
                let pairs = self
                    .values
                    .chunks_exact(width)
                    .zip(self.gradient.chunks_exact_mut(width));
                for (e, (row, gradient)) in pairs.enumerate() {
                    for (q, query) in self.queries.chunks_exact(width).enumerate() {
                        let c = self.coefficients[q * self.entities + self.at + e];
                        add_gradient::<O>(c, row, query, gradient);
                    }
                }
            },
        );
    }
}
