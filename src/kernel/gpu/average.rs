//! `average`: Σ wᵢ·xᵢ / d over gradient rows of one length, in their order.

use std::sync::PoisonError;

use super::params::Params;
use super::recorder::{Recorder, workgroups};
use super::shape::Values;
use super::source::{GROUP, Stage};
use super::{Engine, GradientRows};
use crate::device::{Buffer, DeviceError};
use crate::kernel::{self, KernelError};

/// Parts that one dispatch adds up: with the weights and the sums they are the eight storage
/// buffers that every adapter binds.
const PARTS: usize = 6;

impl Engine {
    /// Σ wᵢ·xᵢ / `divisor` over rows of one length, added up in the order given; none of no parts.
    /// Values stay on the device; the room that `old` had is used again if it is enough.
    ///
    /// # Errors
    /// [`KernelError::Shape`] if lengths differ; [`KernelError::ForeignRows`] if a part lies
    /// elsewhere; if the device is lost or full.
    pub fn average(
        &self,
        parts: &[(&kernel::GradientRows, f32)],
        divisor: f32,
        old: Option<GradientRows>,
    ) -> Result<GradientRows, KernelError> {
        let rows = parts.iter().map(|part| self.own_rows(part.0));
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        let values = rows.first().map_or(0, |first| first.len());
        for rows in &rows {
            KernelError::check_shape("averaged rows", values, rows.len())?;
        }
        let sums = GradientRows::room(&self.gpu, values, old)?;
        let weights: Vec<f32> = parts.iter().map(|part| part.1).collect();
        let mut work = self.pushes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut recorder = self.recorder();
        recorder.submit()?;
        let words = work.words(&self.gpu, &weights)?;
        let parts: Vec<&Buffer> = rows.iter().map(|rows| rows.buffer()).collect();
        average(
            &mut recorder,
            values,
            (&parts, words),
            divisor,
            sums.buffer(),
        )?;
        recorder.submit()?;
        Ok(sums)
    }

    /// The rows, if they lie on this engine's device.
    pub(super) fn own_rows<'a>(
        &self,
        rows: &'a kernel::GradientRows,
    ) -> Result<&'a GradientRows, KernelError> {
        match rows {
            kernel::GradientRows::Gpu(rows) if rows.are_on(&self.gpu) => Ok(rows),
            _ => Err(KernelError::ForeignRows { engine: "GPU" }),
        }
    }
}

/// Adds up `parts`, buffers of so many values with a weight for each in `weights`, into `sums`:
/// one dispatch for every [`PARTS`] of them.
fn average(
    recorder: &mut Recorder,
    values: usize,
    (parts, weights): (&[&Buffer], &Buffer),
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
