//! Times by the device's clock.

use crate::device::DeviceError;
use crate::kernel::KernelError;
use crate::kernel::gpu::{Engine, Recorder};
use crate::kernel::measure::{StageTime, Timed, by_stage};

impl Engine {
    /// Times the commands that are recorded from now on. Returns false if the device has no clock.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn start_clock(&self, timed: Timed) -> Result<bool, KernelError> {
        Ok(self.recorder().start_clock(timed)?)
    }

    /// Times since [`Engine::start_clock`], added up by stage. Waits for the device.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn stop_clock(&self) -> Result<Vec<StageTime>, KernelError> {
        Ok(by_stage(self.recorder().stop_clock()?))
    }

    /// Submits the commands that `record` records, waits, and returns the seconds by the device's clock, if
    /// the device can time them.
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
