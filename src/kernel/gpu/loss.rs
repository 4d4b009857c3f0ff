//! `loss`: rows of scores → losses and ∂loss/∂score, in place; `loss_sum`: the loss of the step.

use super::params::Params;
use super::recorder::Recorder;
use super::source::{GROUP, Stage};
use super::workspace::Workspace;
use crate::device::{Buffer, DeviceError};
use crate::loss::LossKind;
use crate::model::Similarity;

/// Turns the scores of a tile of queries into coefficients and writes their `losses`.
pub(super) fn loss(
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

/// Adds up losses of the step's queries and keeps the sum as number `slot` of `steps`.
pub(super) fn loss_sum(
    recorder: &mut Recorder,
    params: &Params,
    slot: u32,
    [losses, steps]: [&Buffer; 2],
) -> Result<(), DeviceError> {
    let params = Params {
        extra: slot,
        ..*params
    };
    recorder.dispatch(Stage::LossSum, &params, &[losses, steps], 1)
}

/// The invocations of the workgroup of a row of `candidates` scores.
pub(super) fn group(candidates: u32) -> u32 {
    candidates.div_ceil(4).next_power_of_two().clamp(32, GROUP)
}
