//! The three products, by the matrix unit.
//!
//! Panels have [`SIDE`] queries, and strips are filled up to a multiple of as many rows. Exponentials
//! are relative to the score of a right answer, as long as no score of a strip is far larger, so that
//! factors are the same in nearly all strips, and weighted queries are packed once. They are split
//! where they lie: 16 rows of a panel take the same room as values and as halves.

mod queries;

use std::ops::Range;

use pulp::Simd;
use rayon::prelude::*;

pub use self::queries::grad_queries;
use crate::kernel::cpu::matmul::amx::{Panel, SIDE, STEP, Side, Unit};
use crate::kernel::cpu::matmul::microkernel::{self, Tiled, load, store, tiled};
use crate::kernel::cpu::simd::simd;
use crate::kernel::cpu::simd::vector::exp_lanes;
use crate::kernel::cpu::step::softmax_all::{Scratch, StripSums};
use crate::kernel::cpu::table::Values;

/// Steps of panels that are multiplied before the next ones: those of a strip stay in the
/// second-level cache.
const DEPTH: usize = 16;
/// How far a strip's largest score may be above the right answer's before it is taken instead.
const FAR: f32 = 40.0;

/// Registers of a panel's row.
const VECTORS: usize = 2;
/// Rows that are split at a time.
const ROWS: usize = 16;
/// Values of a block of sums.
const BLOCK: usize = SIDE * SIDE;

/// Rows that a strip of so many takes.
pub fn filled_up(rows: usize) -> usize {
    rows.next_multiple_of(SIDE)
}

/// Turns queries of `width` values into panels that are multiplied along their values.
pub fn pack_queries(unit: Unit, queries: &[f32], width: usize, packed: &mut Values) {
    let steps = width.div_ceil(SIDE);
    let panels = (queries.len() / width).div_ceil(SIDE);
    let panels = packed
        .room(panels * steps * STEP)
        .par_chunks_mut(steps * STEP);
    let queries = queries.par_chunks(SIDE * width);
    panels.zip(queries).for_each(|(panel, queries)| {
        unit.along_rows((queries, width), 0..steps, Side::Right, panel);
    });
}

/// The same, each times its factor, into panels of values that are multiplied along the queries.
pub fn pack_weighted(
    unit: Unit,
    (queries, width): (&[f32], usize),
    factors: &[f32],
    packed: &mut Values,
) {
    let steps = factors.len().div_ceil(SIDE);
    let panels = packed.room(width.div_ceil(SIDE) * steps * STEP);
    let panels = panels.par_chunks_mut(steps * STEP).enumerate();
    panels.for_each(|(p, panel)| {
        let columns = p * SIDE..width.min((p + 1) * SIDE);
        unit.across_rows((queries, width), columns, Some(factors), Side::Right, panel);
    });
}

/// Some of many steps at a time.
fn depths(steps: usize) -> impl Iterator<Item = Range<usize>> {
    microkernel::depths(steps, DEPTH, 1)
}

/// Scores of a strip, replaced by the halves of their exponentials.
pub struct ScoreStrip<'a> {
    pub unit: Unit,
    pub rows: &'a [f32],
    pub width: usize,
    pub queries: &'a [f32],
    /// What exponentials are relative to, if it is not too small.
    pub references: &'a [f32],
    pub scores: &'a mut [f32],
    pub sums: &'a mut StripSums,
    pub scratch: &'a mut Scratch,
}

impl ScoreStrip<'_> {
    pub fn run(mut self) {
        self.products();
        tiled(self);
    }

    fn products(&mut self) {
        let (rows, width) = (self.rows, self.width);
        let padded = filled_up(rows.len() / width);
        let steps = width.div_ceil(SIDE);
        let tiles = self.unit.tiles();
        for depth in depths(steps) {
            let left = self.scratch.left.room(padded / SIDE * depth.len() * STEP);
            let unit = self.unit;
            unit.along_rows((rows, width), depth.clone(), Side::Left, left);
            let queries = self.queries.chunks_exact(steps * STEP);
            for (scores, right) in self.scores.chunks_exact_mut(padded * SIDE).zip(queries) {
                let right = Panel::new(&right[depth.start * STEP..]);
                let left = left.chunks_exact(depth.len() * STEP);
                for (sums, left) in scores.chunks_exact_mut(BLOCK).zip(left) {
                    let panels = [Panel::new(left), right];
                    tiles.block(panels, depth.len(), sums, depth.start > 0);
                }
            }
        }
    }
}

