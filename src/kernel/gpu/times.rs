//! Times of what an engine has the device do.

use super::{Engine, Recorder};
use crate::device::DeviceError;
use crate::kernel::KernelError;
use crate::kernel::measure::{StageTime, Timed, by_stage};

impl Engine {
    /// Times what is recorded from now on; false if the device has no clock.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn start_clock(&self, timed: Timed) -> Result<bool, KernelError> {
        Ok(self.recorder().start_clock(timed)?)
    }

    /// What was timed since. Waits for the device.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn stop_clock(&self) -> Result<Vec<StageTime>, KernelError> {
        Ok(by_stage(self.recorder().stop_clock()?))
    }

    /// Submits what `record` records, waits, and tells the seconds by the device's clock, if it
    /// has one for that.
    pub(super) fn timed(
        &self,
        record: impl FnOnce(&mut Recorder) -> Result<(), DeviceError>,
    ) -> Result<Option<f64>, KernelError> {
        let recorder = &mut *self.recorder();
        recorder.start_clock(Timed::Passes)?;
        let recorded = record(recorder);
        let spans = recorder.stop_clock();
        recorded?;
        let spans = spans?;
        self.gpu.finish()?;
        Ok((!spans.is_empty()).then(|| spans.iter().map(|span| span.seconds).sum()))
    }
}
