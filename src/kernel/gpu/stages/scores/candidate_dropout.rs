//! `candidate_dropout`: rows as candidates, with dropout.

use crate::device::{Buffer, DeviceError};
use crate::kernel::Dtype;
use crate::kernel::gpu::Table;
use crate::kernel::gpu::params::{NONE, Params};
use crate::kernel::gpu::recorder::{Recorder, workgroups};
use crate::kernel::gpu::shape::Values;
use crate::kernel::gpu::source::{GROUP, Stage};
use crate::kernel::gpu::workspace::Workspace;

/// Writes the masked rows of a table, shard by shard, to `work.masked`. `names` is the place in the plan of the rows
/// that name the rows' masks; none if each row names its own.
pub fn mask_shards(
    recorder: &mut Recorder,
    params: &Params,
    table: &Table,
    names: Option<u32>,
    work: &Workspace,
) -> Result<(), DeviceError> {
    for (s, (shard, masked)) in table.shards.iter().zip(&work.masked).enumerate() {
        let buffers = [work.plan.buffer(), &shard.values, masked.buffer()];
        let params = rows_of_shard(params, table, names, s);
        candidate_dropout(recorder, &params, shard.dtype, &buffers)?;
    }
    Ok(())
}

/// Writes the masked unique rows, which `params` lists, to `work.candidates`.
pub fn mask_pulled(
    recorder: &mut Recorder,
    params: &Params,
    work: &Workspace,
) -> Result<(), DeviceError> {
    let buffers = [&work.plan, &work.entities, &work.candidates].map(|s| s.buffer());
    candidate_dropout(recorder, params, Dtype::F32, &buffers)
}

/// `buffers`: the plan, the rows and the masked rows.
fn candidate_dropout(
    recorder: &mut Recorder,
    params: &Params,
    dtype: Dtype,
    buffers: &[&Buffer; 3],
) -> Result<(), DeviceError> {
    let (values, cells) = cells(params);
    let invocations = u64::from(params.items) * u64::from(cells);
    recorder.dispatch(
        Stage::CandidateDropout(values, dtype.nearest()),
        &Params { cells, ..*params },
        buffers,
        workgroups(invocations, GROUP),
    )
}

/// The parameters for all rows of a shard.
pub(super) fn rows_of_shard(
    params: &Params,
    table: &Table,
    names: Option<u32>,
    shard: usize,
) -> Params {
    let range = table.spec.layout.range(shard);
    Params {
        at_ids: names.map_or(NONE, |names| names + range.start as u32),
        base: range.start as u32,
        items: range.len() as u32,
        ..*params
    }
}

/// The reading of the rows of `params`, and the number of cells of a row.
pub(super) fn cells(params: &Params) -> (Values, u32) {
    let width = params.width as usize;
    let values = Values::of(width);
    (values, values.count(width))
}
