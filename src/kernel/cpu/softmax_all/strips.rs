//! The three products, in tiles of registers: a strip of entities, or some values of queries, at a
//! time.

use std::ops::Range;

use pulp::Simd;

use super::{SoftmaxAll, StripSums};
use crate::kernel::cpu::memory::Values;
use crate::kernel::cpu::product::{Tiled, add_columns, add_rows, load, score_rows, store, zeros};
use crate::kernel::cpu::table::{Strip, View};
use crate::kernel::cpu::vector::exp_lanes;

/// Queries that are multiplied before the next ones.
const DEPTH: usize = 256;
/// Entities that are multiplied before the next ones: their scores by a panel of queries stay in the
/// nearest cache.
const NEAR: usize = 128;

/// Scores of a strip, replaced by their exponentials.
pub(super) struct ScoreStrip<'a> {
    pub rows: &'a [f32],
    pub width: usize,
    pub queries: &'a [f32],
    pub scores: &'a mut [f32],
    pub sums: &'a mut StripSums,
}

impl Tiled for ScoreStrip<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const ROWS: usize, const VECTORS: usize>(self, simd: S) {
        let (width, columns) = (self.width, VECTORS * S::F32_LANES);
        let count = self.rows.len() / width;
        let panels = self.scores.chunks_exact_mut(count * columns);
        let queries = self.queries.chunks_exact(width * columns);
        let sums = self.sums.reference.chunks_exact_mut(columns);
        let sums = sums.zip(self.sums.sum.chunks_exact_mut(columns));
        for ((scores, queries), (largest, sum)) in panels.zip(queries).zip(sums) {
            let mut top = [simd.splat_f32s(f32::MIN); VECTORS];
            let rows = (self.rows, width);
            score_rows::<S, ROWS, VECTORS>(simd, rows, queries, scores, |tile| {
                for row in tile {
                    for v in 0..VECTORS {
                        top[v] = simd.max_f32s(row[v], top[v]);
                    }
                }
            });
            store::<S, VECTORS>(top, largest);
            store::<S, VECTORS>(exponentials(simd, scores, top), sum);
        }
    }
}

/// Replaces scores by exponentials relative to the largest of their column, and adds them up.
#[inline(always)]
fn exponentials<S: Simd, const VECTORS: usize>(
    simd: S,
    scores: &mut [f32],
    largest: [S::f32s; VECTORS],
) -> [S::f32s; VECTORS] {
    let mut sums = [simd.splat_f32s(0.0); VECTORS];
    for row in S::as_mut_simd_f32s(scores).0.as_chunks_mut::<VECTORS>().0 {
        for v in 0..VECTORS {
            row[v] = exp_lanes(simd, simd.sub_f32s(row[v], largest[v]));
            sums[v] = simd.add_f32s(sums[v], row[v]);
        }
    }
    sums
}

/// Gradients of a strip's rows.
pub(super) struct GradStrip<'a> {
    pub scores: &'a [f32],
    pub factors: &'a [f32],
    pub queries: &'a [f32],
    pub width: usize,
    pub gradient: &'a mut [f32],
    pub overwrite: bool,
}

impl Tiled for GradStrip<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const ROWS: usize, const VECTORS: usize>(mut self, simd: S) {
        // As many whole panels as it takes, some of them a register narrower so that as little as
        // possible is left empty.
        let registers = self.width.div_ceil(S::F32_LANES);
        let panels = registers.div_ceil(VECTORS);
        let narrow = panels * VECTORS - registers;
        let left = VECTORS * S::F32_LANES;
        let mut buffers = (
            Values::zeros(self.factors.len() * left),
            Values::zeros(self.gradient.len() / self.width * left),
        );
        let mut column = 0;
        for panel in 0..panels {
            let buffers = (&mut buffers.0[..], &mut buffers.1[..]);
            column += match (panel < narrow, VECTORS) {
                (true, 4) => self.panel::<S, ROWS, 3>(simd, left, column, buffers),
                (true, 3) => self.panel::<S, ROWS, 2>(simd, left, column, buffers),
                _ => self.panel::<S, ROWS, VECTORS>(simd, left, column, buffers),
            };
        }
    }
}

