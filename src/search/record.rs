//! Records of trials: `trials.jsonl` for programs, `trials.tsv` for people and tables.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use toml::Table;

use super::TrialScores;

/// Progress of a trial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The trial has not begun.
    #[default]
    Waiting,
    /// The trial trains, or did when the program was killed.
    Running,
    /// Ctrl-C stopped the trial; it goes on from its checkpoint.
    Stopped,
    /// The trial has finished its rung.
    Done,
    /// The trial has finished its rung and does not go on: others were better.
    Dropped,
    /// The trial failed and is not tried again.
    Failed,
}

impl Status {
    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Status::Waiting => "waiting",
            Status::Running => "running",
            Status::Stopped => "stopped",
            Status::Done => "done",
            Status::Dropped => "dropped",
            Status::Failed => "failed",
        }
    }
}

/// A trial: a line of `trials.jsonl`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrialRecord {
    /// Number of the trial, from 0.
    pub trial: usize,
    /// Progress of the trial.
    pub status: Status,
    /// The values drawn for the trial.
    pub parameters: Table,
    /// Epochs of training so far.
    pub epochs: u32,
    /// Best validation MRR.
    pub valid_mrr: Option<f64>,
    /// Epoch of the best validation MRR.
    pub best_epoch: Option<u32>,
    /// Seconds of training, validation aside.
    pub seconds: f64,
    /// Best validation MRR at the end of each rung.
    pub scores: Vec<f64>,
    /// Reason why the trial failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Checkpoint that the trial went on from when it last began.
    #[serde(default)]
    pub began_at: Option<u32>,
    /// Times that the program was killed before the trial came to another checkpoint.
    #[serde(default)]
    pub crashes: u32,
}

impl TrialRecord {
    /// The scores that decide whether the trial goes on.
    pub fn trial_scores(&self) -> TrialScores {
        TrialScores {
            scores: self.scores.clone(),
            failed: self.status == Status::Failed,
        }
    }

    /// The parameters in a line, as in `dim = 32, lr = 0.1`.
    pub fn shown(&self) -> String {
        let pairs = self.parameters.iter();
        let pairs: Vec<String> = pairs
            .map(|(key, value)| format!("{key} = {value}"))
            .collect();
        pairs.join(", ")
    }
}

/// The best trial by validation MRR that did not fail, the first of equals.
pub fn best(trials: &[TrialRecord]) -> Option<&TrialRecord> {
    let scored = trials
        .iter()
        .filter(|trial| trial.status != Status::Failed && !trial.scores.is_empty());
    let mrr = |trial: &TrialRecord| trial.valid_mrr.unwrap_or_default();
    scored.reduce(|best, trial| match mrr(trial) > mrr(best) {
        true => trial,
        false => best,
    })
}

/// All trials as a table with tabs, a column for each parameter.
pub(super) fn table(trials: &[TrialRecord]) -> String {
    let keys: Vec<&String> = trials
        .first()
        .map_or_else(Vec::new, |t| t.parameters.keys().collect());
    let mut text = "trial\tstatus\trungs\tepochs\tvalid_mrr\tbest_epoch\tseconds".to_owned();
    keys.iter().for_each(|key| {
        text.push('\t');
        text.push_str(key);
    });
    text.push_str("\tcause\n");
    for trial in trials {
        let mrr = trial.valid_mrr.map(|mrr| format!("{mrr:.6}"));
        let epoch = trial.best_epoch.map(|epoch| epoch.to_string());
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "{:03}\t{}\t{}\t{}\t{}\t{}\t{:.2}",
            trial.trial,
            trial.status.name(),
            trial.scores.len(),
            trial.epochs,
            mrr.unwrap_or_default(),
            epoch.unwrap_or_default(),
            trial.seconds
        );
        for key in &keys {
            let value = trial.parameters.get(*key);
            let value = value.map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned));
            let _ = write!(text, "\t{}", value.unwrap_or_default());
        }
        let cause = trial.cause.as_deref().unwrap_or_default();
        let _ = writeln!(text, "\t{}", cause.replace(['\t', '\n'], " "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(trial: usize, mrr: f64, status: Status) -> TrialRecord {
        TrialRecord {
            trial,
            status,
            valid_mrr: Some(mrr),
            scores: vec![mrr],
            parameters: "lr = 0.1\nmodel = 'rotate'\ndim = 32".parse().unwrap(),
            ..TrialRecord::default()
        }
    }

    #[test]
    fn records_read_back() {
        let record = TrialRecord {
            cause: Some("no luck".to_owned()),
            best_epoch: Some(3),
            seconds: 0.1,
            ..trial(7, 0.25, Status::Dropped)
        };
        let text = serde_json::to_string(&record).unwrap();
        assert!(text.contains("\"status\":\"dropped\""), "{text}");
        assert_eq!(serde_json::from_str::<TrialRecord>(&text).unwrap(), record);
    }

    #[test]
    fn the_best_is_the_first_of_those_that_did_not_fail() {
        let trials = [
            trial(0, 0.5, Status::Dropped),
            trial(1, 0.9, Status::Failed),
            trial(2, 0.7, Status::Done),
            trial(3, 0.7, Status::Done),
            TrialRecord::default(),
        ];
        assert_eq!(best(&trials).map(|t| t.trial), Some(2));
        assert_eq!(best(&trials[1..2]), None);
    }

    #[test]
    fn tables_have_a_column_for_each_parameter() {
        let failed = TrialRecord {
            cause: Some("two\nlines".to_owned()),
            ..trial(1, 0.5, Status::Failed)
        };
        let text = table(&[trial(0, 0.25, Status::Done), failed]);
        assert_eq!(
            text,
            "trial\tstatus\trungs\tepochs\tvalid_mrr\tbest_epoch\tseconds\tdim\tlr\tmodel\tcause\n\
             000\tdone\t1\t0\t0.250000\t\t0.00\t32\t0.1\trotate\t\n\
             001\tfailed\t1\t0\t0.500000\t\t0.00\t32\t0.1\trotate\ttwo lines\n"
        );
    }
}
