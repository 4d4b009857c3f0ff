//! `pair_query_backward`: ∂loss/∂pair query → contributions to the rows of known entity and answer.

use super::params::Params;
use super::query::invocations;
use super::recorder::{Recorder, workgroups};
use super::source::{GROUP, Stage};
use super::workspace::Workspace;
use crate::device::DeviceError;
use crate::model::Model;

/// Writes them after what `query_backward` left, two rows a pair; the queries of `params` are pairs.
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
