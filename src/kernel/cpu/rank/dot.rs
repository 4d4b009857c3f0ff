//! Rankings of models that score by a dot product: products in tiles, counted a block of entities at a
//! time, so that scores are never written out.
//!
//! The target's score comes first, from a product of the targets' rows with the queries: each score
//! is the same sum in the same order wherever it stands, so ties are exact.

use pulp::Simd;
use rayon::prelude::*;

use crate::kernel::cpu::matmul::microkernel::{
    MOST_COLUMNS, Rows, Tiled, pack_panels, panel, score_rows, tiled, whole_tiles,
};
use crate::kernel::cpu::table::AlignedVec;
use crate::kernel::cpu::table::{RowBlock, TableReadGuard};
use crate::kernel::{RankBatch, RankCounts};

/// Entities of a block: packed, they stay in the second-level cache.
const BLOCK_ROWS: usize = 256;
/// Queries of a tile.
pub const TILE: usize = 512;

/// Counts of a tile of queries, of which `first` is the first of the batch. `queries` are their
/// vectors.
pub fn rank_dot(
    batch: &RankBatch,
    first: usize,
    queries: &[f32],
    entities: &TableReadGuard<'_>,
    counts: &mut [RankCounts],
) {
    let (width, n, columns) = (entities.spec.width, counts.len(), panel());
    let mut panels = AlignedVec::default();
    pack_panels(queries, width, &mut panels);
    let targets: Vec<u32> = batch.queries[first..first + n]
        .iter()
        .map(|q| q.target)
        .collect();
    let mut thresholds = vec![0.0; n.next_multiple_of(columns)];
    thresholds
        .par_chunks_mut(columns)
        .zip(panels.par_chunks(columns * width))
        .zip(targets.par_chunks(columns))
        .for_each(|((thresholds, queries), targets)| {
            let mut rows = vec![0.0; targets.len() * width];
            for (row, &target) in rows.chunks_exact_mut(width).zip(targets) {
                entities.copy_row(target, row);
            }
            let mut scores = AlignedVec::zeros(whole_tiles(targets.len()) * columns);
            tiled(Scores {
                rows: &rows,
                width,
                queries,
                scores: &mut scores,
            });
            for (q, threshold) in thresholds.iter_mut().enumerate().take(targets.len()) {
                *threshold = scores[q * columns + q];
            }
        });
    let blocks = entities.row_blocks(BLOCK_ROWS);
    let left_out = left_out(batch, first, n, &blocks, entities);
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
                thresholds: &thresholds,
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

/// For every block the targets and known answers among its rows, by query.
fn left_out(
    batch: &RankBatch,
    first: usize,
    n: usize,
    blocks: &[RowBlock],
    entities: &TableReadGuard<'_>,
) -> Vec<Vec<LeftOut>> {
    let mut left_out = vec![Vec::new(); blocks.len()];
    for q in 0..n {
        let query = &batch.queries[first + q];
        for &row in batch.known_of(first + q).iter().chain([&query.target]) {
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
