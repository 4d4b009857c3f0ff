//! `query_backward`: ∂loss/∂query → contributions to entity and relation rows.

use super::params::Params;
use super::query::invocations;
use super::query_matrix::query_matrix_backward;
use super::recorder::{Recorder, workgroups};
use super::source::{GROUP, Stage};
use super::workspace::Workspace;
use crate::device::DeviceError;
use crate::model::Model;

/// Turns ∂loss/∂query into ∂loss/∂entity in place and writes ∂loss/∂relation; or has
/// `query_matrix_backward` do the former.
pub(super) fn query_backward(
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
