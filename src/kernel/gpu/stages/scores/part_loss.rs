//! `part_loss`: rows of scores against a part of the entities → the part's share of losses and ∂loss/∂score, in place.

use super::loss::group;
use crate::device::DeviceError;
use crate::kernel::gpu::params::Params;
use crate::kernel::gpu::recorder::Recorder;
use crate::kernel::gpu::source::Stage;
use crate::kernel::gpu::workspace::Workspace;
use crate::loss::LossKind;
use crate::model::Similarity;

/// Turns the scores of a tile of queries into coefficients, and writes the part's share of their losses.
/// `work.statistics` holds the statistics of all parts.
pub fn part_loss(
    recorder: &mut Recorder,
    params: &Params,
    kind: LossKind,
    similarity: Similarity,
    work: &Workspace,
) -> Result<(), DeviceError> {
    let buffers = [
        work.plan.buffer(),
        work.scores.buffer(),
        work.losses.buffer(),
        work.slopes.buffer(),
        work.statistics.buffer(),
    ];
    let buffers = match kind {
        // Its shader does not use statistics, so its pipeline does not have their binding.
        LossKind::Bce => &buffers[..4],
        _ => &buffers[..],
    };
    let stage = Stage::PartLoss(kind, similarity, group(params.candidates));
    recorder.dispatch(stage, params, buffers, params.count)
}
