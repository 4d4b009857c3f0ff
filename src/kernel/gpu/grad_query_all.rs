//! `grad_query_all`: ∂loss/∂query of a tile of queries from coefficients against every entity;
//! `grad_query_sum` adds up what its slices found.

use super::Table;
use super::params::Params;
use super::recorder::{Recorder, workgroups};
use super::score_all::shard_params;
use super::shape::{Tile, Values};
use super::source::{GROUP, Stage};
use super::widen::candidate_rows;
use super::workspace::Workspace;
use crate::device::{Buffer, DeviceError};
use crate::model::Similarity;

/// Rows of a slice: a sum over all entities would leave most of a large GPU idle, so each slice
/// makes its own, and these are added up in order.
pub(super) const SLICE: u32 = 1024;

/// Writes ∂loss/∂query of the tile of queries that `params` says. `most_slices` of them have room
/// at a time.
pub(super) fn grad_query_all(
    recorder: &mut Recorder,
    params: &Params,
    similarity: Similarity,
    table: &Table,
    work: &Workspace,
    most_slices: u32,
) -> Result<(), DeviceError> {
    let mut summed = 0;
    for s in 0..table.shards.len() {
        let rows = candidate_rows(recorder, params, table, s, work)?;
        let params = shard_params(params, similarity, table, s);
        let (scores, slices) = (work.scores.buffer(), work.slices.buffer());
        let buffers = [work.queries.buffer(), rows, scores, slices];
        let sums = work.d_queries.buffer();
        let slices = (summed, most_slices);
        summed = grad_query_rows(recorder, &params, similarity, buffers, sums, slices)?;
    }
    Ok(())
}

/// The same for the rows of a shard, or others that lie together: adds to the first `summed` slices
/// that there were, and returns how many there are then.
pub(super) fn grad_query_rows(
    recorder: &mut Recorder,
    params: &Params,
    similarity: Similarity,
    buffers: [&Buffer; 4],
    sums: &Buffer,
    (mut summed, most_slices): (u32, u32),
) -> Result<u32, DeviceError> {
    let values = Values::of(params.width as usize);
    let slices = params.rows.div_ceil(SLICE);
    for first in (0..slices).step_by(most_slices as usize) {
        let slices = most_slices.min(slices - first);
        let part = Params {
            item_first: first * SLICE,
            items: SLICE,
            extra: slices,
            ..*params
        };
        let tile = Tile::of_gradients(
            recorder.busy,
            similarity,
            (params.count, params.cells, slices),
        );
        let tiles = tile.covering(params.count) * tile.covering(params.cells);
        let stage = Stage::GradQueryAll(similarity, tile);
        let tiles = workgroups(tiles * u64::from(slices), 1);
        recorder.dispatch(stage, &part, &buffers, tiles)?;

        let sum = Params {
            cells: values.count(params.width as usize),
            item_first: summed,
            extra: slices,
            ..*params
        };
        let invocations = u64::from(sum.count) * u64::from(sum.cells);
        let buffers = [buffers[3], sums];
        let workgroups = workgroups(invocations, GROUP);
        recorder.dispatch(Stage::GradQuerySum(values), &sum, &buffers, workgroups)?;
        summed += slices;
    }
    Ok(summed)
}
