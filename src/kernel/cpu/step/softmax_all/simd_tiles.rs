//! The three products, in tiles of registers: a strip of entities, or some values of queries, at a
//! time.

#[cfg(test)]
mod tests;

use std::ops::Range;

use pulp::Simd;

use crate::kernel::cpu::matmul::microkernel::{
    MOST_COLUMNS, ROWS, Tiled, depths, load, multiply, multiply_rows, pack_columns, score_rows,
    store, whole_tiles, zeros,
};
use crate::kernel::cpu::simd::vector::exp_lanes;
use crate::kernel::cpu::step::softmax_all::{Scratch, SoftmaxAll, StripSums};
use crate::kernel::cpu::table::prefetch::{prefetch_later, prefetch_line};
use crate::kernel::cpu::table::{Strip, View};

/// Queries, or entities, that are multiplied before the next ones, at most.
const DEPTH: usize = 256;
/// Scores of some entities by a panel of queries that stay in the nearest cache, while all values of
/// these entities are multiplied with them.
const NEAR: usize = 8 << 10;
/// Values of queries that are worked out before the next ones, at most: whole tiles.
const MOST_VALUES: usize = 42 * ROWS;

/// Entities whose scores stay in the second-level cache while all values of their gradients are worked
/// out: whole tiles.
const MOST_ENTITIES: usize = 21 * ROWS;

/// Scores of a strip, replaced by their exponentials.
pub struct ScoreStrip<'a> {
    pub rows: &'a [f32],
    pub width: usize,
    pub queries: &'a [f32],
    pub scores: &'a mut [f32],
    pub sums: &'a mut StripSums,
    pub scratch: &'a mut Scratch,
}

impl Tiled for ScoreStrip<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const VECTORS: usize>(self, simd: S) {
        let columns = VECTORS * S::F32_LANES;
        let count = self.rows.len() / self.width;
        let StripSums { reference, sum } = self.sums;
        let (rows, packed) = ((self.rows, self.width), &mut self.scratch.left);
        score_rows::<S, VECTORS>(
            simd,
            rows,
            self.queries,
            self.scores,
            packed,
            #[inline(always)]
            |p, scores| {
                let own = p * columns..(p + 1) * columns;
                let (reference, sum) = (&mut reference[own.clone()], &mut sum[own]);
                exponentials::<S, VECTORS>(simd, &mut scores[..count * columns], reference, sum);
            },
        );
    }
}

/// Replaces scores by exponentials relative to the largest of their column, and adds them up.
#[inline(always)]
fn exponentials<S: Simd, const VECTORS: usize>(
    simd: S,
    scores: &mut [f32],
    largest: &mut [f32],
    sum: &mut [f32],
) {
    let rows = S::as_mut_simd_f32s(scores).0.as_chunks_mut::<VECTORS>().0;
    let mut top = [simd.splat_f32s(f32::MIN); VECTORS];
    for row in rows.iter() {
        for v in 0..VECTORS {
            top[v] = simd.max_f32s(row[v], top[v]);
        }
    }
    let mut sums = [simd.splat_f32s(0.0); VECTORS];
    for row in rows {
        for v in 0..VECTORS {
            row[v] = exp_lanes(simd, simd.sub_f32s(row[v], top[v]));
            sums[v] = simd.add_f32s(sums[v], row[v]);
        }
    }
    store::<S, VECTORS>(top, largest);
    store::<S, VECTORS>(sums, sum);
}

/// Gradients of a strip's rows.
pub struct GradStrip<'a> {
    pub scores: &'a [f32],
    pub factors: &'a [f32],
    pub queries: &'a [f32],
    pub width: usize,
    pub gradient: &'a mut [f32],
    pub overwrite: bool,
    pub scratch: &'a mut Scratch,
}

