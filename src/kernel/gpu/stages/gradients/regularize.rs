//! `regularize`: adds the regularizer's derivative to the gradients of unique rows.

use crate::device::{Buffer, DeviceError};
use crate::kernel::gpu::params::Params;
use crate::kernel::gpu::recorder::{Recorder, workgroups};
use crate::kernel::gpu::source::{GROUP, Stage};
use crate::model::{Lanes, lane_count};
use crate::optim::RegularizerKind;

/// A regularizer of the rows of one table.
#[derive(Clone, Copy)]
pub struct Penalty {
    pub kind: RegularizerKind,
    /// Lanes of a row.
    pub lanes: Lanes,
    /// λ of the regularizer.
    pub strength: f32,
    /// Values of a row.
    pub width: u32,
}

/// Adds the derivative of the penalty, times the weights of rows, to `gradients`.
pub fn regularize(
    recorder: &mut Recorder,
    params: &Params,
    penalty: Penalty,
    plan: &Buffer,
    rows: &Buffer,
    gradients: &Buffer,
) -> Result<(), DeviceError> {
    let Penalty {
        kind,
        lanes,
        strength,
        width,
    } = penalty;
    if kind == RegularizerKind::None || strength == 0.0 {
        return Ok(());
    }
    let params = Params {
        cells: width,
        strength,
        ..*params
    };
    let invocations = lane_count(lanes, width as usize) as u64 * u64::from(params.items);
    recorder.dispatch(
        Stage::Regularize(kind, lanes),
        &params,
        &[plan, rows, gradients],
        workgroups(invocations, GROUP),
    )
}
