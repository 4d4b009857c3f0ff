//! 1-vs-all and K-vs-all steps of models that score by a dot product, with a softmax: three matrix
//! products with the softmax between them.
//!
//! Entities are cut into strips, queries into tiles and panels. Scores lie by entity, so that the
//! softmax of a panel runs across queries, without horizontal sums, while a strip's scores are still
//! in the second-level cache. A strip's exponentials are relative to its own largest scores; what
//! they lack to probabilities is one factor for each query and strip, which the two products that
//! follow apply to a row of queries or to a sum, never to the scores. Right answers are subtracted
//! at the end. Strips, tiles and panels depend on sizes alone, so sums keep their order whatever the
//! number of threads.

use std::ops::Range;

use pulp::Simd;
use rayon::prelude::*;

use super::memory::Values;
use super::product::{
    MOST_ROWS, Tiled, add_columns, add_rows, load, pack_panels, panel, score_rows, store, tiled,
    zeros,
};
use super::simd::{simd, sum2};
use super::table::{Strip, View};
use super::vector::exp_lanes;
use crate::kernel::StepSpec;
use crate::loss::LossKind;
use crate::model::{Similarity, exp};
use crate::sampler::{Candidates, Plan};

/// Entities of a strip: with a tile's scores of it in the second-level cache.
const STRIP: usize = 512;
/// Bytes that the scores of a tile may take; those of wide entities may take a quarter of what these
/// do themselves.
const TILE_BYTES: usize = 16 << 20;
/// Queries of a tile, at most.
const TILE_QUERIES: usize = 512;
/// Queries that are multiplied before the next ones.
const DEPTH: usize = 256;
/// Entities that are multiplied before the next ones: their scores by a panel of queries stay in the
/// nearest cache.
const NEAR: usize = 128;
/// Sums of queries' gradients that a task keeps in the second-level cache.
const SUMS: usize = 192 << 10;

/// Whether a step goes this way.
pub(super) fn takes(spec: &StepSpec, width: usize) -> bool {
    width >= MOST_ROWS
        && spec.model.similarity() == Similarity::Dot
        && spec.loss.kind == LossKind::Softmax
        && spec.loss.smoothing == 0.0
}

/// Queries of a tile, of so many: as even as can be.
pub(super) fn tile((entities, width): (usize, usize), queries: usize) -> usize {
    let most = TILE_BYTES / (4 * entities.max(1));
    let most = most.max(width / 4).clamp(4, TILE_QUERIES);
    queries.div_ceil(queries.div_ceil(most).max(1))
}

/// Buffers of a tile.
#[derive(Debug, Default)]
pub(super) struct SoftmaxAll {
    /// Queries in panels: panels × width × the panel's columns.
    queries: Values,
    /// Scores, then their exponentials: strip after strip, panels × rows × columns.
    scores: Values,
    /// For every strip and query the largest score and the sum of exponentials, then the factor
    /// between exponentials and weighted probabilities.
    strips: Vec<StripSums>,
}

#[derive(Clone, Debug, Default)]
struct StripSums {
    largest: Vec<f32>,
    sum: Vec<f32>,
}

impl SoftmaxAll {
    /// Fills every buffer with values that are not numbers.
    pub fn poison(&mut self) {
        self.queries.fill(f32::NAN);
        self.scores.fill(f32::NAN);
        for strip in &mut self.strips {
            strip.largest.fill(f32::NAN);
            strip.sum.fill(f32::NAN);
        }
    }

    /// Losses and gradients of a tile of queries, of which `first` is the first in the plan.
    /// Overwrites `d_queries` and `losses`; adds to `gradients`, one slice a shard, or overwrites
    /// them.
    pub fn tile(
        &mut self,
        plan: &Plan,
        first: usize,
        queries: &[f32],
        table: &View<'_>,
        (d_queries, losses): (&mut [f32], &mut [f32]),
        (gradients, overwrite): (&mut [Vec<f32>], bool),
    ) {
        let strips = table.all_strips(STRIP);
        let (n, width, columns) = (losses.len(), table.spec.width, panel());
        pack_panels(queries, width, &mut self.queries);
        self.score(&strips, table, n, columns);
        self.normalise(plan, first, losses);
        self.grad_candidates(&strips, (queries, n), table, gradients, overwrite);
        self.grad_queries(&strips, table, d_queries);
        right_answers(plan, first, queries, table, (d_queries, losses), gradients);
    }

