//! 1-vs-all and K-vs-all steps of models that score by a dot product, with a softmax: three matrix
//! products with the softmax between them.
//!
//! Entities are cut into blocks, queries into tiles and panels. Scores lie by entity, so that the
//! softmax of a panel runs across queries, without horizontal sums, while a block's scores are still
//! in the second-level cache. A block's exponentials are relative to references of its own; their
//! distance to probabilities is one factor for each query and block, which the two products that
//! follow apply to a row of queries or to a sum, never to the scores. Right answers are subtracted
//! at the end. Blocks, tiles and panels depend on sizes alone, so sums keep their order whatever the
//! number of threads.
//!
//! One driver, [`SoftmaxAll`], runs the products of a [`TileKernel`]: [`SimdTiles`] in vector
//! registers, or [`AmxTiles`] on a matrix unit.

mod amx_tiles;
mod scratch;
mod simd_tiles;
#[cfg(test)]
mod tests;

use std::ops::Range;

use rayon::prelude::*;

pub use self::amx_tiles::AmxTiles;
use self::scratch::{Pool, Scratch};
pub use self::simd_tiles::SimdTiles;
use crate::kernel::cpu::simd::{simd, sum2};
use crate::kernel::cpu::table::{AlignedVec, RowBlock, TableReadGuard};
use crate::loss::Statistic;
use crate::model::exp;
use crate::sampler::{Candidates, PartPlan, Plan};

/// Entities of a block: with a tile's scores of it in the second-level cache.
const BLOCK_ROWS: usize = 512;
/// Queries of a tile, at most.
const TILE_QUERIES: usize = 512;

/// Matrix products of blocks of entities with a tile of queries.
///
/// Queries lie in panels of [`TileKernel::panel_columns`], filled up with zeros. Scores of a block are
/// panels × [`TileKernel::padded_rows`] × columns; the kernel keeps exponentials in their place, in
/// whatever form its other products take them.
pub trait TileKernel: Copy + Sync {
    /// Bytes that the scores of a tile may take; those of wide entities may take a quarter of what the
    /// entities take.
    const TILE_BYTES: usize;

    /// Columns of a panel.
    fn panel_columns(self) -> usize;

    /// Rows of scores of a block with `rows` entities.
    fn padded_rows(self, rows: usize) -> usize;

    /// Whether exponentials are relative to [`ScoreBlock::references`] where they can be, instead of
    /// the largest score of a block.
    fn takes_references(self) -> bool;

    /// Overwrites `packed` with queries, of `width` values each, in panels.
    fn pack_queries(self, queries: &[f32], width: usize, packed: &mut AlignedVec);

    /// Overwrites `packed` with queries times their factors, if the kernel uses them packed.
    fn pack_weighted(self, queries: &[f32], width: usize, factors: &[f32], packed: &mut AlignedVec);

