//! Gradients of queries: groups of strips of entities, whose parts are added up in the end.

use std::ops::Range;

use rayon::prelude::*;

use crate::kernel::cpu::matmul::amx::{Panel, SIDE, STEP, Side, Tiles, Unit};
use crate::kernel::cpu::simd::simd;
use crate::kernel::cpu::step::softmax_all::amx_tiles::{BLOCK, depths, filled_up};
use crate::kernel::cpu::step::softmax_all::{Scratch, SoftmaxAll, StripSums};
use crate::kernel::cpu::table::Values;
use crate::kernel::cpu::table::{Strip, View};

/// Groups of strips whose parts are added up; fixed, so that sums do not depend on the number of
/// threads.
const GROUPS: usize = 8;
/// Values of queries that a task works out, at most: a multiple of `SIDE`.
const TOGETHER: usize = 512;

/// What a group of strips adds to some values of the gradients of all queries, in blocks: panels of
/// values × panels of queries.
struct GradQueries<'a> {
    unit: Unit,
    tile: &'a SoftmaxAll,
    strips: &'a [Strip],
    sums: &'a [StripSums],
    /// Where the scores of the first strip begin.
    first: usize,
    table: &'a View<'a>,
    columns: Range<usize>,
    out: &'a mut Values,
    scratch: &'a mut Scratch,
}

impl GradQueries<'_> {
    fn run(self) {
        let (width, queries) = (self.table.spec.width, self.tile.padded());
        let (panels, blocks) = (queries / SIDE, self.columns.len().div_ceil(SIDE));
        let out = self.out.room(blocks * queries * SIDE);
        out.fill(0.0);
        let tiles = self.unit.tiles();
        let Scratch { left, right, sums } = self.scratch;
        let sums = sums.room(blocks * queries * SIDE);
        let mut wide = Vec::new();
        let mut first = self.first;
        // Sums of strips whose factors are the same are weighted together.
        let mut fresh = true;
        for (s, strip) in self.strips.iter().enumerate() {
            let padded = filled_up(strip.rows.len());
            let rows = self.table.rows(strip.shard, strip.rows.clone(), &mut wide);
            let scores = &self.tile.scores[first * queries..(first + padded) * queries];
            first += padded;
            let steps = padded / SIDE;
            let right = right.room(panels * steps * STEP);
            self.unit.rows_to_columns(scores, right);
            for (b, sums) in sums.chunks_exact_mut(panels * BLOCK).enumerate() {
                let start = self.columns.start + b * SIDE;
                let columns = start..self.columns.end.min(start + SIDE);
                let left = left.room(steps * STEP);
                self.unit
                    .across_rows((rows, width), columns, None, Side::Left, left);
                add_panels(&tiles, left, right, steps, sums, !fresh);
            }
            let factors = &self.sums[s].sum;
            let next = self.sums.get(s + 1).map(|next| &next.sum);
            fresh = next != Some(factors);
            if fresh {
                weigh(sums, factors, out);
            }
        }
    }
}

/// Blocks of one left panel and every right one, `steps` long each.
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
        for (sums, right) in sums.chunks_exact_mut(BLOCK).zip(right) {
            let right = Panel::new(&right[depth.start * STEP..]);
            tiles.block([left, right], depth.len(), sums, add || depth.start > 0);
        }
    }
}

/// Adds blocks whose columns are queries, each times its factor.
fn weigh(sums: &[f32], factors: &[f32], out: &mut [f32]) {
    simd(
        #[inline(always)]
        || {
            let blocks = sums.chunks_exact(BLOCK).zip(out.chunks_exact_mut(BLOCK));
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

/// ∂loss/∂query of every query, right answers aside.
pub fn grad_queries(
    unit: Unit,
    tile: &SoftmaxAll,
    strips: &[Strip],
    table: &View<'_>,
    parts: &mut Vec<Values>,
    d_queries: &mut [f32],
) {
    let (width, queries) = (table.spec.width, tile.padded());
    let group = strips.len().div_ceil(GROUPS);
    let mut tasks = Vec::new();
    let mut first = 0;
    for (strips, sums) in strips.chunks(group).zip(tile.strips.chunks(group)) {
        for start in (0..width).step_by(TOGETHER) {
            tasks.push((strips, sums, first, start..width.min(start + TOGETHER)));
        }
        first += strips
            .iter()
            .map(|strip| filled_up(strip.rows.len()))
            .sum::<usize>();
    }
    parts.resize_with(tasks.len(), Values::default);
    let outputs = parts.par_iter_mut().zip(&tasks);
    outputs.for_each(|(out, (strips, sums, first, columns))| {
        let task = GradQueries {
            unit,
            tile,
            strips,
            sums,
            first: *first,
            table,
            columns: columns.clone(),
            out,
            scratch: &mut tile.pool.own(),
        };
        task.run();
    });
    let outputs = d_queries.par_chunks_mut(SIDE * width).enumerate();
    outputs.for_each(|(p, out)| {
        out.fill(0.0);
        simd(
            #[inline(always)]
            || {
                for (blocks, (_, _, _, columns)) in parts.iter().zip(&tasks) {
                    for (b, blocks) in blocks.chunks_exact(queries * SIDE).enumerate() {
                        let start = columns.start + b * SIDE;
                        let end = columns.end.min(start + SIDE);
                        let (rows, _) = blocks[p * BLOCK..][..BLOCK].as_chunks::<SIDE>();
                        for (q, out) in out.chunks_exact_mut(width).enumerate() {
                            for (out, row) in out[start..end].iter_mut().zip(rows) {
                                *out += row[q];
                            }
                        }
                    }
                }
            },
        );
    });
}
