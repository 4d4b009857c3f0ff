//! `query_backward`: ∂loss/∂query → contributions to entity and relation rows.

use super::query::invocations;
use super::query_matrix_backward::query_matrix_backward;
use crate::device::DeviceError;
use crate::kernel::gpu::params::Params;
use crate::kernel::gpu::recorder::{Recorder, workgroups};
use crate::kernel::gpu::source::{GROUP, Stage};
use crate::kernel::gpu::workspace::Workspace;
use crate::model::Model;

/// Turns ∂loss/∂query into ∂loss/∂entity in place and writes ∂loss/∂relation. Where relations are
/// matrices, calls `query_matrix_backward`, which leaves the matrices to `grad_matrix`.
pub fn query_backward(
    recorder: &mut Recorder,
    params: &Params,
    model: Model,
    work: &Workspace,
) -> Result<(), DeviceError> {
    if model.has_matrices() {
        return query_matrix_backward(recorder, params, model, work);
    }
    recorder.dispatch(
        Stage::QueryBackward(model),
        params,
        &[
            work.plan.buffer(),
            work.entities.buffer(),
            work.relations.buffer(),
            work.d_queries.buffer(),
            work.d_relations.buffer(),
        ],
        workgroups(invocations(params, model), GROUP),
    )
}
