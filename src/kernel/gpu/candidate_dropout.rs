//! `candidate_dropout`: rows as candidates, with dropout; `candidate_dropout_backward`: the same mask
//! on the gradients of candidates.

use super::Table;
use super::params::{NONE, Params};
use super::recorder::{Recorder, workgroups};
use super::shape::Values;
use super::source::{GROUP, Stage};
use super::workspace::Workspace;
use crate::device::{Buffer, DeviceError};
use crate::kernel::Dtype;

/// Writes the masked rows of a table, shard by shard, to `work.masked`.
pub(super) fn mask_shards(
    recorder: &mut Recorder,
    params: &Params,
    table: &Table,
    work: &Workspace,
) -> Result<(), DeviceError> {
    for (s, (shard, masked)) in table.shards.iter().zip(&work.masked).enumerate() {
        let buffers = [work.plan.buffer(), &shard.values, masked.buffer()];
        forward(recorder, &of_shard(params, table, s), shard.dtype, buffers)?;
    }
    Ok(())
}

/// Masks the gradients of whole shards.
pub(super) fn mask_shard_gradients(
    recorder: &mut Recorder,
    params: &Params,
    table: &Table,
    work: &Workspace,
) -> Result<(), DeviceError> {
    let gradients = work.shard_gradients.iter().take(table.shards.len());
    for (s, gradients) in gradients.enumerate() {
        let buffers = [work.plan.buffer(), gradients.buffer()];
        backward(recorder, &of_shard(params, table, s), buffers)?;
    }
    Ok(())
}

/// Writes the masked unique rows, which `params` has the list of, to `work.candidates`.
pub(super) fn mask_pulled(
    recorder: &mut Recorder,
    params: &Params,
    work: &Workspace,
) -> Result<(), DeviceError> {
    let buffers = [&work.plan, &work.entities, &work.candidates].map(|s| s.buffer());
    forward(recorder, params, Dtype::F32, buffers)
}

/// Masks the gradients of unique rows, which `params` has the list of.
pub(super) fn mask_gradients(
    recorder: &mut Recorder,
    params: &Params,
    work: &Workspace,
) -> Result<(), DeviceError> {
    let buffers = [&work.plan, &work.entity_gradients].map(|s| s.buffer());
    backward(recorder, params, buffers)
}

fn of_shard(params: &Params, table: &Table, shard: usize) -> Params {
    let range = table.spec.layout.range(shard);
    Params {
        at_ids: NONE,
        base: range.start as u32,
        items: range.len() as u32,
        ..*params
    }
}

fn forward(
    recorder: &mut Recorder,
    params: &Params,
    dtype: Dtype,
    buffers: [&Buffer; 3],
) -> Result<(), DeviceError> {
    let (values, params) = cut(params);
    let invocations = u64::from(params.items) * u64::from(params.cells);
    let stage = Stage::CandidateDropout(values, dtype.nearest());
    recorder.dispatch(stage, &params, &buffers, workgroups(invocations, GROUP))
}

fn backward(
    recorder: &mut Recorder,
    params: &Params,
    buffers: [&Buffer; 2],
) -> Result<(), DeviceError> {
    let (values, params) = cut(params);
    let invocations = u64::from(params.items) * u64::from(params.cells);
    let stage = Stage::CandidateDropoutBackward(values);
    recorder.dispatch(stage, &params, &buffers, workgroups(invocations, GROUP))
}

fn cut(params: &Params) -> (Values, Params) {
    let width = params.width as usize;
    let values = Values::of(width);
    let cells = values.count(width);
    (values, Params { cells, ..*params })
}
