//! Rankings of models that score by a dot product: products in tiles, counted a block of entities at a
//! time, so that scores are never written out.
//!
//! The target's score comes first, from a product of the targets' rows with the queries: each score
//! is the same sum in the same order wherever it stands, so ties are exact.

use pulp::Simd;
use rayon::prelude::*;

use crate::kernel::RankCounts;
use crate::kernel::cpu::matmul::microkernel::{
    MOST_COLUMNS, Rows, Tiled, pack_panels, panel, score_rows, tiled, whole_tiles,
};
use crate::kernel::cpu::table::AlignedVec;
use crate::kernel::cpu::table::{RowBlock, TableReadGuard};

/// Entities of a block: packed, they stay in the second-level cache.
const BLOCK_ROWS: usize = 256;
/// Queries of a tile.
pub const TILE: usize = 512;

/// Overwrites `thresholds` with the score of each query against its target. `targets` are queries × width, as
/// `queries` are.
pub fn target_scores(queries: &[f32], targets: &[f32], width: usize, thresholds: &mut [f32]) {
    let columns = panel();
    let mut panels = AlignedVec::default();
    pack_panels(queries, width, &mut panels);
    thresholds
        .par_chunks_mut(columns)
        .zip(panels.par_chunks(columns * width))
        .zip(targets.par_chunks(columns * width))
        .for_each(|((thresholds, queries), rows)| {
            let mut scores = AlignedVec::zeros(whole_tiles(thresholds.len()) * columns);
            tiled(Scores {
                rows,
                width,
                queries,
                scores: &mut scores,
            });
            for (q, threshold) in thresholds.iter_mut().enumerate() {
                *threshold = scores[q * columns + q];
            }
        });
}

/// Adds to `counts` the rows of a table with a better score than each query's threshold, and those with the same
/// score. `queries` are the vectors of the queries, `left_out` returns the rows that do not count for a query.
pub fn rank_dot<'a, I: Iterator<Item = u32> + 'a>(
    queries: &[f32],
    thresholds: &[f32],
    left_out: impl Fn(usize) -> I,
    entities: &TableReadGuard<'_>,
    counts: &mut [RankCounts],
) {
    let (width, n, columns) = (entities.spec.width, counts.len(), panel());
    let mut panels = AlignedVec::default();
    pack_panels(queries, width, &mut panels);
    let mut padded = vec![0.0; n.next_multiple_of(columns)];
    padded[..n].copy_from_slice(thresholds);
    let blocks = entities.row_blocks(BLOCK_ROWS);
    let left_out = left_out_by_block(left_out, n, &blocks, entities);
    let found: Vec<Vec<RankCounts>> = blocks
        .par_iter()
        .zip(&left_out)
        .map_init(Scratch::default, |scratch, (block, left_out)| {
            let Scratch {
                wide,
                packed,
                scores,
            } = scratch;
            tiled(CountBlock {
                packed,
                scores,
                rows: entities.rows(block.shard, block.rows.clone(), wide),
                width,
                queries: &panels,
                thresholds: &padded,
                left_out,
            })
        })
        .collect();
    for block in found {
        for (count, part) in counts.iter_mut().zip(block) {
            count.better += part.better;
            count.equal += part.equal;
        }
    }
}

/// A row that does not count for a query.
#[derive(Clone, Copy)]
struct LeftOut {
    /// Row of the block.
    row: u32,
    query: u32,
}

/// For every block the rows that do not count, by query.
fn left_out_by_block<'a, I: Iterator<Item = u32> + 'a>(
    rows_of: impl Fn(usize) -> I,
    n: usize,
    blocks: &[RowBlock],
    entities: &TableReadGuard<'_>,
) -> Vec<Vec<LeftOut>> {
    let mut left_out = vec![Vec::new(); blocks.len()];
    for q in 0..n {
        for row in rows_of(q) {
            let (shard, place) = entities.spec.layout.locate(row);
            let at =
                blocks.partition_point(|block| (block.shard, block.rows.end) <= (shard, place));
            let place = place - blocks[at].rows.start;
            left_out[at].push(LeftOut {
                row: place as u32,
                query: q as u32,
            });
        }
    }
    left_out
}

/// Scratch memory of a task.
#[derive(Default)]
struct Scratch {
    wide: Vec<f32>,
    packed: AlignedVec,
    scores: AlignedVec,
}

/// Scores of rows by one panel.
struct Scores<'a> {
    rows: &'a [f32],
    width: usize,
    queries: &'a [f32],
    scores: &'a mut [f32],
}

impl Tiled for Scores<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const VECTORS: usize>(self, simd: S) {
        let rows = Rows {
            values: self.rows,
            width: self.width,
        };
        score_rows::<S, VECTORS>(
            simd,
            rows,
            self.queries,
            self.scores,
            &mut AlignedVec::default(),
            |_, _| (),
        );
    }
}

/// Counts of a block, for all queries.
struct CountBlock<'a> {
    rows: &'a [f32],
    width: usize,
    queries: &'a [f32],
    thresholds: &'a [f32],
    left_out: &'a [LeftOut],
    packed: &'a mut AlignedVec,
    scores: &'a mut AlignedVec,
}

impl Tiled for CountBlock<'_> {
    type Output = Vec<RankCounts>;

    #[inline(always)]
    fn run<S: Simd, const VECTORS: usize>(self, simd: S) -> Vec<RankCounts> {
        let (width, columns) = (self.width, VECTORS * S::F32_LANES);
        let (count, queries) = (self.rows.len() / width, self.thresholds.len());
        let scores = self
            .scores
            .resize_for_overwrite(whole_tiles(count) * queries);
        let mut counts = Vec::with_capacity(queries);
        let (mut left_out, thresholds) = (self.left_out, self.thresholds);
        let rows = Rows {
            values: self.rows,
            width,
        };
        let packed = self.packed;
        score_rows::<S, VECTORS>(
            simd,
            rows,
            self.queries,
            scores,
            packed,
            #[inline(always)]
            |p: usize, scores: &mut [f32]| {
                let thresholds = &thresholds[p * columns..][..columns];
                let (mut at_most, mut equal) = ([0u32; MOST_COLUMNS], [0u32; MOST_COLUMNS]);
                let (at_most, equal) = (&mut at_most[..columns], &mut equal[..columns]);
                for row in scores.chunks_exact(columns).take(count) {
                    let sums = at_most.iter_mut().zip(equal.iter_mut());
                    for ((&score, &threshold), (at_most, equal)) in
                        row.iter().zip(thresholds).zip(sums)
                    {
                        *at_most += u32::from(score <= threshold);
                        *equal += u32::from(score == threshold);
                    }
                }
                // "Not at most" rather than "above": a score that is not a number counts as better.
                let better = |&at_most: &u32| count as u32 - at_most;
                let found = at_most.iter().map(better).zip(&*equal);
                counts.extend(found.map(|(better, &equal)| RankCounts { better, equal }));
                // The target counted itself, and every known answer counted where it stands.
                let own = left_out.partition_point(|own| (own.query as usize) < (p + 1) * columns);
                for &LeftOut { row, query: q } in &left_out[..own] {
                    let column = q as usize - p * columns;
                    let score = scores[row as usize * columns + column];
                    let at_most = score <= thresholds[column];
                    counts[q as usize].better -= u32::from(!at_most);
                    counts[q as usize].equal -= u32::from(score == thresholds[column]);
                }
                left_out = &left_out[own..];
            },
        );
        counts
    }
}