    /// Scores, largest scores and exponentials of every strip.
    fn score(&mut self, strips: &[Strip], table: &View<'_>, n: usize, columns: usize) {
        let padded = n.next_multiple_of(columns);
        let entities = table.spec.layout.rows();
        self.strips.resize(strips.len(), StripSums::default());
        let mut rest = self.scores.room(entities * padded);
        let mut tasks = Vec::new();
        for (strip, sums) in strips.iter().zip(&mut self.strips) {
            sums.largest.resize(padded, 0.0);
            sums.sum.resize(padded, 0.0);
            let (own, after) = rest.split_at_mut(strip.rows.len() * padded);
            rest = after;
            tasks.push((strip, own, sums));
        }
        let queries = &self.queries[..];
        tasks.into_par_iter().for_each(|(strip, scores, sums)| {
            let mut wide = Vec::new();
            tiled(ScoreStrip {
                rows: table.rows(strip.shard, strip.rows.clone(), &mut wide),
                width: table.spec.width,
                queries,
                scores,
                sums,
            });
        });
    }

    /// Losses, right answers aside, and factors.
    fn normalise(&mut self, plan: &Plan, first: usize, losses: &mut [f32]) {
        for (q, loss) in losses.iter_mut().enumerate() {
            let weight = plan.weights[first + q];
            let largest = |top: f32, strip: &StripSums| top.max(strip.largest[q]);
            let top = self.strips.iter().fold(f32::MIN, largest);
            let mut total = 0.0;
            for strip in &mut self.strips {
                let scale = exp(strip.largest[q] - top);
                total += f64::from(strip.sum[q]) * f64::from(scale);
                strip.sum[q] = scale;
            }
            let share = weight / total as f32;
            self.strips
                .iter_mut()
                .for_each(|strip| strip.sum[q] *= share);
            *loss = weight * (top + total.ln() as f32);
        }
        let n = losses.len();
        // Queries that only fill a panel up.
        self.strips
            .iter_mut()
            .for_each(|strip| strip.sum[n..].fill(0.0));
    }

    /// ∂loss/∂row of every entity, right answers aside.
    fn grad_candidates(
        &self,
        strips: &[Strip],
        (queries, n): (&[f32], usize),
        table: &View<'_>,
        gradients: &mut [Vec<f32>],
        overwrite: bool,
    ) {
        let width = table.spec.width;
        let padded = self.padded();
        let mut rest = &self.scores[..];
        let own = gradients
            .iter_mut()
            .flat_map(|shard| shard.chunks_mut(STRIP * width));
        let mut tasks = Vec::new();
        for ((strip, sums), gradient) in strips.iter().zip(&self.strips).zip(own) {
            let (scores, after) = rest.split_at(strip.rows.len() * padded);
            rest = after;
            tasks.push((scores, &sums.sum[..n], gradient));
        }
        tasks
            .into_par_iter()
            .for_each(|(scores, factors, gradient)| {
                tiled(GradStrip {
                    scores,
                    factors,
                    queries,
                    width,
                    gradient,
                    overwrite,
                });
            });
    }

    /// ∂loss/∂query of every query, right answers aside: some values of all queries at a time.
    fn grad_queries(&self, strips: &[Strip], table: &View<'_>, d_queries: &mut [f32]) {
        let (width, padded, columns) = (table.spec.width, self.padded(), panel());
        let (some, together) = cut(width, padded, columns);
        let starts = (0..padded).step_by(together);
        let tasks =
            starts.flat_map(|query| (0..width).step_by(some).map(move |column| (query, column)));
        let tasks: Vec<(usize, usize)> = tasks.collect();
        let parts = tasks.into_par_iter().map(|(query, column)| {
            let count = some.min(width - column);
            let end = padded.min(query + together);
            let mut sums = Values::zeros(count * (end - query));
            tiled(GradQueries {
                tile: self,
                strips,
                table,
                queries: query..end,
                column,
                count,
                sums: &mut sums,
            });
            (query..end, column, count, sums)
        });
        let parts: Vec<_> = parts.collect();
        let queries = d_queries.par_chunks_mut(width).enumerate();
        queries.with_min_len(16).for_each(|(q, out)| {
            for (queries, column, count, sums) in &parts {
                if queries.contains(&q) {
                    for (i, x) in out[*column..column + count].iter_mut().enumerate() {
                        *x = sums[i * queries.len() + q - queries.start];
                    }
                }
            }
        });
    }

    fn padded(&self) -> usize {
        self.strips.first().map_or(0, |strip| strip.sum.len())
    }
}

