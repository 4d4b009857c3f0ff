//! `pair_query_backward`: ∂loss/∂pair query → contributions to the rows of known entity and answer.

use super::query::invocations;
use crate::device::DeviceError;
use crate::kernel::gpu::params::Params;
use crate::kernel::gpu::recorder::{Recorder, workgroups};
use crate::kernel::gpu::source::{GROUP, Stage};
use crate::kernel::gpu::workspace::Workspace;
use crate::model::Model;

/// Writes contributions, two rows a pair, after those of queries; the queries of `params` are pairs.
pub fn pair_query_backward(
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
