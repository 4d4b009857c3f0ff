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

mod blocks;
mod scratch;
mod strips;

use rayon::prelude::*;

use self::scratch::{Pool, Scratch};
use self::strips::{GradQueries, GradStrip, ScoreStrip};
use super::amx::{SIDE, Unit};
use super::memory::Values;
use super::product::{ROWS, pack_panels, panel, tiled, whole_tiles};
use super::simd::{simd, sum2};
use super::table::{Strip, View};
use crate::kernel::{MatmulPrecision, StepSpec};
use crate::loss::LossKind;
use crate::model::{Similarity, exp};
use crate::sampler::{Candidates, Plan};

/// Entities of a strip: with a tile's scores of it in the second-level cache.
const STRIP: usize = 512;
/// Bytes that the scores of a tile may take; those of wide entities may take a quarter of what these
/// do themselves.
const TILE_BYTES: usize = 16 << 20;
/// The same for the matrix unit, for which entities are packed anew for every tile.
const UNIT_TILE_BYTES: usize = 32 << 20;
/// Queries of a tile, at most.
const TILE_QUERIES: usize = 512;
/// Sums of queries' gradients that a task keeps in the second-level cache.
const SUMS: usize = 192 << 10;

/// Whether a step goes this way.
pub(super) fn takes(spec: &StepSpec, width: usize) -> bool {
    width >= ROWS
        && spec.model.similarity() == Similarity::Dot
        && spec.loss.kind == LossKind::Softmax
        && spec.loss.smoothing == 0.0
}

/// Buffers of a tile.
#[derive(Debug, Default)]
pub(super) struct SoftmaxAll {
    /// What multiplies: the matrix unit, or vector registers.
    unit: Option<Unit>,
    /// Packed left sides and panels.
    pool: Pool,
    /// What the unit needs: what exponentials are relative to, queries times their factors, and parts
    /// of the gradients of queries.
    references: Vec<f32>,
    weighted: Values,
    parts: Vec<Values>,
    /// Queries in panels: panels × width × the panel's columns.
    queries: Values,
    /// Scores, then their exponentials: strip after strip, panels × rows × columns.
    scores: Values,
    /// For every strip and query what exponentials are relative to, the largest score as a rule, and
    /// their sum; then the factor between exponentials and weighted probabilities.
    strips: Vec<StripSums>,
}

#[derive(Clone, Debug, Default)]
struct StripSums {
    reference: Vec<f32>,
    sum: Vec<f32>,
}

impl SoftmaxAll {
    /// Fills every buffer with values that are not numbers.
    pub fn poison(&mut self) {
        self.queries.fill(f32::NAN);
        self.scores.fill(f32::NAN);
        self.pool.poison();
        self.references.fill(f32::NAN);
        self.weighted.fill(f32::NAN);
        self.parts.iter_mut().for_each(|part| part.fill(f32::NAN));
        for strip in &mut self.strips {
            strip.reference.fill(f32::NAN);
            strip.sum.fill(f32::NAN);
        }
    }

    /// Where steps may be a little less exact, the matrix unit multiplies if there is one.
    pub fn choose(&mut self, products: MatmulPrecision) {
        self.unit = match products {
            MatmulPrecision::Bf16x3 => Unit::get(),
            MatmulPrecision::F32 => None,
        };
    }

    /// Queries of a tile, of so many: as even as can be.
    pub fn tile_queries(&self, (entities, width): (usize, usize), queries: usize) -> usize {
        let bytes = self.unit.map_or(TILE_BYTES, |_| UNIT_TILE_BYTES);
        let most = bytes / (4 * entities.max(1));
        let most = most.max(width / 4).clamp(4, TILE_QUERIES);
        queries.div_ceil(queries.div_ceil(most).max(1))
    }

    /// Columns of a panel.
    fn panel(&self) -> usize {
        self.unit.map_or_else(panel, |_| SIDE)
    }

    /// Rows that the scores of a strip take.
    fn rows(&self, strip: &Strip) -> usize {
        let rows = strip.rows.len();
        self.unit
            .map_or_else(|| whole_tiles(rows), |_| blocks::filled_up(rows))
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
        (gradients, overwrite): (&mut [Values], bool),
    ) {
        let strips = table.all_strips(STRIP);
        let (n, width) = (losses.len(), table.spec.width);
        self.pool.grow();
        match self.unit {
            None => pack_panels(queries, width, &mut self.queries),
            Some(unit) => {
                self.refer(plan, first, queries, table);
                blocks::pack_queries(unit, queries, width, &mut self.queries);
            }
        }
        self.score(&strips, table, n);
        self.normalise(plan, first, losses);
        if let (Some(unit), Some(strip)) = (self.unit, self.strips.first()) {
            let (queries, factors) = ((queries, width), &strip.sum[..n]);
            blocks::pack_weighted(unit, queries, factors, &mut self.weighted);
        }
        self.grad_candidates(&strips, (queries, n), table, gradients, overwrite);
        match self.unit {
            None => self.grad_queries(&strips, table, d_queries),
            Some(unit) => {
                let mut parts = std::mem::take(&mut self.parts);
                blocks::grad_queries(unit, self, &strips, table, &mut parts, d_queries);
                self.parts = parts;
            }
        }
        right_answers(plan, first, queries, table, (d_queries, losses), gradients);
    }

