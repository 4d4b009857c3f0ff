//! `result.json`: what came out of a run.

use serde::{Deserialize, Serialize};

use super::{Run, RunError};
use crate::eval::Evaluation;

/// What came out of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// Its name, or its path made absolute.
    pub dataset: String,
    /// Model name.
    pub model: String,
    /// Values in an entity's row.
    pub dim: usize,
    /// The device it was trained on.
    pub device: String,
    /// Seed of everything random.
    pub seed: u64,
    /// Metrics on the test facts.
    pub test: Evaluation,
    /// Metrics on the validation facts.
    pub valid: Evaluation,
    /// About training.
    pub train: TrainResult,
    /// About the evaluation of the test facts.
    pub eval: EvalResult,
    /// The most memory the process had resident.
    pub peak_memory_bytes: Option<u64>,
}

/// About training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainResult {
    /// Epochs done.
    pub epochs: u32,
    /// The epoch whose checkpoint was evaluated.
    pub best_epoch: u32,
    /// Seconds of training, validation aside.
    pub seconds: f64,
    /// Training facts a second.
    pub triples_per_second: f64,
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
    /// If it is not there (training has not ended) or cannot be understood.
    pub fn result(&self) -> Result<RunResult, RunError> {
        let path = self.path.join(FILE);
        let text = std::fs::read(&path).map_err(RunError::io("read", &path))?;
        serde_json::from_slice(&text).map_err(|e| self.damaged(FILE, e.to_string()))
    }
}