    /// Overwrites a block's scores with exponentials, and `sums` with their references and sums.
    fn score(self, block: ScoreBlock<'_>);

    /// Adds to ∂loss/∂row of a block's entities, or overwrites it.
    fn grad_candidates(self, block: GradBlock<'_>);

    /// Cuts the product for ∂loss/∂query into tasks, whose results are parts.
    fn query_tasks(self, tile: &Tile<'_>) -> Vec<QueryTask>;

    /// Overwrites a part: the sums of a task.
    fn grad_queries(
        self,
        tile: &Tile<'_>,
        task: &QueryTask,
        part: &mut AlignedVec,
        scratch: &mut Scratch,
    );

    /// Puts a part into `d_queries`, the gradients of successive queries of `width` values from
    /// `first` on, a panel at most; or adds it. They are zero before the first part.
    fn merge(
        self,
        tile: &Tile<'_>,
        task: &QueryTask,
        part: &[f32],
        first: usize,
        d_queries: &mut [f32],
    );
}

/// Queries × entities of a block, to be scored.
pub struct ScoreBlock<'a> {
    /// Entities of the block, of `width` values each.
    pub rows: &'a [f32],
    pub width: usize,
    /// Packed queries.
    pub queries: &'a [f32],
    /// A score for each query that exponentials may be relative to.
    pub references: &'a [f32],
    pub scores: &'a mut [f32],
    pub sums: &'a mut BlockSums,
    pub scratch: &'a mut Scratch,
}

/// Exponentials of a block × queries, to be multiplied.
pub struct GradBlock<'a> {
    pub scores: &'a [f32],
    /// Queries as they are, of `width` values each.
    pub queries: &'a [f32],
    pub width: usize,
    /// A factor for each query.
    pub factors: &'a [f32],
    /// Queries times `factors`, packed, if the block's factors are those that were packed.
    pub weighted: Option<&'a [f32]>,
    /// Gradients of the block's entities.
    pub gradient: &'a mut [f32],
    pub overwrite: bool,
    pub scratch: &'a mut Scratch,
}

/// A tile of queries whose scores are exponentials, and all entities.
pub struct Tile<'a> {
    pub blocks: &'a [RowBlock],
    /// One for each block.
    pub sums: &'a [BlockSums],
    /// Block after block.
    pub scores: &'a [f32],
    pub table: &'a TableReadGuard<'a>,
    /// Queries in whole panels.
    pub padded: usize,
}

/// A task of the product for ∂loss/∂query.
#[derive(Clone, Debug)]
pub struct QueryTask {
    /// Blocks that are summed.
    pub blocks: Range<usize>,
    /// Row of the first block's scores, counted over all blocks.
    pub first_row: usize,
    /// Values of queries.
    pub columns: Range<usize>,
    /// Queries, in whole panels.
    pub queries: Range<usize>,
}

/// For every query a block's reference, the largest score as a rule, and the sum of its exponentials,
/// which are relative to it; then, in place of the sum, the factor between exponentials and weighted
/// probabilities.
#[derive(Clone, Debug, Default)]
pub struct BlockSums {
    pub reference: Vec<f32>,
    pub sum: Vec<f32>,
}

/// Gradients that a tile adds to, or overwrites.
pub struct TileGradients<'a> {
    /// ∂loss/∂query: overwritten.
    pub d_queries: &'a mut [f32],
    /// Losses of the queries, from which right answers are subtracted.
    pub losses: &'a mut [f32],
    /// ∂loss/∂row of every entity, one slice a shard.
    pub entities: &'a mut [AlignedVec],
    /// Whether `entities` is overwritten.
    pub overwrite: bool,
}

/// Right answers and weights of the queries of a step.
#[derive(Clone, Copy)]
pub struct Labels<'a> {
    weights: &'a [f32],
    /// Query `q` has the right answers `answers[offsets[q]..offsets[q + 1]]`, rows of the table.
    offsets: &'a [u32],
    answers: &'a [u32],
    /// Number of right answers of each query, in the table or not; none if all are in the table.
    all_answers: Option<&'a [u32]>,
}

impl<'a> Labels<'a> {
    /// Labels of a plan whose candidates are all entities.
    pub fn of_plan(plan: &'a Plan) -> Option<Labels<'a>> {
        let Candidates::All { offsets, positives } = &plan.candidates else {
            return None;
        };
        Some(Labels {
            weights: &plan.weights,
            offsets,
            answers: positives,
            all_answers: None,
        })
    }

    /// Labels of a part of the entity table.
    pub fn of_part(plan: &'a PartPlan) -> Labels<'a> {
        Labels {
            weights: &plan.weights,
            offsets: &plan.offsets,
            answers: &plan.answers,
            all_answers: Some(&plan.all_answers),
        }
    }

    /// Right answers of a query that are rows of the table.
    fn answers(&self, query: usize) -> &'a [u32] {
        &self.answers[self.offsets[query] as usize..self.offsets[query + 1] as usize]
    }

    /// Weight of one right answer of a query.
    fn label(&self, query: usize) -> f32 {
        let count = match self.all_answers {
            Some(counts) => counts[query] as usize,
            None => self.answers(query).len(),
        };
        self.weights[query] / count.max(1) as f32
    }
}

/// Queries of a tile.
#[derive(Clone, Copy)]
pub struct TileQueries<'a> {
    /// Labels of the step.
    pub labels: Labels<'a>,
    /// Number in the step of the tile's first query.
    pub first: usize,
    /// Vectors of the tile's queries, row-major.
    pub vectors: &'a [f32],
}

