//! `grad_candidates_all`: ∂loss/∂row of every entity from a tile of coefficients.

use super::Table;
use super::params::Params;
use super::recorder::{Recorder, workgroups};
use super::score_all::shard_params;
use super::shape::Tile;
use super::source::Stage;
use super::widen::candidate_rows;
use super::workspace::Workspace;
use crate::device::{Buffer, DeviceError};
use crate::model::Similarity;

/// Adds to (or, for the first tile of a step, overwrites) the gradients of whole shards.
pub(super) fn grad_candidates_all(
    recorder: &mut Recorder,
    params: &Params,
    similarity: Similarity,
    table: &Table,
    work: &Workspace,
) -> Result<(), DeviceError> {
    let gradients = work.shard_gradients.iter().take(table.shards.len());
    for (s, gradients) in gradients.enumerate() {
        let values = candidate_rows(recorder, params, table, s, work)?;
        let params = Params {
            extra: u32::from(params.first > 0),
            ..shard_params(params, similarity, table, s)
        };
        let buffers = [
            work.queries.buffer(),
            values,
            work.scores.buffer(),
            gradients.buffer(),
        ];
        grad_candidate_rows(recorder, &params, similarity, buffers)?;
    }
    Ok(())
}

/// The same for the rows of a shard, or others that lie together; adds if `params.extra` is not 0.
pub(super) fn grad_candidate_rows(
    recorder: &mut Recorder,
    params: &Params,
    similarity: Similarity,
    buffers: [&Buffer; 4],
) -> Result<(), DeviceError> {
    let tile = Tile::of_gradients(recorder.busy, similarity, (params.rows, params.cells, 1));
    let tiles = tile.covering(params.rows) * tile.covering(params.cells);
    let stage = Stage::GradCandidatesAll(similarity, tile);
    recorder.dispatch(stage, params, &buffers, workgroups(tiles, 1))
}
