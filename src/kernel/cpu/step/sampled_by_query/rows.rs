//! The second walk: each row along the queries that it is a candidate of.

use pulp::Simd;

use crate::kernel::cpu::simd::similarity::{Compare, Compared};
use crate::kernel::cpu::stages::backward::grad_rows::OwnShares;
use crate::kernel::cpu::step::sampled_by_query::{Pairs, REGISTERS, sum_gradients};
use crate::sampler::{Candidates, Place};

/// What the rows of a plan add up: as candidates, and what else they do.
pub struct RowWalk<'a> {
    pub width: usize,
    pub queries: &'a [f32],
    /// Queries × candidates.
    pub coefficients: &'a [f32],
    pub shares: OwnShares<'a>,
}

impl RowWalk<'_> {
    /// Overwrites `out` with the gradient of the unique row at position `i`, whose values are `row`.
    /// What `listed` holds is anybody's guess.
    #[inline(always)]
    pub fn gradient<S: Simd, C: Compare>(
        &self,
        simd: S,
        i: usize,
        row: &[f32],
        listed: &mut Vec<(f32, u32)>,
        out: &mut [f32],
    ) {
        let Candidates::Sampled {
            chunk, negatives, ..
        } = self.shares.plan.candidates
        else {
            return;
        };
        let plan = self.shares.plan;
        let pairs = PlacePairs {
            places: plan.entities.places_of(i),
            chunk,
            negatives,
            queries: plan.queries.len(),
            coefficients: self.coefficients,
        };
        let query = |q: u32| &self.queries[q as usize * self.width..][..self.width];
        if row.len() <= REGISTERS * S::F32_LANES {
            sum_gradients::<S, C>(simd, row, &pairs, query, out);
        } else {
            // Gone through several times.
            listed.clear();
            pairs.each(|c, q| listed.push((c, q)));
            sum_gradients::<S, C>(simd, row, &listed[..], query, out);
        }
        self.shares.add(i, row, out);
    }
}

/// The queries that a row is a candidate of, by its places.
struct PlacePairs<'a> {
    places: &'a [u32],
    chunk: usize,
    negatives: usize,
    queries: usize,
    coefficients: &'a [f32],
}

impl Pairs for PlacePairs<'_> {
    #[inline(always)]
    fn each(&self, mut run: impl FnMut(f32, u32)) {
        for &word in self.places {
            let (queries, candidate) = match Place::unpack(word) {
                Place::Slot(s) => {
                    // Words divide faster than sizes.
                    let negatives = self.negatives as u32;
                    let (c, j) = (s / negatives, s % negatives);
                    let first = c as usize * self.chunk;
                    (first..self.queries.min(first + self.chunk), 1 + j as usize)
                }
                Place::Positive(q) => (q as usize..q as usize + 1, 0),
                Place::Input(_) | Place::Pair(_) => continue,
            };
            // Called in one place only, so that it is taken in.
            for q in queries {
                let coefficient = self.coefficients[q * (self.negatives + 1) + candidate];
                if coefficient != 0.0 {
                    run(coefficient, q as u32);
                }
            }
        }
    }
}

/// Some pulled rows on their walk.
pub struct RowBlock<'a> {
    pub walk: &'a RowWalk<'a>,
    /// Position of the first.
    pub first: usize,
    /// All rows of the plan.
    pub rows: &'a [f32],
    /// Overwritten.
    pub gradients: &'a mut [f32],
}

impl Compared for RowBlock<'_> {
    #[inline(always)]
    fn run<S: Simd, C: Compare>(self, simd: S) {
        let width = self.walk.width;
        let mut listed = Vec::new();
        for (i, gradient) in self.gradients.chunks_exact_mut(width).enumerate() {
            let i = self.first + i;
            let row = &self.rows[i * width..][..width];
            self.walk
                .gradient::<S, C>(simd, i, row, &mut listed, gradient);
        }
    }
}
