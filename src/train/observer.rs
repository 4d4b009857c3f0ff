//! Who watches a training run: progress bars, checkpoints, Ctrl-C.

use serde::{Deserialize, Serialize};

use super::{TrainError, TrainState};
use crate::coordinator::Status;
use crate::server::ParameterServer;

/// What is known of an epoch when it is over; a line of `metrics.jsonl`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Epoch, from 1.
    pub epoch: u32,
    /// Mean loss of its steps.
    pub loss: f64,
    /// Learning rate.
    pub lr: f64,
    /// Seconds of training, validation aside.
    pub seconds: f64,
    /// Training facts a second.
    pub triples_per_second: f64,
    /// MRR on the validation facts, where the epoch ended with a validation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_mrr: Option<f64>,
    /// Whether that is the best so far.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub best: bool,
}

/// Told of everything that happens in a run. Every method may be left out.
pub trait Observer {
    /// An epoch of so many steps begins (or goes on).
    fn begin(&mut self, _epoch: u32, _epochs: u32, _steps: u32) {}
    /// A step is done; steps and facts so far in this epoch.
    fn step(&mut self, _steps: u32, _facts: u64) {}
    /// Workers have joined, left or failed.
    fn workers(&mut self, _status: &Status) {}
    /// Something that the user should know, in a line.
    fn note(&mut self, _line: &str) {}
    /// So many of so many queries are ranked.
    fn ranking(&mut self, _done: usize, _total: usize) {}
    /// An epoch is over.
    ///
    /// # Errors
    /// If its record or a checkpoint cannot be saved; training stops.
    fn epoch(
        &mut self,
        _server: &ParameterServer,
        _state: &TrainState,
        _record: &EpochRecord,
    ) -> Result<(), TrainError> {
        Ok(())
    }
    /// Training stops here because [`Observer::stop`] said so.
    ///
    /// # Errors
    /// If a checkpoint cannot be saved.
    fn interrupted(
        &mut self,
        _server: &ParameterServer,
        _state: &TrainState,
    ) -> Result<(), TrainError> {
        Ok(())
    }
    /// Whether to stop after this step.
    fn stop(&self) -> bool {
        false
    }
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {}
