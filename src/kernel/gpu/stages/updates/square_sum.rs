//! `square_sum`: Σ x² of the values of a buffer, a part for every workgroup.

use crate::device::{Buffer, DeviceError};
use crate::kernel::gpu::params::Params;
use crate::kernel::gpu::recorder::Recorder;
use crate::kernel::gpu::source::{GROUP, Stage};

/// Largest number of workgroups, and so of parts, of one buffer.
pub const PARTS: usize = 256;

/// Writes the parts of Σ x² over the first `values` values of a buffer to `sums`, from `first` on.
/// Returns the number of parts.
pub fn square_sum(
    recorder: &mut Recorder,
    buffer: &Buffer,
    values: usize,
    sums: &Buffer,
    first: usize,
) -> Result<usize, DeviceError> {
    let groups = values.div_ceil(GROUP as usize * 4).min(PARTS);
    let params = Params {
        items: values as u32,
        extra: first as u32,
        ..Params::default()
    };
    recorder.dispatch(Stage::SquareSum, &params, &[buffer, sums], groups as u32)?;
    Ok(groups)
}
