//! `grad_query`: ∂loss/∂query from sampled candidates.

use crate::device::DeviceError;
use crate::kernel::gpu::params::Params;
use crate::kernel::gpu::recorder::{Recorder, workgroups};
use crate::kernel::gpu::shape::Cells;
use crate::kernel::gpu::source::{GROUP, Stage};
use crate::kernel::gpu::workspace::Workspace;
use crate::model::Similarity;

/// Writes ∂loss/∂query of every query.
pub fn grad_query(
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