impl GradStrip<'_> {
    /// The values from `column` on, as many as `VECTORS` registers hold, for scores in panels of
    /// `left` columns.
    #[inline(always)]
    fn panel<S: Simd, const ROWS: usize, const VECTORS: usize>(
        &mut self,
        simd: S,
        left: usize,
        column: usize,
        (right, sums): (&mut [f32], &mut [f32]),
    ) -> usize {
        let (width, columns) = (self.width, VECTORS * S::F32_LANES);
        let count = self.gradient.len() / width;
        let some = columns.min(width.saturating_sub(column));
        let rows = (right.chunks_exact_mut(columns)).zip(self.queries.chunks_exact(width));
        for ((out, query), &factor) in rows.zip(self.factors) {
            for (out, x) in out.iter_mut().zip(&query[column..column + some]) {
                *out = factor * x;
            }
        }
        let right = &right[..self.factors.len() * columns];
        let near = DEPTH / left;
        let panels = self.scores.chunks(near * count * left);
        let deep = panels.zip(right.chunks(near * left * columns));
        for (p, (scores, right)) in deep.enumerate() {
            for i in (0..count).step_by(ROWS) {
                let row = |k: usize| (i + k).min(count - 1);
                let mut tile = zeros::<S, ROWS, VECTORS>(simd);
                if p > 0 {
                    for k in 0..ROWS {
                        tile[k] = load::<S, VECTORS>(&sums[row(k) * columns..]);
                    }
                }
                let panels = scores.chunks_exact(count * left);
                for (scores, right) in panels.zip(right.chunks(left * columns)) {
                    let mut rows: [&[f32]; ROWS] = [&[]; ROWS];
                    for k in 0..ROWS {
                        rows[k] = &scores[row(k) * left..][..left];
                    }
                    tile = add_rows::<S, ROWS, VECTORS>(simd, tile, rows, right);
                }
                for k in 0..ROWS {
                    if i + k < count {
                        store::<S, VECTORS>(tile[k], &mut sums[(i + k) * columns..]);
                    }
                }
            }
        }
        let rows = (self.gradient.chunks_exact_mut(width)).zip(sums.chunks_exact(columns));
        for (gradient, sums) in rows {
            let out = &mut gradient[column..column + some];
            match self.overwrite {
                true => out.copy_from_slice(&sums[..some]),
                false => out.iter_mut().zip(sums).for_each(|(out, x)| *out += x),
            }
        }
        some
    }
}

/// Gradients of some values of all queries, by value.
pub(super) struct GradQueries<'a> {
    pub tile: &'a SoftmaxAll,
    pub strips: &'a [Strip],
    pub table: &'a View<'a>,
    pub queries: Range<usize>,
    pub column: usize,
    pub count: usize,
    pub sums: &'a mut [f32],
}

impl Tiled for GradQueries<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const ROWS: usize, const VECTORS: usize>(self, simd: S) {
        let (width, columns) = (self.table.spec.width, VECTORS * S::F32_LANES);
        let padded = self.tile.padded();
        let mut wide = Vec::new();
        for (strip, sums) in self.strips.iter().zip(&self.tile.strips) {
            let count = strip.rows.len();
            let rows = self.table.rows(strip.shard, strip.rows.clone(), &mut wide);
            let scores = &self.tile.scores[strip.before * padded..][..count * padded];
            let own = self.queries.start / columns..self.queries.end / columns;
            let deep = (0..count).step_by(NEAR);
            for (first, p) in deep.flat_map(|first| own.clone().map(move |p| (first, p))) {
                let end = count.min(first + NEAR);
                let right = &scores[(p * count + first) * columns..(p * count + end) * columns];
                let factors = load::<S, VECTORS>(&sums.sum[p * columns..]);
                let before = (p - own.start) * columns;
                for i in (0..self.count).step_by(ROWS) {
                    // The last tile may begin earlier, so that it does not end beyond the row.
                    let at = (self.column + i).min(width - ROWS);
                    let tile = zeros::<S, ROWS, VECTORS>(simd);
                    let left = (&rows[first * width..end * width], width, at);
                    let tile = add_columns::<S, ROWS, VECTORS>(simd, tile, left, right);
                    let skipped = self.column + i - at;
                    for (k, tile) in tile.iter().enumerate() {
                        let row = (i + k).wrapping_sub(skipped);
                        if k < skipped || row >= self.count {
                            continue;
                        }
                        let out = row * self.queries.len() + before;
                        let out = &mut self.sums[out..][..columns];
                        let mut sums = load::<S, VECTORS>(out);
                        for v in 0..VECTORS {
                            sums[v] = simd.mul_add_e_f32s(factors[v], tile[v], sums[v]);
                        }
                        store::<S, VECTORS>(sums, out);
                    }
                }
            }
        }
    }
}
