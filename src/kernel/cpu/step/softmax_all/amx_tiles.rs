//! The three products by the matrix unit.
//!
//! Panels have [`SIDE`] queries, and blocks of entities are filled up to a multiple of as many rows.
//! Exponentials are relative to the score of a right answer, as long as no score of a block is far
//! larger, so that factors are the same in nearly all blocks, and weighted queries are packed once.
//! Exponentials are split where they lie: 16 rows of a panel take the same memory as values and as
//! halves.

use std::ops::Range;

use pulp::Simd;
use rayon::prelude::*;

use super::scratch::Scratch;
use super::{GradBlock, QueryTask, ScoreBlock, Tile, TileKernel};
use crate::kernel::cpu::matmul::amx::{MatrixUnit, Panel, SIDE, STEP, Side, Tiles};
use crate::kernel::cpu::matmul::microkernel::{self, Rows, Tiled, load, store, tiled};
use crate::kernel::cpu::simd::simd;
use crate::kernel::cpu::simd::vector::exp_lanes;
use crate::kernel::cpu::table::AlignedVec;

/// Steps of panels that are multiplied before the next ones: those of a block stay in the
/// second-level cache.
const DEPTH: usize = 16;
/// Distance of a block's largest score from the right answer's, above which the largest is the
/// reference.
const MAX_DISTANCE: f32 = 40.0;
/// Rows that are split at a time.
const SPLIT_ROWS: usize = 16;
/// Values of a square of sums.
const SQUARE: usize = SIDE * SIDE;
/// Groups of blocks of entities whose parts are added up; fixed, so that sums do not depend on the
/// number of threads.
const GROUPS: usize = 8;
/// Values of queries that a task computes, at most: a multiple of `SIDE`.
const TASK_VALUES: usize = 512;

/// Products in halves of bf16, by a matrix unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AmxTiles(pub MatrixUnit);

/// A few of `steps` steps at a time.
fn depths(steps: usize) -> impl Iterator<Item = Range<usize>> {
    microkernel::depths(steps, DEPTH, 1)
}

impl TileKernel for AmxTiles {
    /// Twice those of vectors: entities are packed anew for every tile.
    const TILE_BYTES: usize = 32 << 20;

    fn panel_columns(self) -> usize {
        SIDE
    }

    fn padded_rows(self, rows: usize) -> usize {
        rows.next_multiple_of(SIDE)
    }

    fn takes_references(self) -> bool {
        true
    }

    fn pack_queries(self, queries: &[f32], width: usize, packed: &mut AlignedVec) {
        let AmxTiles(unit) = self;
        let steps = width.div_ceil(SIDE);
        let panels = (queries.len() / width).div_ceil(SIDE);
        let panels = packed
            .resize_for_overwrite(panels * steps * STEP)
            .par_chunks_mut(steps * STEP);
        let queries = queries.par_chunks(SIDE * width);
        panels.zip(queries).for_each(|(panel, values)| {
            unit.along_rows(Rows { values, width }, 0..steps, Side::Right, panel);
        });
    }

    fn pack_weighted(
        self,
        queries: &[f32],
        width: usize,
        factors: &[f32],
        packed: &mut AlignedVec,
    ) {
        let AmxTiles(unit) = self;
        let rows = Rows {
            values: queries,
            width,
        };
        let steps = factors.len().div_ceil(SIDE);
        let panels = packed.resize_for_overwrite(width.div_ceil(SIDE) * steps * STEP);
        let panels = panels.par_chunks_mut(steps * STEP).enumerate();
        panels.for_each(|(p, panel)| {
            let columns = p * SIDE..width.min((p + 1) * SIDE);
            unit.across_rows(rows, columns, Some(factors), Side::Right, panel);
        });
    }

    fn score(self, mut block: ScoreBlock<'_>) {
        self.products(&mut block);
        tiled(Exponentials(self.0, block));
    }

