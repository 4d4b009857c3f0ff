//! `grad_candidates_all`: ∂loss/∂row of every entity from a tile of coefficients.

use crate::device::{Buffer, DeviceError};
use crate::kernel::gpu::Table;
use crate::kernel::gpu::params::Params;
use crate::kernel::gpu::recorder::{Recorder, workgroups};
use crate::kernel::gpu::shape::Tile;
use crate::kernel::gpu::source::Stage;
use crate::kernel::gpu::stages::rows::candidate_rows;
use crate::kernel::gpu::stages::scores::shard_params;
use crate::kernel::gpu::workspace::Workspace;
use crate::model::Similarity;

/// Buffers of [`grad_candidate_rows`].
#[derive(Clone, Copy)]
pub struct CandidateGradientBuffers<'a> {
    /// Query vectors, row-major.
    pub queries: &'a Buffer,
    /// Candidates, row-major.
    pub rows: &'a Buffer,
    /// Coefficients: queries × `params.candidates`.
    pub coefficients: &'a Buffer,
    /// ∂loss/∂row of every candidate.
    pub gradients: &'a Buffer,
}

/// Adds to the gradients of whole shards; the first tile of a step overwrites them.
pub fn grad_candidates_all(
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
        let buffers = CandidateGradientBuffers {
            queries: work.queries.buffer(),
            rows: values,
            coefficients: work.scores.buffer(),
            gradients: gradients.buffer(),
        };
        grad_candidate_rows(recorder, &params, similarity, buffers)?;
    }
    Ok(())
}

/// [`grad_candidates_all`] for the rows of one buffer. Adds to the gradients if `params.extra` is not 0.
pub fn grad_candidate_rows(
    recorder: &mut Recorder,
    params: &Params,
    similarity: Similarity,
    buffers: CandidateGradientBuffers<'_>,
) -> Result<(), DeviceError> {
    let tile = Tile::of_gradients(recorder.busy, similarity, params.rows, params.cells, 1);
    let tiles = tile.covering(params.rows) * tile.covering(params.cells);
    let stage = Stage::GradCandidatesAll(similarity, tile);
    let buffers = [
        buffers.queries,
        buffers.rows,
        buffers.coefficients,
        buffers.gradients,
    ];
    recorder.dispatch(stage, params, &buffers, workgroups(tiles, 1))
}