impl Tiled for ScoreStrip<'_> {
    type Output = ();

    /// Exponentials and their sums.
    #[inline(always)]
    fn run<S: Simd, const _V: usize>(self, simd: S) {
        assert_eq!(
            VECTORS * S::F32_LANES,
            SIDE,
            "where there is a unit, there are such vectors"
        );
        let count = self.rows.len() / self.width;
        let panels = self.scores.chunks_exact_mut(filled_up(count) * SIDE);
        let references = self.references.chunks_exact(SIDE);
        let sums = self.sums.reference.chunks_exact_mut(SIDE);
        let sums = sums.zip(self.sums.sum.chunks_exact_mut(SIDE));
        for ((scores, wanted), (reference, sum)) in panels.zip(references).zip(sums) {
            let mut largest = [simd.splat_f32s(f32::MIN); VECTORS];
            let (rows, _) = S::as_simd_f32s(scores).0.as_chunks::<VECTORS>();
            for row in &rows[..count] {
                for v in 0..VECTORS {
                    largest[v] = simd.max_f32s(row[v], largest[v]);
                }
            }
            let mut top = load::<S, VECTORS>(wanted);
            for v in 0..VECTORS {
                let most = simd.add_f32s(top[v], simd.splat_f32s(FAR));
                let far = simd.less_than_f32s(most, largest[v]);
                top[v] = simd.select_f32s(far, largest[v], top[v]);
            }
            store::<S, VECTORS>(top, reference);
            let mut total = [simd.splat_f32s(0.0); VECTORS];
            for (i, scores) in scores.chunks_exact_mut(ROWS * SIDE).enumerate() {
                let mut values = [[0.0; SIDE]; ROWS];
                let inside = count.saturating_sub(i * ROWS);
                let (rows, _) = scores.as_chunks::<SIDE>();
                for (row, values) in rows.iter().zip(&mut values).take(inside) {
                    let mut row = load::<S, VECTORS>(row);
                    for v in 0..VECTORS {
                        row[v] = exp_lanes(simd, simd.sub_f32s(row[v], top[v]));
                        total[v] = simd.add_f32s(total[v], row[v]);
                    }
                    store::<S, VECTORS>(row, values);
                }
                self.unit.split(&values, scores);
            }
            store::<S, VECTORS>(total, sum);
        }
    }
}

/// Gradients of a strip's rows.
pub struct GradStrip<'a> {
    pub unit: Unit,
    pub scores: &'a [f32],
    pub queries: (&'a [f32], usize),
    pub factors: &'a [f32],
    /// Queries times their factors, if those of the strip are the usual ones.
    pub weighted: Option<&'a [f32]>,
    pub gradient: &'a mut [f32],
    pub overwrite: bool,
    pub scratch: &'a mut Scratch,
}

impl GradStrip<'_> {
    pub fn run(self) {
        let (unit, width) = (self.unit, self.queries.1);
        let padded = filled_up(self.gradient.len() / width);
        let steps = self.factors.len().div_ceil(SIDE);
        let own = &mut *self.scratch.right.room(steps * STEP);
        let sums = self.scratch.sums.room(padded * SIDE);
        let tiles = unit.tiles();
        for (p, first) in (0..width).step_by(SIDE).enumerate() {
            let columns = first..width.min(first + SIDE);
            let right = match self.weighted {
                Some(weighted) => &weighted[p * steps * STEP..][..steps * STEP],
                None => {
                    let factors = Some(self.factors);
                    unit.across_rows(self.queries, columns.clone(), factors, Side::Right, own);
                    &*own
                }
            };
            for depth in depths(steps) {
                let right = Panel::new(&right[depth.start * STEP..]);
                let before = depth.start * padded * SIDE;
                for (i, sums) in sums.chunks_exact_mut(BLOCK).enumerate() {
                    // A panel of queries is a step, and blocks of rows lie side by side in it.
                    let left = Panel {
                        words: &self.scores[before + i * BLOCK..],
                        pitch: padded * SIDE,
                    };
                    tiles.block([left, right], depth.len(), sums, depth.start > 0);
                }
            }
            let (rows, _) = sums.as_chunks::<SIDE>();
            simd(
                #[inline(always)]
                || {
                    for (gradient, sums) in self.gradient.chunks_exact_mut(width).zip(rows) {
                        let out = &mut gradient[columns.clone()];
                        match self.overwrite {
                            true => out.copy_from_slice(&sums[..out.len()]),
                            false => out.iter_mut().zip(sums).for_each(|(out, x)| *out += x),
                        }
                    }
                },
            );
        }
    }
}