impl Tiled for GradStrip<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const VECTORS: usize>(self, simd: S) {
        // As many whole panels as it takes, some of them a register narrower so that as little as
        // possible is left empty.
        let registers = self.width.div_ceil(S::F32_LANES);
        let panels = registers.div_ceil(VECTORS);
        let narrow = panels * VECTORS - registers;
        let columns = |panel: usize| match panel < narrow {
            true => (VECTORS - 1) * S::F32_LANES,
            false => VECTORS * S::F32_LANES,
        };
        let all: usize = (0..panels).map(columns).sum();
        let count = self.gradient.len() / self.width;
        let left = VECTORS * S::F32_LANES;
        let padded = self.factors.len().next_multiple_of(left);
        for steps in depths(padded, DEPTH, left) {
            let weighted = self.scratch.right.room(all * steps.len());
            let mut start = 0;
            for panel in 0..panels {
                let out = &mut weighted[start * steps.len()..][..columns(panel) * steps.len()];
                let (queries, factors) = ((self.queries, self.width), self.factors);
                weigh_queries(queries, factors, &steps, (start, columns(panel)), out);
                start += columns(panel);
            }
            let size = whole_tiles(count) * left;
            let scores = &self.scores[steps.start / left * size..steps.end / left * size];
            for first in (0..count).step_by(MOST_ENTITIES) {
                let mut column = 0;
                for panel in 0..panels {
                    let product = RowsProduct {
                        scores: (scores, size, left),
                        right: &weighted[column * steps.len()..],
                        width: self.width,
                        column,
                        add: steps.start > 0 || !self.overwrite,
                    };
                    let rows = first..count.min(first + MOST_ENTITIES);
                    let gradient = &mut *self.gradient;
                    match (panel < narrow, VECTORS) {
                        (true, 4) => product.add_to::<S, 3>(simd, rows, gradient),
                        (true, 2) => product.add_to::<S, 1>(simd, rows, gradient),
                        _ => product.add_to::<S, VECTORS>(simd, rows, gradient),
                    }
                    column += columns(panel);
                }
            }
        }
    }
}

/// Writes some values of queries, each times its factor, as a panel; zeros where there is no query.
#[inline(always)]
fn weigh_queries(
    (queries, width): (&[f32], usize),
    factors: &[f32],
    steps: &Range<usize>,
    (column, columns): (usize, usize),
    panel: &mut [f32],
) {
    let values = column..width.min(column + columns);
    let real = steps.start..steps.end.min(factors.len());
    let (own, beyond) = panel.split_at_mut(real.len() * columns);
    beyond.fill(0.0);
    let rows = queries[real.start * width..].chunks_exact(width);
    let rows = rows.zip(&factors[real]);
    for (out, (query, &factor)) in own.chunks_exact_mut(columns).zip(rows) {
        for (out, x) in out.iter_mut().zip(&query[values.clone()]) {
            *out = factor * x;
        }
    }
}

/// A product of rows' scores and a panel of weighted queries.
struct RowsProduct<'a> {
    /// Panels, how many values each has, and how many of them are a row's.
    scores: (&'a [f32], usize, usize),
    right: &'a [f32],
    width: usize,
    /// Where the panel's values begin in a row.
    column: usize,
    add: bool,
}

impl RowsProduct<'_> {
    /// Adds it to some rows, or overwrites them.
    #[inline(always)]
    fn add_to<S: Simd, const VECTORS: usize>(
        &self,
        simd: S,
        rows: Range<usize>,
        gradient: &mut [f32],
    ) {
        let (scores, size, left) = self.scores;
        let columns = VECTORS * S::F32_LANES;
        let some = columns.min(self.width - self.column);
        for first in rows.clone().step_by(ROWS) {
            let rows = first..rows.end.min(first + ROWS);
            let at = |row: usize| row * self.width + self.column;
            for row in rows.clone() {
                let start = gradient[at(row)..].as_ptr();
                prefetch_line(start);
                prefetch_line(start.wrapping_add(some - 1));
            }
            // Panels lie too far apart for the processor to see them coming.
            if self.column == 0 {
                for scores in scores.chunks_exact(size) {
                    let next = &scores[(first + ROWS) * left..];
                    prefetch_later(&next[..next.len().min(ROWS * left)]);
                }
            }
            let mut tile = zeros::<S, VECTORS>(simd);
            let panels = scores.chunks_exact(size);
            for (scores, right) in panels.zip(self.right.chunks_exact(left * columns)) {
                let own = (&scores[first * left..], left);
                tile = multiply_rows::<S, VECTORS>(simd, tile, own, right);
            }
            for (sums, row) in tile.into_iter().zip(rows) {
                let out = &mut gradient[at(row)..][..some];
                add_or_replace::<S, VECTORS>(simd, sums, self.add, out);
            }
        }
    }
}

