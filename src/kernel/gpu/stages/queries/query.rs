//! `query`: the operator on entity and relation rows, which makes query vectors, with dropout.

use super::query_matrix::query_matrix;
use crate::device::DeviceError;
use crate::kernel::gpu::params::Params;
use crate::kernel::gpu::recorder::{Recorder, workgroups};
use crate::kernel::gpu::source::{GROUP, Stage};
use crate::kernel::gpu::workspace::Workspace;
use crate::model::{Model, lane_count};

/// Makes the step's query vectors from pulled rows. Calls `query_matrix` where relations are matrices.
pub fn query(
    recorder: &mut Recorder,
    params: &Params,
    model: Model,
    work: &Workspace,
) -> Result<(), DeviceError> {
    if model.has_matrices() {
        return query_matrix(recorder, params, model, work);
    }
    recorder.dispatch(
        Stage::Query(model),
        params,
        &[
            work.plan.buffer(),
            work.entities.buffer(),
            work.relations.buffer(),
            work.queries.buffer(),
        ],
        workgroups(invocations(params, model), GROUP),
    )
}

/// Invocations of a dispatch with one for every lane of every query.
pub(super) fn invocations(params: &Params, model: Model) -> u64 {
    let lanes = lane_count(model.entity_lanes(), params.width as usize);
    lanes as u64 * u64::from(params.queries)
}
