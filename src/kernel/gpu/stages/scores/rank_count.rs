//! `rank_count`: scores and counts better and equal candidates, fused.

use super::score_all::shard_params;
use crate::device::{Buffer, DeviceError};
use crate::kernel::gpu::Table;
use crate::kernel::gpu::params::Params;
use crate::kernel::gpu::recorder::{Recorder, workgroups};
use crate::kernel::gpu::shape::{Cells, Tile};
use crate::kernel::gpu::source::Stage;
use crate::kernel::gpu::stages::rows::widen;
use crate::kernel::gpu::workspace::Workspace;
use crate::model::Similarity;

/// Multiplications of a dispatch, roughly; Windows resets a GPU that is busy for two seconds.
const MOST_WORK: u64 = 1 << 34;
/// Workgroups that keep a large GPU busy; with more to do, each takes several blocks.
const BUSY: u64 = 2048;

/// Scores every query against its own row of `work.targets` and keeps the scores as thresholds.
pub fn target_scores(
    recorder: &mut Recorder,
    params: &Params,
    similarity: Similarity,
    tile: Tile,
    work: &Workspace,
) -> Result<(), DeviceError> {
    let params = Params {
        cells: Cells::of_values(similarity, params.width),
        base: 0,
        rows: params.count,
        extra: 0,
        ..*params
    };
    recorder.dispatch(
        Stage::RankCount(similarity, tile),
        &params,
        &buffers(work, work.targets.buffer()),
        workgroups(tile.covering(params.count), 1),
    )
}

/// Adds to the counts of every query, shard by shard. Each dispatch is a submission of its own.
pub fn rank_count(
    recorder: &mut Recorder,
    params: &Params,
    similarity: Similarity,
    table: &Table,
    tile: Tile,
    work: &Workspace,
) -> Result<(), DeviceError> {
    for s in 0..table.shards.len() {
        let values = widen(recorder, table, s, work)?;
        let params = shard_params(params, similarity, table, s);
        let row_work = u64::from(params.count) * u64::from(params.width);
        let most_tiles = MOST_WORK / (row_work.max(1) * u64::from(tile.size()));
        let most_rows = most_tiles.clamp(1, 1 << 20) as u32 * tile.size();
        for first in (0..params.rows).step_by(most_rows as usize) {
            let items = most_rows.min(params.rows - first);
            let (tall, long) = (tile.covering(params.count), tile.covering(items));
            let strip = (tall * long).div_ceil(BUSY).min(16);
            let params = Params {
                item_first: first,
                items,
                extra: strip as u32,
                ..params
            };
            let strips = workgroups(tall * long.div_ceil(strip), 1);
            recorder.dispatch(
                Stage::RankCount(similarity, tile),
                &params,
                &buffers(work, values),
                strips,
            )?;
            recorder.submit()?;
        }
    }
    Ok(())
}

/// The tile of a ranking. Targets and candidates must be scored by one pipeline, so that equal rows get equal scores.
pub fn rank_tile(
    recorder: &Recorder,
    similarity: Similarity,
    params: &Params,
    table: &Table,
) -> Tile {
    let rows = table.spec.layout.most_rows() as u32;
    Tile::of_scores(recorder.busy, similarity, params.count, rows)
}

fn buffers<'a>(work: &'a Workspace, rows: &'a Buffer) -> [&'a Buffer; 5] {
    [
        work.plan.buffer(),
        work.queries.buffer(),
        rows,
        work.thresholds.buffer(),
        work.counts.buffer(),
    ]
}
