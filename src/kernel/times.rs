//! What takes how long on a GPU, by its own clock.

use serde::Serialize;

use super::{Backend, KernelError};
use crate::device::{Counts, Span};

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timed {
    /// Every stretch of stages that run without a break, as a whole: what runs stays as it is.
    Passes,
    /// Every stage by itself, which keeps the next from beginning while one ends.
    Stages,
}

/// How long a stage took in all.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct StageTime {
    /// The stage's one name; `copy`, `clear` and `pass` for what is no stage.
    pub stage: &'static str,
    /// How often it ran.
    pub runs: u64,
    /// Seconds on the device, all runs together.
    pub seconds: f64,
}

/// Times by name, in the order of their first runs.
pub(super) fn by_stage(spans: impl IntoIterator<Item = Span>) -> Vec<StageTime> {
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

impl Backend {
    /// Times what the device does from now on; false if it has no clock, as a CPU has none.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn start_clock(&self, timed: Timed) -> Result<bool, KernelError> {
        match self {
            Backend::Cpu(_) => Ok(false),
            Backend::Gpu(engine) => engine.start_clock(timed),
        }
    }

    /// What the device did since [`Backend::start_clock`]; nothing if it has no clock. Waits for
    /// the device.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn stop_clock(&self) -> Result<Vec<StageTime>, KernelError> {
        match self {
            Backend::Cpu(_) => Ok(Vec::new()),
            Backend::Gpu(engine) => engine.stop_clock(),
        }
    }

    /// What was asked of the device so far; `None` on a CPU.
    pub fn counts(&self) -> Option<Counts> {
        match self {
            Backend::Cpu(_) => None,
            Backend::Gpu(engine) => Some(engine.gpu().counts()),
        }
    }
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
