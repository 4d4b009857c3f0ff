//! Times of stages on a GPU, by its own clock.

use serde::Serialize;

use crate::device::Counts;
use crate::kernel::{Backend, KernelError};

/// The unit of timing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timed {
    /// Every sequence of stages that run without a break, as a whole. Timing does not change what
    /// runs.
    Passes,
    /// Every stage by itself. Timing keeps a stage from beginning while the one before ends.
    Stages,
}

/// Total time of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct StageTime {
    /// Name of the stage; `copy`, `clear` and `pass` for work that is not a stage.
    pub stage: &'static str,
    /// Number of runs.
    pub runs: u64,
    /// Seconds on the device, all runs together.
    pub seconds: f64,
}

/// Starts to time the work of the device. False if the device does not have a clock, as a CPU
/// does not.
///
/// # Errors
/// If the device is lost.
pub fn start_clock(backend: &Backend, timed: Timed) -> Result<bool, KernelError> {
    match backend {
        Backend::Cpu(_) => Ok(false),
        Backend::Gpu(engine) => engine.start_clock(timed),
    }
}

/// Times of the device's work since [`start_clock`]; empty if the device does not have a clock.
/// Waits for the device.
///
/// # Errors
/// If the device is lost or full.
pub fn stop_clock(backend: &Backend) -> Result<Vec<StageTime>, KernelError> {
    match backend {
        Backend::Cpu(_) => Ok(Vec::new()),
        Backend::Gpu(engine) => engine.stop_clock(),
    }
}

/// Numbers of requests to the device since it was opened; none on a CPU.
pub fn counts(backend: &Backend) -> Option<Counts> {
    match backend {
        Backend::Cpu(_) => None,
        Backend::Gpu(engine) => Some(engine.gpu().counts()),
    }
}
