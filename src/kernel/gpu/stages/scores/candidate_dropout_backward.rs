//! `candidate_dropout_backward`: the masks of `candidate_dropout` on the gradients of candidates.

use super::candidate_dropout::{cells, rows_of_shard};
use crate::device::{Buffer, DeviceError};
use crate::kernel::gpu::Table;
use crate::kernel::gpu::params::Params;
use crate::kernel::gpu::recorder::{Recorder, workgroups};
use crate::kernel::gpu::source::{GROUP, Stage};
use crate::kernel::gpu::workspace::Workspace;

/// Masks the gradients of whole shards. `names` is the place in the plan of the rows that name the rows' masks; none
/// if each row names its own.
pub fn mask_shard_gradients(
    recorder: &mut Recorder,
    params: &Params,
    table: &Table,
    names: Option<u32>,
    work: &Workspace,
) -> Result<(), DeviceError> {
    let gradients = work.shard_gradients.iter().take(table.shards.len());
    for (s, gradients) in gradients.enumerate() {
        let params = rows_of_shard(params, table, names, s);
        let buffers = [work.plan.buffer(), gradients.buffer()];
        candidate_dropout_backward(recorder, &params, &buffers)?;
    }
    Ok(())
}

/// Masks the gradients of unique rows, which `params` lists.
pub fn mask_pulled_gradients(
    recorder: &mut Recorder,
    params: &Params,
    work: &Workspace,
) -> Result<(), DeviceError> {
    let buffers = [&work.plan, &work.entity_gradients].map(|s| s.buffer());
    candidate_dropout_backward(recorder, params, &buffers)
}

/// `buffers`: the plan and the gradients.
fn candidate_dropout_backward(
    recorder: &mut Recorder,
    params: &Params,
    buffers: &[&Buffer; 2],
) -> Result<(), DeviceError> {
    let (values, cells) = cells(params);
    let invocations = u64::from(params.items) * u64::from(cells);
    recorder.dispatch(
        Stage::CandidateDropoutBackward(values),
        &Params { cells, ..*params },
        buffers,
        workgroups(invocations, GROUP),
    )
}
