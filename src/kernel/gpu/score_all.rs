//! `score_all`: a tile of queries × every entity.

use super::Table;
use super::params::Params;
use super::recorder::{Recorder, workgroups};
use super::shape::{Cells, Tile};
use super::source::Stage;
use super::widen::candidate_rows;
use super::workspace::Workspace;
use crate::device::{Buffer, DeviceError};
use crate::model::Similarity;

/// Writes the scores of the tile of queries that `params` says, shard by shard.
pub(super) fn score_all(
    recorder: &mut Recorder,
    params: &Params,
    similarity: Similarity,
    table: &Table,
    work: &Workspace,
) -> Result<(), DeviceError> {
    for s in 0..table.shards.len() {
        let values = candidate_rows(recorder, params, table, s, work)?;
        let params = shard_params(params, similarity, table, s);
        let buffers = [work.queries.buffer(), values, work.scores.buffer()];
        score_rows(recorder, &params, similarity, buffers)?;
    }
    Ok(())
}

/// Writes the scores of a tile of queries against rows: of a shard, or others that lie together.
pub(super) fn score_rows(
    recorder: &mut Recorder,
    params: &Params,
    similarity: Similarity,
    buffers: [&Buffer; 3],
) -> Result<(), DeviceError> {
    let tile = Tile::of_scores(recorder.busy, similarity, params.count, params.rows);
    let tiles = tile.covering(params.count) * tile.covering(params.rows);
    let stage = Stage::ScoreAll(similarity, tile);
    recorder.dispatch(stage, params, &buffers, workgroups(tiles, 1))
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
