//! `grad_query`: ∂loss/∂query from sampled candidates.

use super::params::Params;
use super::recorder::{Recorder, workgroups};
use super::shape::Cells;
use super::source::{GROUP, Stage};
use super::workspace::Workspace;
use crate::device::DeviceError;
use crate::model::Similarity;

/// Writes ∂loss/∂query of every query.
pub(super) fn grad_query(
    recorder: &mut Recorder,
    params: &Params,
    similarity: Similarity,
    work: &Workspace,
) -> Result<(), DeviceError> {
    let Cells { values, cells } = Cells::of(similarity, params.width);
    recorder.dispatch(
        Stage::GradQuery(similarity, values),
        &Params { cells, ..*params },
        &[
            work.plan.buffer(),
            work.pulled_candidates(params),
            work.queries.buffer(),
            work.scores.buffer(),
            work.d_queries.buffer(),
        ],
        workgroups(u64::from(params.queries) * u64::from(cells), GROUP),
    )
}
