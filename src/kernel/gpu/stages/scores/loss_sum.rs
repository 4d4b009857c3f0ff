//! `loss_sum`: adds up the losses of a step's queries.

use crate::device::{Buffer, DeviceError};
use crate::kernel::gpu::params::Params;
use crate::kernel::gpu::recorder::Recorder;
use crate::kernel::gpu::source::Stage;

/// Adds up the `losses` of the step's queries and writes the sum to `steps[slot]`.
pub fn loss_sum(
    recorder: &mut Recorder,
    params: &Params,
    losses: &Buffer,
    steps: &Buffer,
    slot: u32,
) -> Result<(), DeviceError> {
    let params = Params {
        extra: slot,
        ..*params
    };
    recorder.dispatch(Stage::LossSum, &params, &[losses, steps], 1)
}
