//! Learning-rate schedules, by epoch.

use serde::{Deserialize, Serialize};

/// All schedules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    /// Equal rate in all epochs.
    Constant,
    /// The rate is multiplied by `factor` after every `every` epochs.
    Step,
    /// The rate is multiplied by `factor` after more than `patience` validations in a row without a better MRR.
    Plateau,
}

/// A schedule and its parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// Rule of the schedule.
    pub kind: ScheduleKind,
    /// Factor of each reduction of the rate.
    pub factor: f64,
    /// Epochs between reductions (step rule).
    pub every: u32,
    /// Validations in a row without a better MRR that do not yet reduce the rate (plateau rule).
    pub patience: u32,
}

/// State of a schedule; part of a checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScheduleState {
    reductions: u32,
    best: Option<f64>,
    waited: u32,
}

impl Schedule {
    /// Learning rate of an epoch, counted from 1.
    pub fn rate(&self, lr: f64, epoch: u32, state: &ScheduleState) -> f64 {
        let steps = match self.kind {
            ScheduleKind::Constant => 0,
            ScheduleKind::Step => (epoch.max(1) - 1) / self.every.max(1),
            ScheduleKind::Plateau => state.reductions,
        };
        lr * self.factor.powi(steps.min(10_000) as i32)
    }

    /// Records the MRR of a validation; the plateau rule may reduce the rate.
    pub fn validated(&self, state: &mut ScheduleState, mrr: f64) {
        if state.best.is_none_or(|best| mrr > best) {
            state.best = Some(mrr);
            state.waited = 0;
            return;
        }
        state.waited += 1;
        if self.kind == ScheduleKind::Plateau && state.waited > self.patience {
            state.reductions += 1;
            state.waited = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_by_hand() {
        let mut schedule = Schedule {
            kind: ScheduleKind::Constant,
            factor: 0.5,
            every: 10,
            patience: 1,
        };
        let mut state = ScheduleState::default();
        assert_eq!(schedule.rate(0.4, 99, &state), 0.4);
        schedule.kind = ScheduleKind::Step;
        let rates = [1, 10, 11, 20, 21].map(|epoch| schedule.rate(0.4, epoch, &state));
        assert_eq!(rates, [0.4, 0.4, 0.2, 0.2, 0.1]);
        schedule.kind = ScheduleKind::Plateau;
        let rates = [0.1, 0.2, 0.2, 0.15, 0.3, 0.3, 0.3].map(|mrr| {
            schedule.validated(&mut state, mrr);
            schedule.rate(0.4, 1, &state)
        });
        assert_eq!(rates, [0.4, 0.4, 0.4, 0.2, 0.2, 0.2, 0.1]);
    }
}
