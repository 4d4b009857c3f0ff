//! Progress of a training run: the contents of a checkpoint apart from the tables.

use serde::{Deserialize, Serialize};

use crate::optim::ScheduleState;

/// Progress of a training run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainState {
    /// Epochs completed.
    pub epoch: u32,
    /// Steps completed in the epoch after them.
    pub step: u32,
    /// Optimizer steps taken in all.
    pub updates: u64,
    /// Sum of the losses of the unfinished epoch.
    pub loss: f64,
    /// Facts seen in the unfinished epoch.
    pub epoch_facts: u64,
    /// Seconds spent on the unfinished epoch.
    pub epoch_seconds: f64,
    /// Facts trained on in completed epochs.
    pub facts: u64,
    /// Seconds of training, without validation.
    pub seconds: f64,
    /// State of the learning-rate schedule.
    pub schedule: ScheduleState,
    /// Best validation MRR so far and its epoch.
    pub best: Option<(f64, u32)>,
    /// Validations since the best one.
    pub waited: u32,
}

impl TrainState {
    /// The number under which this state is checkpointed: the epoch it is in or has just completed.
    pub fn checkpoint(&self) -> u32 {
        self.epoch + u32::from(self.step > 0)
    }

    /// Whether `patience` validations in a row were no better than the best; never with `patience` 0.
    pub fn exhausted(&self, patience: u32) -> bool {
        patience > 0 && self.waited >= patience
    }

    pub(super) fn finish_epoch(&mut self) {
        self.epoch += 1;
        self.step = 0;
        self.loss = 0.0;
        self.facts += self.epoch_facts;
        self.epoch_facts = 0;
        self.epoch_seconds = 0.0;
    }

    /// Records a validation; true if it is the best so far.
    pub(super) fn validated(&mut self, mrr: f64) -> bool {
        let better = self.best.is_none_or(|(best, _)| mrr > best);
        if better {
            self.best = Some((mrr, self.epoch));
            self.waited = 0;
        } else {
            self.waited += 1;
        }
        better
    }
}