/// Largest score of a query against all rows of a table, and the sum of its exponentials, which are relative to
/// the largest score.
#[derive(Clone, Copy, Debug)]
struct Total {
    largest: f32,
    sum: f64,
}

/// Buffers of a tile.
#[derive(Debug, Default)]
pub struct SoftmaxAll {
    /// Packed left sides and panels.
    pool: Pool,
    references: Vec<f32>,
    /// Queries in panels, and times their factors.
    queries: AlignedVec,
    weighted: AlignedVec,
    /// Scores, then exponentials: block after block.
    scores: AlignedVec,
    sums: Vec<BlockSums>,
    /// One for each query of the tile.
    totals: Vec<Total>,
    /// Parts of the gradients of queries.
    parts: Vec<AlignedVec>,
}

impl SoftmaxAll {
    /// Fills every buffer with values that are not numbers.
    pub fn poison(&mut self) {
        let SoftmaxAll {
            pool,
            references,
            queries,
            weighted,
            scores,
            sums,
            totals,
            parts,
        } = self;
        pool.poison();
        totals.clear();
        references.fill(f32::NAN);
        for buffer in [queries, weighted, scores].into_iter().chain(parts) {
            buffer.fill(f32::NAN);
        }
        for block in sums {
            block.reference.fill(f32::NAN);
            block.sum.fill(f32::NAN);
        }
    }

    /// Losses and gradients of a tile of queries.
    pub fn tile<K: TileKernel>(
        &mut self,
        kernel: K,
        queries: TileQueries<'_>,
        table: &TableReadGuard<'_>,
        out: TileGradients<'_>,
    ) {
        self.score_tile(kernel, queries, table);
        let mut scales = Vec::with_capacity(out.losses.len());
        let weights = &queries.labels.weights[queries.first..];
        for ((total, &weight), loss) in self.totals.iter().zip(weights).zip(&mut *out.losses) {
            scales.push(weight / total.sum as f32);
            *loss = weight * (total.largest + total.sum.ln() as f32);
        }
        self.gradients(kernel, queries, table, &scales, out);
    }

    /// Exponentials of a tile of queries, and their totals.
    pub fn score_tile<K: TileKernel>(
        &mut self,
        kernel: K,
        queries: TileQueries<'_>,
        table: &TableReadGuard<'_>,
    ) {
        let blocks = table.row_blocks(BLOCK_ROWS);
        let width = table.spec.width;
        self.pool.grow();
        if kernel.takes_references() {
            self.choose_references(kernel, queries, table);
        }
        let n = queries.vectors.len() / width;
        kernel.pack_queries(queries.vectors, width, &mut self.queries);
        self.score(kernel, &blocks, table, n);
        self.add_up(n);
    }