/// Adds a row of a tile to values, or puts it there; as many as there are.
#[inline(always)]
fn add_or_replace<S: Simd, const VECTORS: usize>(
    simd: S,
    mut sums: [S::f32s; VECTORS],
    add: bool,
    out: &mut [f32],
) {
    if out.len() == VECTORS * S::F32_LANES {
        if add {
            let before = load::<S, VECTORS>(out);
            for v in 0..VECTORS {
                sums[v] = simd.add_f32s(before[v], sums[v]);
            }
        }
        return store::<S, VECTORS>(sums, out);
    }
    let mut own = [0.0; MOST_COLUMNS];
    store::<S, VECTORS>(sums, &mut own);
    match add {
        true => out.iter_mut().zip(own).for_each(|(out, x)| *out += x),
        false => out.copy_from_slice(&own[..out.len()]),
    }
}

/// Gradients of some values of all queries, by value.
pub struct GradQueries<'a> {
    pub tile: &'a SoftmaxAll,
    pub strips: &'a [Strip],
    pub table: &'a View<'a>,
    pub queries: Range<usize>,
    pub column: usize,
    pub count: usize,
    pub sums: &'a mut [f32],
    pub scratch: &'a mut Scratch,
}

impl Tiled for GradQueries<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const VECTORS: usize>(self, simd: S) {
        let (width, columns) = (self.table.spec.width, VECTORS * S::F32_LANES);
        let (padded, together) = (self.tile.padded(), self.queries.len());
        let near = (NEAR / columns).min(DEPTH);
        let mut wide = Vec::new();
        let mut rest = &self.tile.scores[..];
        for (strip, sums) in self.strips.iter().zip(&self.tile.strips) {
            let count = strip.rows.len();
            let rows = self.table.rows(strip.shard, strip.rows.clone(), &mut wide);
            let panel = whole_tiles(count) * columns;
            let (scores, after) = rest.split_at(whole_tiles(count) * padded);
            rest = after;
            for depth in depths(count, near, 1) {
                let rows = &rows[depth.start * width..depth.end * width];
                for first in (0..self.count).step_by(MOST_VALUES) {
                    let values = first..self.count.min(first + MOST_VALUES);
                    let tile = ROWS * depth.len();
                    let tiles = values.len().div_ceil(ROWS);
                    let left = self.scratch.left.room(tiles * tile);
                    let packed = self.column + values.start..self.column + values.end;
                    pack_columns((rows, width), packed, left);
                    for start in self.queries.clone().step_by(columns) {
                        let right = &scores[start / columns * panel..][..panel];
                        let right = &right[depth.start * columns..depth.end * columns];
                        let factors = load::<S, VECTORS>(&sums.sum[start..]);
                        let tiles = left.chunks_exact(tile).zip(values.clone().step_by(ROWS));
                        for (left, value) in tiles {
                            let values = value..values.end.min(value + ROWS);
                            let at = value * together + start - self.queries.start;
                            let out = &mut self.sums[at..];
                            for i in 0..values.len() {
                                prefetch_line(&out[i * together]);
                            }
                            let tile = zeros::<S, VECTORS>(simd);
                            let tile = multiply::<S, VECTORS>(simd, tile, left, right);
                            weigh(simd, &tile[..values.len()], factors, (out, together));
                        }
                    }
                }
            }
        }
    }
}

/// Adds rows of a tile, whose columns have factors, to rows that are `apart`.
#[inline(always)]
fn weigh<S: Simd, const VECTORS: usize>(
    simd: S,
    rows: &[[S::f32s; VECTORS]],
    factors: [S::f32s; VECTORS],
    (out, apart): (&mut [f32], usize),
) {
    for (row, out) in rows.iter().zip(out.chunks_mut(apart)) {
        let mut sums = load::<S, VECTORS>(out);
        for v in 0..VECTORS {
            sums[v] = simd.mul_add_e_f32s(factors[v], row[v], sums[v]);
        }
        store::<S, VECTORS>(sums, out);
    }
}
