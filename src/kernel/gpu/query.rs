//! `query`: operator of entity and relation rows → query vectors, with dropout.

use super::params::Params;
use super::query_matrix::query_matrix;
use super::recorder::{Recorder, workgroups};
use super::source::{GROUP, Stage};
use super::workspace::Workspace;
use crate::device::DeviceError;
use crate::model::{Model, lane_count};

/// Makes the step's query vectors from pulled rows, or has `query_matrix` make them.
pub(super) fn query(
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

/// One for every lane of every query.
pub(super) fn invocations(params: &Params, model: Model) -> u64 {
    let lanes = lane_count(model.entity_lanes(), params.width as usize);
    lanes as u64 * u64::from(params.queries)
}