    /// Totals of the tile that was scored, one for each query.
    pub fn statistics(&self) -> impl Iterator<Item = Statistic> + '_ {
        self.totals.iter().map(|total| Statistic {
            largest: total.largest,
            sum: total.sum as f32,
        })
    }

    /// Gradients of the tile that was scored, where the table is a part and `all` are the statistics of all
    /// parts; subtracts right answers from the losses.
    pub fn part_gradients<K: TileKernel>(
        &mut self,
        kernel: K,
        queries: TileQueries<'_>,
        table: &TableReadGuard<'_>,
        all: &[Statistic],
        out: TileGradients<'_>,
    ) {
        let weights = &queries.labels.weights[queries.first..];
        let scales: Vec<f32> = (self.totals.iter().zip(all).zip(weights))
            .map(|((own, all), weight)| exp(own.largest - all.largest) * (weight / all.sum))
            .collect();
        self.gradients(kernel, queries, table, &scales, out);
    }

    /// Gradients of the tile that was scored, given the factor between each query's exponentials, relative to
    /// its largest score in the table, and weighted probabilities.
    fn gradients<K: TileKernel>(
        &mut self,
        kernel: K,
        queries: TileQueries<'_>,
        table: &TableReadGuard<'_>,
        scales: &[f32],
        mut out: TileGradients<'_>,
    ) {
        let blocks = table.row_blocks(BLOCK_ROWS);
        let (n, width) = (out.losses.len(), table.spec.width);
        for block in &mut self.sums {
            for (factor, scale) in block.sum.iter_mut().zip(scales) {
                *factor *= scale;
            }
            // Queries that only fill a panel up.
            block.sum[n..].fill(0.0);
        }
        if let Some(block) = self.sums.first() {
            kernel.pack_weighted(queries.vectors, width, &block.sum[..n], &mut self.weighted);
        }
        self.grad_candidates(kernel, &blocks, queries.vectors, table, &mut out);
        self.grad_queries(kernel, &blocks, table, out.d_queries);
        right_answers(queries, table, &mut out);
    }

    /// The score of each query's first right answer.
    fn choose_references<K: TileKernel>(
        &mut self,
        kernel: K,
        queries: TileQueries<'_>,
        table: &TableReadGuard<'_>,
    ) {
        let width = table.spec.width;
        let TileQueries {
            labels,
            first,
            vectors,
        } = queries;
        let n = vectors.len() / width;
        self.references.clear();
        (self.references).resize(n.next_multiple_of(kernel.panel_columns()), 0.0);
        let mut wide = Vec::new();
        for (q, query) in vectors.chunks_exact(width).enumerate() {
            self.references[q] = match labels.answers(first + q).first() {
                Some(&row) => dot(query, table.row(row, &mut wide)),
                // Every block takes its largest score.
                None => f32::MIN,
            };
        }
    }

    /// Exponentials of every block, with their references and sums.
    fn score<K: TileKernel>(
        &mut self,
        kernel: K,
        blocks: &[RowBlock],
        table: &TableReadGuard<'_>,
        n: usize,
    ) {
        let padded = n.next_multiple_of(kernel.panel_columns());
        let rows = |block: &RowBlock| kernel.padded_rows(block.rows.len());
        self.sums.resize(blocks.len(), BlockSums::default());
        let values = blocks.iter().map(rows).sum::<usize>() * padded;
        let mut rest = self.scores.resize_for_overwrite(values);
        let mut tasks = Vec::new();
        for (block, sums) in blocks.iter().zip(&mut self.sums) {
            sums.reference.resize(padded, 0.0);
            sums.sum.resize(padded, 0.0);
            let (own, after) = rest.split_at_mut(rows(block) * padded);
            rest = after;
            tasks.push((block, own, sums));
        }
        let (queries, width) = (&self.queries[..], table.spec.width);
        let (pool, references) = (&self.pool, &self.references[..]);
        tasks.into_par_iter().for_each(|(block, scores, sums)| {
            let mut wide = Vec::new();
            kernel.score(ScoreBlock {
                rows: table.rows(block.shard, block.rows.clone(), &mut wide),
                width,
                queries,
                references,
                scores,
                sums,
                scratch: &mut pool.own(),
            });
        });
    }

    /// Totals of the queries; leaves in every block the factors between its exponentials and those that are
    /// relative to the totals' largest scores.
    fn add_up(&mut self, n: usize) {
        self.totals.clear();
        for q in 0..n {
            let top = |top: f32, block: &BlockSums| top.max(block.reference[q]);
            let largest = self.sums.iter().fold(f32::MIN, top);
            let mut sum = 0.0;
            for block in &mut self.sums {
                let scale = exp(block.reference[q] - largest);
                sum += f64::from(block.sum[q]) * f64::from(scale);
                block.sum[q] = scale;
            }
            self.totals.push(Total { largest, sum });
        }
    }

    /// ∂loss/∂row of every entity, right answers aside.
    fn grad_candidates<K: TileKernel>(
        &self,
        kernel: K,
        blocks: &[RowBlock],
        queries: &[f32],
        table: &TableReadGuard<'_>,
        out: &mut TileGradients<'_>,
    ) {
        let (n, width, overwrite) = (out.losses.len(), table.spec.width, out.overwrite);
        let padded = n.next_multiple_of(kernel.panel_columns());
        let mut rest = &self.scores[..];
        let own = (out.entities.iter_mut()).flat_map(|shard| shard.chunks_mut(BLOCK_ROWS * width));
        let mut tasks = Vec::new();
        for ((block, sums), gradient) in blocks.iter().zip(&self.sums).zip(own) {
            let (scores, after) = rest.split_at(kernel.padded_rows(block.rows.len()) * padded);
            rest = after;
            tasks.push((scores, &sums.sum[..n], gradient));
        }
        let packed = self.sums.first().map(|block| &block.sum[..n]);
        let tasks = tasks.into_par_iter();
        tasks.for_each(|(scores, factors, gradient)| {
            kernel.grad_candidates(GradBlock {
                scores,
                queries,
                width,
                factors,
                weighted: (packed == Some(factors)).then_some(&self.weighted[..]),
                gradient,
                overwrite,
                scratch: &mut self.pool.own(),
            });
        });
    }

    /// ∂loss/∂query of every query, right answers aside.
    fn grad_queries<K: TileKernel>(
        &mut self,
        kernel: K,
        blocks: &[RowBlock],
        table: &TableReadGuard<'_>,
        d_queries: &mut [f32],
    ) {
        let (width, columns) = (table.spec.width, kernel.panel_columns());
        let tile = &Tile {
            blocks,
            sums: &self.sums,
            scores: &self.scores,
            table,
            padded: (d_queries.len() / width).next_multiple_of(columns),
        };
        let tasks = kernel.query_tasks(tile);
        let mut parts = std::mem::take(&mut self.parts);
        parts.resize_with(tasks.len(), AlignedVec::default);
        (parts.par_iter_mut().zip(&tasks))
            .for_each(|(part, task)| kernel.grad_queries(tile, task, part, &mut self.pool.own()));
        let panels = d_queries.par_chunks_mut(columns * width).enumerate();
        panels.for_each(|(p, out)| {
            out.fill(0.0);
            for (part, task) in parts.iter().zip(&tasks) {
                kernel.merge(tile, task, part, p * columns, out);
            }
        });
        self.parts = parts;
    }
}

