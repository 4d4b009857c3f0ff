//! The three products in tiles of vector registers.

#[cfg(test)]
mod tests;

use std::ops::Range;

use pulp::Simd;

use super::scratch::Scratch;
use super::{BlockSums, GradBlock, QueryTask, ScoreBlock, Tile, TileKernel};
use crate::kernel::cpu::matmul::microkernel::{
    MOST_COLUMNS, ROWS, Rows, Tiled, depths, load, multiply, multiply_rows, pack_columns,
    pack_panels, panel, score_rows, store, tiled, whole_tiles, zeros,
};
use crate::kernel::cpu::simd::vector::exp_lanes;
use crate::kernel::cpu::table::AlignedVec;
use crate::kernel::cpu::table::prefetch::{L1, L2, prefetch, prefetch_line};

/// Queries, or entities, that are multiplied before the next ones, at most.
const DEPTH: usize = 256;
/// Scores of some entities by a panel of queries that stay in the nearest cache, while all values of
/// these entities are multiplied with them.
const L1_SCORES: usize = 8 << 10;
/// Values of queries that are worked out before the next ones, at most: whole tiles.
const MOST_VALUES: usize = 42 * ROWS;

/// Entities whose scores stay in the second-level cache while all values of their gradients are worked
/// out: whole tiles.
const MOST_ENTITIES: usize = 21 * ROWS;

/// Sums of queries' gradients that a task keeps in the second-level cache.
const TASK_SUMS: usize = 192 << 10;

/// Products in `f32`, in vector registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimdTiles;

impl TileKernel for SimdTiles {
    const TILE_BYTES: usize = 16 << 20;

    fn panel_columns(self) -> usize {
        panel()
    }

    fn padded_rows(self, rows: usize) -> usize {
        whole_tiles(rows)
    }

    fn takes_references(self) -> bool {
        false
    }

    fn pack_queries(self, queries: &[f32], width: usize, packed: &mut AlignedVec) {
        pack_panels(queries, width, packed);
    }

    /// Unused: factors differ from block to block, and are applied while a block is packed.
    fn pack_weighted(self, _: &[f32], _: usize, _: &[f32], _: &mut AlignedVec) {}

    fn score(self, block: ScoreBlock<'_>) {
        tiled(ScoreTask(block));
    }

    fn grad_candidates(self, block: GradBlock<'_>) {
        tiled(GradTask(block));
    }

    fn query_tasks(self, tile: &Tile<'_>) -> Vec<QueryTask> {
        let width = tile.table.spec.width;
        let size = task_size(width, tile.padded, panel());
        let starts = (0..tile.padded).step_by(size.queries);
        let tasks = starts.flat_map(|query| {
            let columns = (0..width).step_by(size.values);
            let queries = query..tile.padded.min(query + size.queries);
            columns.map(move |column| QueryTask {
                blocks: 0..tile.blocks.len(),
                first_row: 0,
                columns: column..width.min(column + size.values),
                queries: queries.clone(),
            })
        });
        tasks.collect()
    }

    fn grad_queries(
        self,
        tile: &Tile<'_>,
        task: &QueryTask,
        part: &mut AlignedVec,
        scratch: &mut Scratch,
    ) {
        let out = part.resize_for_overwrite(task.columns.len() * task.queries.len());
        out.fill(0.0);
        tiled(QuerySums {
            tile,
            task,
            out,
            scratch,
        });
    }

    /// A part has a value of all its queries after the other.
    fn merge(
        self,
        tile: &Tile<'_>,
        task: &QueryTask,
        part: &[f32],
        first: usize,
        d_queries: &mut [f32],
    ) {
        if !task.queries.contains(&first) {
            return;
        }
        let (width, together) = (tile.table.spec.width, task.queries.len());
        let at = first - task.queries.start;
        for (q, out) in d_queries.chunks_exact_mut(width).enumerate() {
            for (i, x) in out[task.columns.clone()].iter_mut().enumerate() {
                *x = part[i * together + at + q];
            }
        }
    }
}

/// Part of the gradients of queries that one task computes.
struct TaskSize {
    /// Values of a query.
    values: usize,
    /// Queries, in whole panels.
    queries: usize,
}

