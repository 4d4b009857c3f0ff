//! `result.json`: metrics and times of a finished run.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Run, RunError};
use crate::config::Config;
use crate::eval::Evaluation;
use crate::model::Model;
use crate::train::TrainState;

/// Metrics and times of a finished run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// Name of the graph, or its absolute path.
    pub dataset: String,
    /// Model.
    pub model: Model,
    /// Values in an entity's row.
    pub dim: usize,
    /// Device of the training.
    pub device: String,
    /// Seed of everything random.
    pub seed: u64,
    /// Metrics on the test facts; none where no facts are held out to test on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<Evaluation>,
    /// Metrics on the validation facts; none where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid: Option<Evaluation>,
    /// Course of the training.
    pub train: TrainResult,
    /// Reason for an end before the last epoch.
    #[serde(default)]
    pub stopped: Option<Stopped>,
    /// About the evaluation of the test facts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eval: Option<EvalResult>,
    /// Sentences about what failed while training went on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Peak resident memory of the process.
    pub peak_memory_bytes: Option<u64>,
}

/// Course of a training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainResult {
    /// Epochs done.
    pub epochs: u32,
    /// The epoch whose checkpoint was evaluated; 0 is the start from another run.
    pub best_epoch: u32,
    /// Seconds of training, without validation.
    pub seconds: f64,
    /// Training facts per second.
    pub triples_per_second: f64,
}

/// Reason for an end before the last epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopReason {
    /// As many validations in a row as `patience` says were no better than the best one.
    Patience,
}

/// An end of training before the last epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stopped {
    /// The reason.
    pub reason: StopReason,
    /// The last epoch done.
    pub epoch: u32,
    /// The epochs asked for.
    pub epochs: u32,
    /// Validations in a row that were no better.
    pub validations: u32,
    /// The best validation MRR.
    pub best_valid_mrr: f64,
    /// The epoch that it is of.
    pub best_epoch: u32,
}

impl Stopped {
    /// The early end of a training that stopped in this state; `None` if all epochs were done.
    pub fn of(config: &Config, state: &TrainState) -> Option<Stopped> {
        let early = state.exhausted(config.patience) && state.epoch < config.epochs;
        let (best_valid_mrr, best_epoch) = state.best.filter(|_| early)?;
        Some(Stopped {
            reason: StopReason::Patience,
            epoch: state.epoch,
            epochs: config.epochs,
            validations: state.waited,
            best_valid_mrr,
            best_epoch,
        })
    }
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stopped {
            reason: StopReason::Patience,
            epoch,
            epochs,
            validations,
            best_valid_mrr,
            best_epoch,
        } = self;
        write!(
            f,
            "stopped early, after epoch {epoch} of {epochs}: {validations} validations in a row \
             (patience) were no better than that of epoch {best_epoch}, MRR {best_valid_mrr:.4}"
        )
    }
}

/// About the evaluation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EvalResult {
    /// Wall-clock time.
    pub seconds: f64,
    /// Ranking queries a second: two a fact.
    pub queries_per_second: f64,
}

impl EvalResult {
    /// The speed of an evaluation.
    pub fn of(evaluation: &Evaluation) -> EvalResult {
        EvalResult {
            seconds: evaluation.seconds,
            queries_per_second: evaluation.queries as f64 / evaluation.seconds,
        }
    }
}

const FILE: &str = "result.json";

impl Run {
    /// Writes `result.json`.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn write_result(&self, result: &RunResult) -> Result<(), RunError> {
        let mut text =
            serde_json::to_vec_pretty(result).map_err(|e| self.damaged(FILE, e.to_string()))?;
        text.push(b'\n');
        self.write(FILE, &text)
    }

    /// Reads `result.json`.
    ///
    /// # Errors
    /// If the file is missing (training has not ended) or damaged.
    pub fn result(&self) -> Result<RunResult, RunError> {
        let path = self.path.join(FILE);
        let text = std::fs::read(&path).map_err(RunError::io("read", &path))?;
        serde_json::from_slice(&text).map_err(|e| self.damaged(FILE, e.to_string()))
    }
}
