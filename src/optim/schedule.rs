//! Learning-rate schedules, by epoch.

use serde::{Deserialize, Serialize};

/// The schedules there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    /// The same rate throughout.
    Constant,
    /// The rate times `factor` after every `every` epochs.
    Step,
    /// The rate times `factor` whenever more than `patience` validations in a row bring no better
    /// MRR.
    Plateau,
}

/// A schedule and its numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// Which rule.
    pub kind: ScheduleKind,
    /// What the rate is multiplied by.
    pub factor: f64,
    /// Epochs between steps.
    pub every: u32,
    /// Validations in a row without a better MRR that the plateau rule puts up with.
    pub patience: u32,
}

/// Where a schedule stands; part of a checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScheduleState {
    reductions: u32,
    best: Option<f64>,
    waited: u32,
}

impl Schedule {
    /// The rate of an epoch (from 1).
    pub fn rate(&self, lr: f64, epoch: u32, state: &ScheduleState) -> f64 {
        let steps = match self.kind {
            ScheduleKind::Constant => 0,
            ScheduleKind::Step => (epoch.max(1) - 1) / self.every.max(1),
            ScheduleKind::Plateau => state.reductions,
        };
        lr * self.factor.powi(steps.min(10_000) as i32)
    }

    /// Tells the plateau rule of a validation.
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
