//! `part_statistic`: rows of scores against a part of the entities → their statistics, which the parts exchange.

use super::loss::group;
use crate::device::DeviceError;
use crate::kernel::gpu::params::Params;
use crate::kernel::gpu::recorder::Recorder;
use crate::kernel::gpu::source::Stage;
use crate::kernel::gpu::workspace::Workspace;
use crate::loss::LossKind;

/// Writes the statistics of a tile of queries to `work.statistics`, those of round `params.extra`.
pub fn part_statistic(
    recorder: &mut Recorder,
    params: &Params,
    kind: LossKind,
    work: &Workspace,
) -> Result<(), DeviceError> {
    recorder.dispatch(
        Stage::PartStatistic(kind, group(params.candidates)),
        params,
        &[
            work.plan.buffer(),
            work.scores.buffer(),
            work.statistics.buffer(),
        ],
        params.count,
    )
}