    fn grad_candidates(self, block: GradBlock<'_>) {
        let AmxTiles(unit) = self;
        let (width, scores) = (block.width, block.scores);
        let queries = Rows {
            values: block.queries,
            width,
        };
        let padded = self.padded_rows(block.gradient.len() / width);
        let steps = block.factors.len().div_ceil(SIDE);
        let Scratch { right, sums, .. } = block.scratch;
        let own = right.resize_for_overwrite(steps * STEP);
        let sums = sums.resize_for_overwrite(padded * SIDE);
        let tiles = unit.tiles();
        for (p, first) in (0..width).step_by(SIDE).enumerate() {
            let columns = first..width.min(first + SIDE);
            let right = match block.weighted {
                Some(weighted) => &weighted[p * steps * STEP..][..steps * STEP],
                None => {
                    let factors = Some(block.factors);
                    unit.across_rows(queries, columns.clone(), factors, Side::Right, own);
                    &*own
                }
            };
            for depth in depths(steps) {
                let right = Panel::new(&right[depth.start * STEP..]);
                let before = depth.start * padded * SIDE;
                for (i, sums) in sums.chunks_exact_mut(SQUARE).enumerate() {
                    // A panel of queries is a step, and squares of rows lie side by side in it.
                    let left = Panel {
                        words: &scores[before + i * SQUARE..],
                        pitch: padded * SIDE,
                    };
                    tiles.block(left, right, depth.len(), sums, depth.start > 0);
                }
            }
            let (rows, _) = sums.as_chunks::<SIDE>();
            simd(
                #[inline(always)]
                || {
                    for (gradient, sums) in block.gradient.chunks_exact_mut(width).zip(rows) {
                        let out = &mut gradient[columns.clone()];
                        match block.overwrite {
                            true => out.copy_from_slice(&sums[..out.len()]),
                            false => out.iter_mut().zip(sums).for_each(|(out, x)| *out += x),
                        }
                    }
                },
            );
        }
    }

    fn query_tasks(self, tile: &Tile<'_>) -> Vec<QueryTask> {
        let width = tile.table.spec.width;
        let group = tile.blocks.len().div_ceil(GROUPS).max(1);
        let mut tasks = Vec::new();
        let mut first_row = 0;
        for first in (0..tile.blocks.len()).step_by(group) {
            let blocks = first..tile.blocks.len().min(first + group);
            for start in (0..width).step_by(TASK_VALUES) {
                tasks.push(QueryTask {
                    blocks: blocks.clone(),
                    first_row,
                    columns: start..width.min(start + TASK_VALUES),
                    queries: 0..tile.padded,
                });
            }
            let rows = |block: usize| self.padded_rows(tile.blocks[block].rows.len());
            first_row += blocks.map(rows).sum::<usize>();
        }
        tasks
    }

    /// A part lies in squares: panels of values × panels of queries.
    fn grad_queries(
        self,
        tile: &Tile<'_>,
        task: &QueryTask,
        part: &mut AlignedVec,
        scratch: &mut Scratch,
    ) {
        let AmxTiles(unit) = self;
        let (width, queries) = (tile.table.spec.width, tile.padded);
        let (panels, squares) = (queries / SIDE, task.columns.len().div_ceil(SIDE));
        let out = part.resize_for_overwrite(squares * queries * SIDE);
        out.fill(0.0);
        let tiles = unit.tiles();
        let Scratch { left, right, sums } = scratch;
        let sums = sums.resize_for_overwrite(squares * queries * SIDE);
        let mut wide = Vec::new();
        let mut first_row = task.first_row;
        // Sums of blocks whose factors are the same are weighted together.
        let mut fresh = true;
        for b in task.blocks.clone() {
            let block = &tile.blocks[b];
            let padded = self.padded_rows(block.rows.len());
            let rows = Rows {
                values: (tile.table).rows(block.shard, block.rows.clone(), &mut wide),
                width,
            };
            let scores = &tile.scores[first_row * queries..(first_row + padded) * queries];
            first_row += padded;
            let steps = padded / SIDE;
            let right = right.resize_for_overwrite(panels * steps * STEP);
            unit.rows_to_columns(scores, right);
            for (s, sums) in sums.chunks_exact_mut(panels * SQUARE).enumerate() {
                let start = task.columns.start + s * SIDE;
                let columns = start..task.columns.end.min(start + SIDE);
                let left = left.resize_for_overwrite(steps * STEP);
                unit.across_rows(rows, columns, None, Side::Left, left);
                add_panels(&tiles, left, right, steps, sums, !fresh);
            }
            let factors = &tile.sums[b].sum;
            let next = (b + 1 < task.blocks.end).then(|| &tile.sums[b + 1].sum);
            fresh = next != Some(factors);
            if fresh {
                weigh(sums, factors, out);
            }
        }
    }

    fn merge(
        self,
        tile: &Tile<'_>,
        task: &QueryTask,
        part: &[f32],
        first: usize,
        d_queries: &mut [f32],
    ) {
        let (width, p) = (tile.table.spec.width, first / SIDE);
        simd(
            #[inline(always)]
            || {
                for (s, squares) in part.chunks_exact(tile.padded * SIDE).enumerate() {
                    let start = task.columns.start + s * SIDE;
                    let end = task.columns.end.min(start + SIDE);
                    let (rows, _) = squares[p * SQUARE..][..SQUARE].as_chunks::<SIDE>();
                    for (q, out) in d_queries.chunks_exact_mut(width).enumerate() {
                        for (out, row) in out[start..end].iter_mut().zip(rows) {
                            *out += row[q];
                        }
                    }
                }
            },
        );
    }
}

