//! `score_all`: a tile of queries × every entity.

use crate::device::{Buffer, DeviceError};
use crate::kernel::gpu::Table;
use crate::kernel::gpu::params::Params;
use crate::kernel::gpu::recorder::{Recorder, workgroups};
use crate::kernel::gpu::shape::{Cells, Tile};
use crate::kernel::gpu::source::Stage;
use crate::kernel::gpu::stages::rows::candidate_rows;
use crate::kernel::gpu::workspace::Workspace;
use crate::model::Similarity;

/// Buffers of [`score_rows`].
#[derive(Clone, Copy)]
pub struct ScoreBuffers<'a> {
    /// Query vectors, row-major.
    pub queries: &'a Buffer,
    /// Candidates, row-major.
    pub rows: &'a Buffer,
    /// Scores: queries × `params.candidates`.
    pub scores: &'a Buffer,
}

/// Writes the scores of the tile of queries in `params`, shard by shard.
pub fn score_all(
    recorder: &mut Recorder,
    params: &Params,
    similarity: Similarity,
    table: &Table,
    work: &Workspace,
) -> Result<(), DeviceError> {
    for s in 0..table.shards.len() {
        let values = candidate_rows(recorder, params, table, s, work)?;
        let params = shard_params(params, similarity, table, s);
        let buffers = ScoreBuffers {
            queries: work.queries.buffer(),
            rows: values,
            scores: work.scores.buffer(),
        };
        score_rows(recorder, &params, similarity, buffers)?;
    }
    Ok(())
}

/// Writes the scores of a tile of queries against the rows of one buffer.
pub fn score_rows(
    recorder: &mut Recorder,
    params: &Params,
    similarity: Similarity,
    buffers: ScoreBuffers<'_>,
) -> Result<(), DeviceError> {
    let tile = Tile::of_scores(recorder.busy, similarity, params.count, params.rows);
    let tiles = tile.covering(params.count) * tile.covering(params.rows);
    let stage = Stage::ScoreAll(similarity, tile);
    let buffers = [buffers.queries, buffers.rows, buffers.scores];
    recorder.dispatch(stage, params, &buffers, workgroups(tiles, 1))
}

/// The parameters of a tiled stage for one shard: rows are read value by value.
pub fn shard_params(
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
