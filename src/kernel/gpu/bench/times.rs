//! Times by the device's clock.

use crate::device::{DeviceError, Span};
use crate::kernel::KernelError;
use crate::kernel::gpu::{Engine, Recorder};
use crate::kernel::measure::{StageTime, Timed};

impl Engine {
    /// Times the commands that are recorded from now on. Returns false if the device does not have a
    /// clock.
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

    /// Submits the commands that `record` records, waits, and returns the seconds by the device's
    /// clock, if the device can time them.
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

/// Times by name, in the order of first runs.
fn by_stage(spans: impl IntoIterator<Item = Span>) -> Vec<StageTime> {
    let mut stages: Vec<StageTime> = Vec::new();
    for Span { name, seconds } in spans {
        match stages.iter_mut().find(|s| s.stage == name) {
            Some(stage) => {
                stage.runs += 1;
                stage.seconds += seconds;
            }
            None => stages.push(StageTime {
                stage: name,
                runs: 1,
                seconds,
            }),
        }
    }
    stages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_one_stage_are_added_up() {
        let span = |name, seconds| Span { name, seconds };
        let stages = by_stage([span("score", 1.0), span("loss", 0.5), span("score", 2.0)]);
        let stage = |stage, runs, seconds| StageTime {
            stage,
            runs,
            seconds,
        };
        assert_eq!(stages, [stage("score", 2, 3.0), stage("loss", 1, 0.5)]);
    }
}