    /// The score of each query's first right answer.
    fn refer(&mut self, plan: &Plan, first: usize, queries: &[f32], table: &View<'_>) {
        let Candidates::All { offsets, positives } = &plan.candidates else {
            return;
        };
        let width = table.spec.width;
        let n = queries.len() / width;
        self.references.clear();
        self.references.resize(blocks::filled_up(n), 0.0);
        let mut wide = Vec::new();
        for (q, query) in queries.chunks_exact(width).enumerate() {
            let right = offsets[first + q] as usize..offsets[first + q + 1] as usize;
            self.references[q] = match positives[right].first() {
                Some(&row) => dot(query, table.row(row, &mut wide)),
                // Every strip takes its largest.
                None => f32::MIN,
            };
        }
    }

    /// Scores, largest scores and exponentials of every strip.
    fn score(&mut self, strips: &[Strip], table: &View<'_>, n: usize) {
        let padded = n.next_multiple_of(self.panel());
        let rows: Vec<usize> = strips.iter().map(|strip| self.rows(strip)).collect();
        self.strips.resize(strips.len(), StripSums::default());
        let mut rest = self.scores.room(rows.iter().sum::<usize>() * padded);
        let mut tasks = Vec::new();
        for ((strip, sums), rows) in strips.iter().zip(&mut self.strips).zip(rows) {
            sums.reference.resize(padded, 0.0);
            sums.sum.resize(padded, 0.0);
            let (own, after) = rest.split_at_mut(rows * padded);
            rest = after;
            tasks.push((strip, own, sums));
        }
        let (unit, queries, width) = (self.unit, &self.queries[..], table.spec.width);
        let (pool, references) = (&self.pool, &self.references[..]);
        tasks.into_par_iter().for_each(|(strip, scores, sums)| {
            let mut wide = Vec::new();
            let rows = table.rows(strip.shard, strip.rows.clone(), &mut wide);
            let scratch = &mut *pool.own();
            match unit {
                None => tiled(ScoreStrip {
                    rows,
                    width,
                    queries,
                    scores,
                    sums,
                    scratch,
                }),
                Some(unit) => blocks::ScoreStrip {
                    unit,
                    rows,
                    width,
                    queries,
                    references,
                    scores,
                    sums,
                    scratch,
                }
                .run(),
            }
        });
    }

    /// Losses, right answers aside, and factors.
    fn normalise(&mut self, plan: &Plan, first: usize, losses: &mut [f32]) {
        for (q, loss) in losses.iter_mut().enumerate() {
            let weight = plan.weights[first + q];
            let largest = |top: f32, strip: &StripSums| top.max(strip.reference[q]);
            let top = self.strips.iter().fold(f32::MIN, largest);
            let mut total = 0.0;
            for strip in &mut self.strips {
                let scale = exp(strip.reference[q] - top);
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
        gradients: &mut [Values],
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
            let (scores, after) = rest.split_at(self.rows(strip) * padded);
            rest = after;
            tasks.push((scores, &sums.sum[..n], gradient));
        }
        let usual = self.strips.first().map(|strip| &strip.sum[..n]);
        let tasks = tasks.into_par_iter();
        tasks.for_each(|(scores, factors, gradient)| {
            let scratch = &mut *self.pool.own();
            match self.unit {
                None => tiled(GradStrip {
                    scores,
                    factors,
                    queries,
                    width,
                    gradient,
                    overwrite,
                    scratch,
                }),
                Some(unit) => blocks::GradStrip {
                    unit,
                    scores,
                    queries: (queries, width),
                    factors,
                    weighted: (usual == Some(factors)).then_some(&self.weighted[..]),
                    gradient,
                    overwrite,
                    scratch,
                }
                .run(),
            }
        });
    }

    /// ∂loss/∂query of every query, right answers aside: some values of all queries at a time.
    fn grad_queries(&self, strips: &[Strip], table: &View<'_>, d_queries: &mut [f32]) {
        let (width, padded) = (table.spec.width, self.padded());
        let (some, together) = cut(width, padded, self.panel());
        let starts = (0..padded).step_by(together);
        let tasks =
            starts.flat_map(|query| (0..width).step_by(some).map(move |column| (query, column)));
        let tasks: Vec<(usize, usize)> = tasks.collect();
        let parts = tasks.into_par_iter().map(|(query, column)| {
            let count = some.min(width - column);
            let queries = query..padded.min(query + together);
            let mut sums = Values::zeros(count * queries.len());
            tiled(GradQueries {
                tile: self,
                strips,
                table,
                queries: queries.clone(),
                column,
                count,
                sums: &mut sums,
                scratch: &mut self.pool.own(),
            });
            (queries, column, count, sums)
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
    let wide = width.div_ceil(ROWS);
    let cuts = (1..=queries / columns).flat_map(|across| {
        let together = queries.div_ceil(across).next_multiple_of(columns);
        (1..=wide).map(move |along| (wide.div_ceil(along) * ROWS, together))
    });
    let fits = |&(some, together): &(usize, usize)| {
        let found = width.div_ceil(some) * queries.div_ceil(together);
        found >= tasks && some * together <= SUMS
    };
    let read = |&(some, together): &(usize, usize)| {
        width * queries.div_ceil(together) + queries * width.div_ceil(some)
    };
    let smallest = (ROWS, columns);
    let (some, together) = cuts.filter(fits).min_by_key(read).unwrap_or(smallest);
    (some.min(width), together)
}

/// The product of two rows.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    simd(
        #[inline(always)]
        || sum2(a, b, |a, b| a * b),
    )
}

/// Subtracts the right answers' labels from what the softmax gave.
fn right_answers(
    plan: &Plan,
    first: usize,
    queries: &[f32],
    table: &View<'_>,
    (d_queries, losses): (&mut [f32], &mut [f32]),
    gradients: &mut [Values],
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