impl AmxTiles {
    /// Scores of a block.
    fn products(self, block: &mut ScoreBlock<'_>) {
        let AmxTiles(unit) = self;
        let rows = Rows {
            values: block.rows,
            width: block.width,
        };
        let padded = self.padded_rows(rows.count());
        let steps = rows.width.div_ceil(SIDE);
        let tiles = unit.tiles();
        for depth in depths(steps) {
            let left =
                (block.scratch.left).resize_for_overwrite(padded / SIDE * depth.len() * STEP);
            unit.along_rows(rows, depth.clone(), Side::Left, left);
            let queries = block.queries.chunks_exact(steps * STEP);
            for (scores, right) in block.scores.chunks_exact_mut(padded * SIDE).zip(queries) {
                let right = Panel::new(&right[depth.start * STEP..]);
                let left = left.chunks_exact(depth.len() * STEP);
                for (sums, left) in scores.chunks_exact_mut(SQUARE).zip(left) {
                    let left = Panel::new(left);
                    tiles.block(left, right, depth.len(), sums, depth.start > 0);
                }
            }
        }
    }
}

/// A block's scores, to be replaced by the halves of their exponentials.
struct Exponentials<'a>(MatrixUnit, ScoreBlock<'a>);

impl Tiled for Exponentials<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const _V: usize>(self, simd: S) {
        // Registers of a panel's row: two where there is a unit, more where one is emulated.
        match S::F32_LANES {
            16 => self.replace::<S, 2>(simd),
            8 => self.replace::<S, 4>(simd),
            4 => self.replace::<S, 8>(simd),
            _ => self.replace::<S, 32>(simd),
        }
    }
}

impl Exponentials<'_> {
    #[inline(always)]
    fn replace<S: Simd, const VECTORS: usize>(self, simd: S) {
        let Exponentials(unit, block) = self;
        assert_eq!(VECTORS * S::F32_LANES, SIDE, "registers of a panel's row");
        let count = block.rows.len() / block.width;
        let padded = count.next_multiple_of(SIDE);
        let panels = block.scores.chunks_exact_mut(padded * SIDE);
        let references = block.references.chunks_exact(SIDE);
        let sums = block.sums.reference.chunks_exact_mut(SIDE);
        let sums = sums.zip(block.sums.sum.chunks_exact_mut(SIDE));
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
                let most = simd.add_f32s(top[v], simd.splat_f32s(MAX_DISTANCE));
                let far = simd.less_than_f32s(most, largest[v]);
                top[v] = simd.select_f32s(far, largest[v], top[v]);
            }
            store::<S, VECTORS>(top, reference);
            let mut total = [simd.splat_f32s(0.0); VECTORS];
            for (i, scores) in scores.chunks_exact_mut(SPLIT_ROWS * SIDE).enumerate() {
                let mut values = [[0.0; SIDE]; SPLIT_ROWS];
                let inside = count.saturating_sub(i * SPLIT_ROWS);
                let (rows, _) = scores.as_chunks::<SIDE>();
                for (row, values) in rows.iter().zip(&mut values).take(inside) {
                    let mut row = load::<S, VECTORS>(row);
                    for v in 0..VECTORS {
                        row[v] = exp_lanes(simd, simd.sub_f32s(row[v], top[v]));
                        total[v] = simd.add_f32s(total[v], row[v]);
                    }
                    store::<S, VECTORS>(row, values);
                }
                unit.split(&values, scores);
            }
            store::<S, VECTORS>(total, sum);
        }
    }
}

/// Adds the squares of one left panel and every right one, `steps` long each, to `sums`, or overwrites
/// them.
fn add_panels(
    tiles: &Tiles,
    left: &[f32],
    right: &[f32],
    steps: usize,
    sums: &mut [f32],
    add: bool,
) {
    for depth in depths(steps) {
        let left = Panel::new(&left[depth.start * STEP..]);
        let right = right.chunks_exact(steps * STEP);
        for (sums, right) in sums.chunks_exact_mut(SQUARE).zip(right) {
            let right = Panel::new(&right[depth.start * STEP..]);
            tiles.block(left, right, depth.len(), sums, add || depth.start > 0);
        }
    }
}

/// Adds squares whose columns are queries, each times its factor.
fn weigh(sums: &[f32], factors: &[f32], out: &mut [f32]) {
    simd(
        #[inline(always)]
        || {
            let blocks = sums.chunks_exact(SQUARE).zip(out.chunks_exact_mut(SQUARE));
            for ((sums, out), factors) in blocks.zip(factors.as_chunks::<SIDE>().0.iter().cycle()) {
                let rows = sums.as_chunks::<SIDE>().0.iter();
                for (sums, out) in rows.zip(out.as_chunks_mut::<SIDE>().0) {
                    for i in 0..SIDE {
                        out[i] += factors[i] * sums[i];
                    }
                }
            }
        },
    );
}
