//! `pair_query`: entity and target rows → what scores relations by dot products.

use super::params::Params;
use super::query::invocations;
use super::recorder::{Recorder, workgroups};
use super::source::{GROUP, Stage};
use super::workspace::Workspace;
use crate::device::DeviceError;
use crate::model::Model;

/// Makes the step's pair queries from pulled rows; the queries of `params` are pairs.
pub(super) fn pair_query(
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