/// The largest tasks of which every thread gets two, whose sums fit in the second-level cache, and that
/// read the least. No sum depends on it.
fn task_size(width: usize, queries: usize, columns: usize) -> TaskSize {
    let tasks = 2 * rayon::current_num_threads();
    let wide = width.div_ceil(ROWS);
    let cuts = (1..=queries / columns).flat_map(|across| {
        let together = queries.div_ceil(across).next_multiple_of(columns);
        (1..=wide).map(move |along| (wide.div_ceil(along) * ROWS, together))
    });
    let fits = |&(some, together): &(usize, usize)| {
        let found = width.div_ceil(some) * queries.div_ceil(together);
        found >= tasks && some * together <= TASK_SUMS
    };
    let read = |&(some, together): &(usize, usize)| {
        width * queries.div_ceil(together) + queries * width.div_ceil(some)
    };
    let smallest = (ROWS, columns);
    let (some, together) = cuts.filter(fits).min_by_key(read).unwrap_or(smallest);
    TaskSize {
        values: some.min(width),
        queries: together,
    }
}

/// Scores of a block, replaced by their exponentials.
struct ScoreTask<'a>(ScoreBlock<'a>);

impl Tiled for ScoreTask<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const VECTORS: usize>(self, simd: S) {
        let ScoreTask(block) = self;
        let columns = VECTORS * S::F32_LANES;
        let count = block.rows.len() / block.width;
        let BlockSums { reference, sum } = block.sums;
        score_rows::<S, VECTORS>(
            simd,
            Rows {
                values: block.rows,
                width: block.width,
            },
            block.queries,
            block.scores,
            &mut block.scratch.left,
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

/// Gradients of a block's rows.
struct GradTask<'a>(GradBlock<'a>);

impl Tiled for GradTask<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const VECTORS: usize>(self, simd: S) {
        let GradTask(block) = self;
        // As many whole panels as it takes, some of them a register narrower so that as little as
        // possible is left empty.
        let registers = block.width.div_ceil(S::F32_LANES);
        let panels = registers.div_ceil(VECTORS);
        let narrow = panels * VECTORS - registers;
        let columns = |panel: usize| match panel < narrow {
            true => (VECTORS - 1) * S::F32_LANES,
            false => VECTORS * S::F32_LANES,
        };
        let all: usize = (0..panels).map(columns).sum();
        let count = block.gradient.len() / block.width;
        let left = VECTORS * S::F32_LANES;
        let padded = block.factors.len().next_multiple_of(left);
        let weighted_queries = WeightedQueries {
            queries: block.queries,
            width: block.width,
            factors: block.factors,
        };
        for steps in depths(padded, DEPTH, left) {
            let weighted = block.scratch.right.resize_for_overwrite(all * steps.len());
            let mut start = 0;
            for panel in 0..panels {
                let out = &mut weighted[start * steps.len()..][..columns(panel) * steps.len()];
                let values = start..block.width.min(start + columns(panel));
                weighted_queries.pack(&steps, values, columns(panel), out);
                start += columns(panel);
            }
            let size = whole_tiles(count) * left;
            let scores = &block.scores[steps.start / left * size..steps.end / left * size];
            for first in (0..count).step_by(MOST_ENTITIES) {
                let mut column = 0;
                for panel in 0..panels {
                    let product = RowsProduct {
                        scores,
                        panel_values: size,
                        row_values: left,
                        right: &weighted[column * steps.len()..],
                        width: block.width,
                        column,
                        add: steps.start > 0 || !block.overwrite,
                    };
                    let rows = first..count.min(first + MOST_ENTITIES);
                    let gradient = &mut *block.gradient;
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

/// Queries, each times its factor.
struct WeightedQueries<'a> {
    queries: &'a [f32],
    width: usize,
    factors: &'a [f32],
}

impl WeightedQueries<'_> {
    /// Writes some values of some queries as a panel of `columns`; zeros where there is no query.
    #[inline(always)]
    fn pack(&self, steps: &Range<usize>, values: Range<usize>, columns: usize, panel: &mut [f32]) {
        let real = steps.start..steps.end.min(self.factors.len());
        let (own, beyond) = panel.split_at_mut(real.len() * columns);
        beyond.fill(0.0);
        let rows = self.queries[real.start * self.width..].chunks_exact(self.width);
        let rows = rows.zip(&self.factors[real]);
        for (out, (query, &factor)) in own.chunks_exact_mut(columns).zip(rows) {
            for (out, x) in out.iter_mut().zip(&query[values.clone()]) {
                *out = factor * x;
            }
        }
    }
}

/// A product of rows' scores and a panel of weighted queries.
struct RowsProduct<'a> {
    /// Panels of scores.
    scores: &'a [f32],
    /// Values of a panel, and of a row of it.
    panel_values: usize,
    row_values: usize,
    right: &'a [f32],
    width: usize,
    /// First of the panel's values in a row.
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
        let (scores, size, left) = (self.scores, self.panel_values, self.row_values);
        let columns = VECTORS * S::F32_LANES;
        let some = columns.min(self.width - self.column);
        for first in rows.clone().step_by(ROWS) {
            let rows = first..rows.end.min(first + ROWS);
            let at = |row: usize| row * self.width + self.column;
            for row in rows.clone() {
                let start = gradient[at(row)..].as_ptr();
                prefetch_line::<_, L1>(start);
                prefetch_line::<_, L1>(start.wrapping_add(some - 1));
            }
            // Panels lie too far apart for the processor to see them coming.
            if self.column == 0 {
                for scores in scores.chunks_exact(size) {
                    let next = &scores[(first + ROWS) * left..];
                    prefetch::<_, L2>(&next[..next.len().min(ROWS * left)]);
                }
            }
            let mut tile = zeros::<S, VECTORS>(simd);
            let panels = scores.chunks_exact(size);
            for (scores, right) in panels.zip(self.right.chunks_exact(left * columns)) {
                let own = &scores[first * left..];
                tile = multiply_rows::<S, VECTORS>(simd, tile, own, left, right);
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

/// Gradients of some values of some queries, by value.
struct QuerySums<'a> {
    tile: &'a Tile<'a>,
    task: &'a QueryTask,
    out: &'a mut [f32],
    scratch: &'a mut Scratch,
}

impl Tiled for QuerySums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const VECTORS: usize>(self, simd: S) {
        let QuerySums {
            tile,
            task,
            out: all_sums,
            scratch,
        } = self;
        let (width, columns) = (tile.table.spec.width, VECTORS * S::F32_LANES);
        let (padded, together) = (tile.padded, task.queries.len());
        let most = (L1_SCORES / columns).min(DEPTH);
        let mut wide = Vec::new();
        let mut rest = &tile.scores[task.first_row * padded..];
        let blocks = tile.blocks[task.blocks.clone()].iter();
        for (block, sums) in blocks.zip(&tile.sums[task.blocks.clone()]) {
            let count = block.rows.len();
            let rows = tile.table.rows(block.shard, block.rows.clone(), &mut wide);
            let panel = whole_tiles(count) * columns;
            let (scores, after) = rest.split_at(whole_tiles(count) * padded);
            rest = after;
            for depth in depths(count, most, 1) {
                let rows = &rows[depth.start * width..depth.end * width];
                for first in (0..task.columns.len()).step_by(MOST_VALUES) {
                    let values = first..task.columns.len().min(first + MOST_VALUES);
                    let tile = ROWS * depth.len();
                    let tiles = values.len().div_ceil(ROWS);
                    let left = scratch.left.resize_for_overwrite(tiles * tile);
                    let packed = task.columns.start + values.start..task.columns.start + values.end;
                    let rows = Rows {
                        values: rows,
                        width,
                    };
                    pack_columns(rows, packed, left);
                    for start in task.queries.clone().step_by(columns) {
                        let right = &scores[start / columns * panel..][..panel];
                        let right = &right[depth.start * columns..depth.end * columns];
                        let factors = load::<S, VECTORS>(&sums.sum[start..]);
                        let tiles = left.chunks_exact(tile).zip(values.clone().step_by(ROWS));
                        for (left, value) in tiles {
                            let values = value..values.end.min(value + ROWS);
                            let at = value * together + start - task.queries.start;
                            let out = &mut all_sums[at..];
                            for i in 0..values.len() {
                                prefetch_line::<_, L1>(&out[i * together]);
                            }
                            let tile = zeros::<S, VECTORS>(simd);
                            let tile = multiply::<S, VECTORS>(simd, tile, left, right);
                            weigh(simd, &tile[..values.len()], factors, out, together);
                        }
                    }
                }
            }
        }
    }
}

/// Adds rows of a tile, whose columns have factors, to rows that begin `apart` values one after the other.
#[inline(always)]
fn weigh<S: Simd, const VECTORS: usize>(
    simd: S,
    rows: &[[S::f32s; VECTORS]],
    factors: [S::f32s; VECTORS],
    out: &mut [f32],
    apart: usize,
) {
    for (row, out) in rows.iter().zip(out.chunks_mut(apart)) {
        let mut sums = load::<S, VECTORS>(out);
        for v in 0..VECTORS {
            sums[v] = simd.mul_add_e_f32s(factors[v], row[v], sums[v]);
        }
        store::<S, VECTORS>(sums, out);
    }
}
