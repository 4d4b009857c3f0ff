//! `loss`: rows of scores → losses and ∂loss/∂score, in place.

use crate::device::{Buffer, DeviceError};
use crate::kernel::gpu::params::Params;
use crate::kernel::gpu::recorder::Recorder;
use crate::kernel::gpu::source::{GROUP, Stage};
use crate::kernel::gpu::workspace::Workspace;
use crate::loss::LossKind;
use crate::model::Similarity;

/// Turns the scores of a tile of queries into coefficients and writes their `losses`.
pub fn loss(
    recorder: &mut Recorder,
    params: &Params,
    kind: LossKind,
    similarity: Similarity,
    losses: &Buffer,
    work: &Workspace,
) -> Result<(), DeviceError> {
    recorder.dispatch(
        Stage::Loss(kind, similarity, group(params.candidates)),
        params,
        &[
            work.plan.buffer(),
            work.scores.buffer(),
            losses,
            work.slopes.buffer(),
        ],
        params.count,
    )
}

/// Invocations of a workgroup, which has a row of `candidates` scores.
pub fn group(candidates: u32) -> u32 {
    candidates.div_ceil(4).next_power_of_two().clamp(32, GROUP)
}
