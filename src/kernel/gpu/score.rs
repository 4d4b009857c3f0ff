//! `score`: queries × their sampled candidates.

use super::params::Params;
use super::recorder::{Recorder, workgroups};
use super::shape::Cells;
use super::source::{GROUP, Stage};
use super::workspace::Workspace;
use crate::device::DeviceError;
use crate::model::Similarity;

/// Writes the step's scores.
pub(super) fn score(
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

/// How many invocations share a pair whose rows have `cells` cells each.
pub(super) fn span(cells: u32) -> u32 {
    // Each invocation takes a few cells; more would share a pair only to wait for each other.
    cells.div_ceil(4).next_power_of_two().min(32)
}
