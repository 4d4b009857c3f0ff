//! `score_all`: a tile of queries × every entity.

use super::Table;
use super::params::Params;
use super::recorder::{Recorder, workgroups};
use super::source::{Cells, Stage, TILE};
use super::workspace::Workspace;
use crate::device::DeviceError;
use crate::model::Similarity;

/// Writes the scores of the tile of queries that `params` says, shard by shard.
pub(super) fn score_all(
    recorder: &mut Recorder,
    params: &Params,
    similarity: Similarity,
    table: &Table,
    work: &Workspace,
) -> Result<(), DeviceError> {
    for (s, shard) in table.shards.iter().enumerate() {
        let params = shard_params(params, similarity, table, s);
        let blocks = blocks(params.count) * blocks(params.rows);
        recorder.dispatch(
            Stage::ScoreAll(similarity),
            &params,
            &[work.queries.buffer(), &shard.values, work.scores.buffer()],
            workgroups(blocks, 1),
        )?;
    }
    Ok(())
}

/// The parameters of a tiled stage for one shard: rows are read value by value.
pub(super) fn shard_params(
    params: &Params,
    similarity: Similarity,
    table: &Table,
    shard: usize,
) -> Params {
    let range = table.spec.layout.range(shard);
    Params {
        cells: Cells::of_values(similarity, params.width),
        base: range.start as u32,
        rows: range.len() as u32,
        ..*params
    }
}

/// Tiles that cover so many rows (or cells).
pub(super) fn blocks(rows: u32) -> u64 {
    u64::from(rows.div_ceil(TILE))
}
