//! `average`: Σ wᵢ·xᵢ / d over buffers of one length, in their order.

use crate::device::{Buffer, DeviceError};
use crate::kernel::gpu::params::Params;
use crate::kernel::gpu::recorder::{Recorder, workgroups};
use crate::kernel::gpu::shape::Values;
use crate::kernel::gpu::source::{GROUP, Stage};

/// Buffers that one dispatch adds up: with the weights and the sums they are the eight storage
/// buffers that every adapter binds.
const PARTS: usize = 6;

/// Adds up `parts`, buffers of `values` values with a weight for each in `weights`, into `sums`: one
/// dispatch for every [`PARTS`] of them.
pub fn average(
    recorder: &mut Recorder,
    values: usize,
    parts: &[&Buffer],
    weights: &Buffer,
    divisor: f32,
    sums: &Buffer,
) -> Result<(), DeviceError> {
    let kind = Values::of(values);
    let items = kind.count(values);
    for (pass, chunk) in parts.chunks(PARTS).enumerate() {
        let first = pass * PARTS;
        let last = first + chunk.len() == parts.len();
        let params = Params {
            items,
            at_weights: first as u32,
            extra: chunk.len() as u32,
            rate: if last { divisor } else { 1.0 },
            ..Params::default()
        };
        // Bindings that are not needed show a part that is there anyway.
        let parts = chunk.iter().copied().chain([chunk[0]; PARTS]).take(PARTS);
        let buffers: Vec<_> = [weights].into_iter().chain(parts).chain([sums]).collect();
        let count = workgroups(u64::from(items), GROUP);
        recorder.dispatch(Stage::Average(kind), &params, &buffers, count)?;
    }
    Ok(())
}
