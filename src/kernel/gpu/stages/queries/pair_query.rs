//! `pair_query`: entity and target rows → pair queries, whose dot products with relations are scores.

use super::query::invocations;
use crate::device::DeviceError;
use crate::kernel::gpu::params::Params;
use crate::kernel::gpu::recorder::{Recorder, workgroups};
use crate::kernel::gpu::source::{GROUP, Stage};
use crate::kernel::gpu::workspace::Workspace;
use crate::model::Model;

/// Makes the step's pair queries from pulled rows; the queries of `params` are pairs.
pub fn pair_query(
    recorder: &mut Recorder,
    params: &Params,
    model: Model,
    work: &Workspace,
) -> Result<(), DeviceError> {
    recorder.dispatch(
        Stage::PairQuery(model),
        params,
        &[
            work.plan.buffer(),
            work.entities.buffer(),
            work.pair_queries.buffer(),
        ],
        workgroups(invocations(params, model), GROUP),
    )
}
