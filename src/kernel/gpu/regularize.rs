//! `regularize`: adds the regularizer's derivative to the gradients of unique rows.

use super::params::Params;
use super::recorder::{Recorder, workgroups};
use super::source::{GROUP, Stage};
use crate::device::{Buffer, DeviceError};
use crate::model::{Lanes, lane_count};
use crate::optim::RegularizerKind;

/// Adds `strength` times the rows' penalty weights times the derivative. `rows` and `gradients` have
/// `width` values a row.
pub(super) fn regularize(
    recorder: &mut Recorder,
    params: &Params,
    (kind, lanes, strength): (RegularizerKind, Lanes, f32),
    width: u32,
    [plan, rows, gradients]: [&Buffer; 3],
) -> Result<(), DeviceError> {
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
