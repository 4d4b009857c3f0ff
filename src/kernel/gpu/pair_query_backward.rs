//! `pair_query_backward`: ∂loss/∂pair query → contributions to entity and target rows.

use super::params::Params;
use super::query::invocations;
use super::recorder::{Recorder, workgroups};
use super::source::{GROUP, Stage};
use super::workspace::Workspace;
use crate::device::DeviceError;
use crate::model::Model;

/// Adds to the ∂loss/∂entity that `query_backward` left, and writes ∂loss/∂target after it.
pub(super) fn pair_query_backward(
    recorder: &mut Recorder,
    params: &Params,
    model: Model,
    work: &Workspace,
) -> Result<(), DeviceError> {
    recorder.dispatch(
        Stage::PairQueryBackward(model),
        params,
        &[
            work.plan.buffer(),
            work.entities.buffer(),
            work.d_pairs.buffer(),
            work.d_queries.buffer(),
        ],
        workgroups(invocations(params, model), GROUP),
    )
}