/// Queries of a tile, of `queries` in a step: tiles are as even as can be.
pub fn tile_queries<K: TileKernel>(entities: usize, width: usize, queries: usize) -> usize {
    let most = K::TILE_BYTES / (4 * entities.max(1));
    let most = most.max(width / 4).clamp(4, TILE_QUERIES);
    queries.div_ceil(queries.div_ceil(most).max(1))
}

/// The product of two rows.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    simd(
        #[inline(always)]
        || sum2(a, b, |a, b| a * b),
    )
}

/// Subtracts the right answers' labels from the softmax's gradients and losses.
fn right_answers(
    queries: TileQueries<'_>,
    table: &TableReadGuard<'_>,
    out: &mut TileGradients<'_>,
) {
    let TileQueries {
        labels,
        first,
        vectors,
    } = queries;
    let width = table.spec.width;
    let mut wide = Vec::new();
    simd(
        #[inline(always)]
        || {
            let queries = (vectors.chunks_exact(width)).zip(out.d_queries.chunks_exact_mut(width));
            for (q, ((query, d_query), loss)) in queries.zip(out.losses.iter_mut()).enumerate() {
                let label = labels.label(first + q);
                for &row in labels.answers(first + q) {
                    let (shard, place) = table.spec.layout.locate(row);
                    let gradient = &mut out.entities[shard][place * width..][..width];
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