/// How many values of how many queries, in panels, one task works out: such that there are some tasks
/// for every thread, sums fit, and the least is read. Sums do not depend on it.
fn cut(width: usize, queries: usize, columns: usize) -> (usize, usize) {
    let tasks = 2 * rayon::current_num_threads();
    let wide = width.div_ceil(MOST_ROWS);
    let cuts = (1..=queries / columns).flat_map(|across| {
        let together = queries.div_ceil(across).next_multiple_of(columns);
        (1..=wide).map(move |along| (wide.div_ceil(along) * MOST_ROWS, together))
    });
    let fits = |&(some, together): &(usize, usize)| {
        let found = width.div_ceil(some) * queries.div_ceil(together);
        found >= tasks && some * together <= SUMS
    };
    let read = |&(some, together): &(usize, usize)| {
        width * queries.div_ceil(together) + queries * width.div_ceil(some)
    };
    let smallest = (MOST_ROWS, columns);
    let (some, together) = cuts.filter(fits).min_by_key(read).unwrap_or(smallest);
    (some.min(width), together)
}

/// Subtracts the right answers' labels from what the softmax gave.
fn right_answers(
    plan: &Plan,
    first: usize,
    queries: &[f32],
    table: &View<'_>,
    (d_queries, losses): (&mut [f32], &mut [f32]),
    gradients: &mut [Vec<f32>],
) {
    let Candidates::All { offsets, positives } = &plan.candidates else {
        return;
    };
    let width = table.spec.width;
    let mut wide = Vec::new();
    simd(
        #[inline(always)]
        || {
            let queries = queries
                .chunks_exact(width)
                .zip(d_queries.chunks_exact_mut(width));
            for (q, ((query, d_query), loss)) in queries.zip(losses.iter_mut()).enumerate() {
                let right = offsets[first + q] as usize..offsets[first + q + 1] as usize;
                let label = plan.weights[first + q] / right.len().max(1) as f32;
                for &row in &positives[right] {
                    let (shard, place) = table.spec.layout.locate(row);
                    let gradient = &mut gradients[shard][place * width..][..width];
                    let row = table.row(row, &mut wide);
                    *loss -= label * sum2(query, row, |q, e| q * e);
                    for k in 0..width {
                        d_query[k] -= label * row[k];
                        gradient[k] -= label * query[k];
                    }
                }
            }
        },
    );
}

/// Scores of a strip, replaced by their exponentials.
struct ScoreStrip<'a> {
    rows: &'a [f32],
    width: usize,
    queries: &'a [f32],
    scores: &'a mut [f32],
    sums: &'a mut StripSums,
}

impl Tiled for ScoreStrip<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const ROWS: usize, const VECTORS: usize>(self, simd: S) {
        let (width, columns) = (self.width, VECTORS * S::F32_LANES);
        let count = self.rows.len() / width;
        let panels = self.scores.chunks_exact_mut(count * columns);
        let queries = self.queries.chunks_exact(width * columns);
        let sums = self.sums.largest.chunks_exact_mut(columns);
        let sums = sums.zip(self.sums.sum.chunks_exact_mut(columns));
        for ((scores, queries), (largest, sum)) in panels.zip(queries).zip(sums) {
            let mut top = [simd.splat_f32s(f32::MIN); VECTORS];
            let rows = (self.rows, width);
            score_rows::<S, ROWS, VECTORS>(simd, rows, queries, scores, |tile| {
                for row in tile {
                    top = std::array::from_fn(|v| simd.max_f32s(row[v], top[v]));
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
struct GradStrip<'a> {
    scores: &'a [f32],
    factors: &'a [f32],
    queries: &'a [f32],
    width: usize,
    gradient: &'a mut [f32],
    overwrite: bool,
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
                    tile = std::array::from_fn(|k| load::<S, VECTORS>(&sums[row(k) * columns..]));
                }
                let panels = scores.chunks_exact(count * left);
                for (scores, right) in panels.zip(right.chunks(left * columns)) {
                    let rows = std::array::from_fn(|k| &scores[row(k) * left..][..left]);
                    tile = add_rows::<S, ROWS, VECTORS>(simd, tile, rows, right);
                }
                for (k, tile) in tile.into_iter().enumerate().take(count - i) {
                    store::<S, VECTORS>(tile, &mut sums[(i + k) * columns..]);
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
struct GradQueries<'a> {
    tile: &'a SoftmaxAll,
    strips: &'a [Strip],
    table: &'a View<'a>,
    queries: Range<usize>,
    column: usize,
    count: usize,
    sums: &'a mut [f32],
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
                    let kept = tile.into_iter().skip(skipped).take(self.count - i);
                    for (k, sums) in kept.enumerate() {
                        let out = (i + k) * self.queries.len() + before;
                        let out = &mut self.sums[out..][..columns];
                        let others = load::<S, VECTORS>(out);
                        let sums = std::array::from_fn(|v| {
                            simd.mul_add_e_f32s(factors[v], sums[v], others[v])
                        });
                        store::<S, VECTORS>(sums, out);
                    }
                }
            }
        }
    }
}
