//! `rank_count`: scores and counts better and equal candidates, fused.

use super::Table;
use super::params::Params;
use super::recorder::{Recorder, workgroups};
use super::score_all::{blocks, shard_params};
use super::source::{Stage, TILE};
use super::workspace::Workspace;
use crate::device::{Buffer, DeviceError};
use crate::model::Similarity;

/// Multiplications of a dispatch, more or less; Windows ends those that run for seconds.
const MOST_WORK: u64 = 1 << 34;
/// Workgroups that keep a large GPU busy; with more to do, each takes several blocks.
const BUSY: u64 = 2048;

/// Scores every query against its own row of `work.targets` and keeps the scores as thresholds.
pub(super) fn target_scores(
    recorder: &mut Recorder,
    params: &Params,
    similarity: Similarity,
    table: &Table,
    work: &Workspace,
) -> Result<(), DeviceError> {
    let params = Params {
        base: 0,
        rows: params.count,
        extra: 0,
        ..shard_params(params, similarity, table, 0)
    };
    let stage = Stage::RankCount(similarity);
    let buffers = buffers(work, work.targets.buffer());
    recorder.dispatch(
        stage,
        &params,
        &buffers,
        workgroups(blocks(params.count), 1),
    )
}

/// Adds to the counts of every query, shard by shard. Each dispatch is a submission of its own.
pub(super) fn rank_count(
    recorder: &mut Recorder,
    params: &Params,
    similarity: Similarity,
    table: &Table,
    work: &Workspace,
) -> Result<(), DeviceError> {
    for (s, shard) in table.shards.iter().enumerate() {
        let params = shard_params(params, similarity, table, s);
        let row_work = u64::from(params.count) * u64::from(params.width);
        let most_blocks = MOST_WORK / (row_work.max(1) * u64::from(TILE));
        let most_rows = most_blocks.clamp(1, 1 << 20) as u32 * TILE;
        for first in (0..params.rows).step_by(most_rows as usize) {
            let items = most_rows.min(params.rows - first);
            let all = blocks(params.count) * blocks(items);
            let strip = all.div_ceil(BUSY).min(16) as u32;
            let params = Params {
                item_first: first,
                items,
                extra: strip,
                ..params
            };
            let strips = blocks(items).div_ceil(u64::from(strip));
            recorder.dispatch(
                Stage::RankCount(similarity),
                &params,
                &buffers(work, &shard.values),
                workgroups(blocks(params.count) * strips, 1),
            )?;
            recorder.submit()?;
        }
    }
    Ok(())
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
