//! `score`: queries × their sampled candidates.

use crate::device::DeviceError;
use crate::kernel::gpu::params::Params;
use crate::kernel::gpu::recorder::{Recorder, workgroups};
use crate::kernel::gpu::shape::Cells;
use crate::kernel::gpu::source::{GROUP, Stage};
use crate::kernel::gpu::workspace::Workspace;
use crate::model::Similarity;

/// Writes the step's scores.
pub fn score(
    recorder: &mut Recorder,
    params: &Params,
    similarity: Similarity,
    work: &Workspace,
) -> Result<(), DeviceError> {
    let Cells { values, cells } = Cells::of(similarity, params.width);
    let span = span(cells);
    let pairs = u64::from(params.queries) * u64::from(params.candidates);
    recorder.dispatch(
        Stage::Score(similarity, values, span),
        &Params { cells, ..*params },
        &[
            work.plan.buffer(),
            work.pulled_candidates(params),
            work.queries.buffer(),
            work.scores.buffer(),
        ],
        workgroups(pairs, GROUP / span),
    )
}

/// Number of invocations that share a pair whose rows have `cells` cells each.
pub fn span(cells: u32) -> u32 {
    // Each invocation takes a few cells; more would share a pair only to wait for each other.
    cells.div_ceil(4).next_power_of_two().min(32)
}
