//! `grad_matrix`: every unique relation that is a matrix adds up the outer products of its queries.

use rayon::prelude::*;

use crate::kernel::cpu::dropout::Dropout;
use crate::kernel::cpu::matmul::{Matrix, Out};
use crate::sampler::{Place, Plan};

/// Rows of a matrix that one task works on, and queries it takes at a time; fixed, so that no sum
/// depends on the number of threads.
const ROWS: usize = 64;
const QUERIES: usize = 64;

/// Factors of the outer products that relations add up: queries × width each.
pub struct Factors<'a> {
    /// Entity rows as the operator took them.
    pub entities: &'a [f32],
    /// ∂loss/∂query.
    pub d_queries: &'a [f32],
    pub width: usize,
}

/// Overwrites `gradient`, a matrix, with the sum over the relation's places, all of them inputs.
pub fn grad_matrix(
    plan: &Plan,
    dropout: &Dropout,
    from: &Factors<'_>,
    places: &[u32],
    gradient: &mut [f32],
) {
    let width = from.width;
    gradient
        .par_chunks_mut(ROWS * width)
        .enumerate()
        .for_each(|(b, tile)| {
            let first = b * ROWS;
            let rows = tile.len() / width;
            tile.fill(0.0);
            let (mut left, mut right) = (Vec::new(), Vec::new());
            for places in places.chunks(QUERIES) {
                left.clear();
                right.clear();
                for &word in places {
                    let Place::Input(q) = Place::unpack(word) else {
                        continue;
                    };
                    let at = q as usize * width;
                    let e = &from.entities[at..][..width];
                    let dq = &from.d_queries[at..][..width];
                    let (l, r) = match plan.queries[q as usize].inverse == 1 {
                        true => (dq, e),
                        false => (e, dq),
                    };
                    if dropout.drops_relations() {
                        add_masked(dropout, q, first, &l[first..][..rows], r, tile);
                    } else {
                        left.extend_from_slice(&l[first..][..rows]);
                        right.extend_from_slice(r);
                    }
                }
                let out = Out {
                    add: true,
                    ..Out::new(tile, width)
                };
                let left = Matrix::new(&left, rows).transposed();
                out.product(left, Matrix::new(&right, width));
            }
        });
}

/// Adds one query's outer product where its mask keeps the matrix.
fn add_masked(
    dropout: &Dropout,
    query: u32,
    first: usize,
    left: &[f32],
    right: &[f32],
    tile: &mut [f32],
) {
    let width = right.len();
    for (i, (row, &x)) in tile.chunks_exact_mut(width).zip(left).enumerate() {
        for (j, (g, &y)) in row.iter_mut().zip(right).enumerate() {
            *g += dropout.relation_factor(query, (first + i) * width + j) * x * y;
        }
    }
}
