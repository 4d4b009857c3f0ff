//! `grad_query_all`: ∂loss/∂query of a tile of queries from coefficients against every entity.

use super::grad_query_sum::grad_query_sum;
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

/// Rows of a slice. One sum over all entities would leave most of a large GPU idle, so every slice
/// has its own sum, and `grad_query_sum` adds them up in order.
pub const SLICE: u32 = 1024;

/// Buffers of [`grad_query_rows`].
#[derive(Clone, Copy)]
pub struct QueryGradientBuffers<'a> {
    /// Query vectors, row-major.
    pub queries: &'a Buffer,
    /// Candidates, row-major.
    pub rows: &'a Buffer,
    /// Coefficients: queries × `params.candidates`.
    pub coefficients: &'a Buffer,
    /// Sums of slices: slices × queries of the tile × width.
    pub slices: &'a Buffer,
    /// ∂loss/∂query of every query.
    pub d_queries: &'a Buffer,
}

/// Slices of a sum over all rows.
#[derive(Clone, Copy, Debug)]
pub struct Slices {
    /// Slices that `d_queries` has the sum of already.
    pub summed: u32,
    /// Slices that the buffer of slices has room for.
    pub most: u32,
}

/// Writes ∂loss/∂query of the tile of queries in `params`. `work.slices` has room for `most_slices`.
pub fn grad_query_all(
    recorder: &mut Recorder,
    params: &Params,
    similarity: Similarity,
    table: &Table,
    work: &Workspace,
    most_slices: u32,
) -> Result<(), DeviceError> {
    let mut slices = Slices {
        summed: 0,
        most: most_slices,
    };
    for s in 0..table.shards.len() {
        let rows = candidate_rows(recorder, params, table, s, work)?;
        let params = shard_params(params, similarity, table, s);
        let buffers = QueryGradientBuffers {
            queries: work.queries.buffer(),
            rows,
            coefficients: work.scores.buffer(),
            slices: work.slices.buffer(),
            d_queries: work.d_queries.buffer(),
        };
        slices = grad_query_rows(recorder, &params, similarity, buffers, slices)?;
    }
    Ok(())
}

/// [`grad_query_all`] for the rows of one buffer. Adds to the sum of the slices before, and returns the slices
/// with the new ones among them.
pub fn grad_query_rows(
    recorder: &mut Recorder,
    params: &Params,
    similarity: Similarity,
    buffers: QueryGradientBuffers<'_>,
    mut slices: Slices,
) -> Result<Slices, DeviceError> {
    let all = params.rows.div_ceil(SLICE);
    for first in (0..all).step_by(slices.most as usize) {
        let count = slices.most.min(all - first);
        let part = Params {
            item_first: first * SLICE,
            items: SLICE,
            extra: count,
            ..*params
        };
        let tile = Tile::of_gradients(recorder.busy, similarity, params.count, params.cells, count);
        let tiles = tile.covering(params.count) * tile.covering(params.cells);
        recorder.dispatch(
            Stage::GradQueryAll(similarity, tile),
            &part,
            &[
                buffers.queries,
                buffers.rows,
                buffers.coefficients,
                buffers.slices,
            ],
            workgroups(tiles * u64::from(count), 1),
        )?;
        grad_query_sum(
            recorder,
            params,
            buffers.slices,
            buffers.d_queries,
            slices.summed,
            count,
        )?;
        slices.summed += count;
    }
    Ok(slices)
}
