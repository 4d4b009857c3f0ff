//! Optimizers, learning-rate schedules and regularizers: the update of a row by its gradient. The optimizers
//! here are the oracle, with the formulas that the CPU's engine uses (`kernel/cpu/stages/updates/update.rs`);
//! `shaders/updates/update.wgsl` has the same formulas.

mod regularizer;
mod schedule;

pub use regularizer::{Regularizer, RegularizerKind};
pub use schedule::{Schedule, ScheduleKind, ScheduleState};

use crate::model::{Lane, Real};
use crate::rng::{Purpose, key};

/// All optimizers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerKind {
    /// p −= lr·g.
    Sgd,
    /// s += g²; p −= lr·g/(√s + 1e-10) (Duchi et al. 2011).
    Adagrad,
    /// Adagrad with one accumulator per row: the mean of g² over the row.
    RowAdagrad,
    /// Adam on the touched rows only (Kingma and Ba 2015; PyTorch's sparse variant).
    Adam,
}

impl OptimizerKind {
    /// Name in settings.
    pub fn name(self) -> &'static str {
        match self {
            OptimizerKind::Sgd => "sgd",
            OptimizerKind::Adagrad => "adagrad",
            OptimizerKind::RowAdagrad => "row-adagrad",
            OptimizerKind::Adam => "adam",
        }
    }

    /// Widths of the state tables for rows of `width` values.
    pub fn state_widths(self, width: usize) -> Vec<usize> {
        match self {
            OptimizerKind::Sgd => vec![],
            OptimizerKind::Adagrad => vec![width],
            OptimizerKind::RowAdagrad => vec![1],
            OptimizerKind::Adam => vec![width, width],
        }
    }
}

/// Decay of Adam's first moment.
pub const BETA1: f32 = 0.9;
/// Decay of Adam's second moment.
pub const BETA2: f32 = 0.999;

/// One step of an optimizer: the formula with its numbers for this step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OptimizerStep {
    /// Formula of the optimizer.
    pub kind: OptimizerKind,
    /// Step size; for Adam including the bias corrections.
    pub rate: f32,
    /// Seed of this step's random bits, for tables that round stochastically.
    pub salt: u32,
}

/// Added to the root of Adagrad's accumulator.
pub const ADAGRAD_EPSILON: f64 = 1e-10;
/// Added to the root of Adam's second moment.
pub const ADAM_EPSILON: f64 = 1e-8;

impl OptimizerStep {
    /// Makes step number `step`, from 1, at learning rate `lr`.
    pub fn new(kind: OptimizerKind, lr: f64, step: u64) -> OptimizerStep {
        let rate = match kind {
            OptimizerKind::Adam => {
                let t = step.max(1) as f64;
                let first = 1.0 - f64::from(BETA1).powf(t);
                let second = 1.0 - f64::from(BETA2).powf(t);
                lr * second.sqrt() / first
            }
            _ => lr,
        };
        OptimizerStep {
            kind,
            rate: rate as f32,
            salt: key(0, Purpose::Rounding, [step, 0]) as u32,
        }
    }

    /// Applies a gradient to a row. `first` and `second` are the row's slices of the state tables (see
    /// [`OptimizerKind::state_widths`]), empty if the optimizer does not have them.
    pub fn apply<F: Real>(self, row: &mut [F], gradient: &[F], first: &mut [F], second: &mut [F]) {
        let mut rate = F::of(f64::from(self.rate));
        let values = row.iter_mut().zip(gradient);
        match self.kind {
            OptimizerKind::Sgd => values.for_each(|(p, &g)| *p = sgd(rate, *p, g)),
            OptimizerKind::Adagrad => {
                for ((p, &g), s) in values.zip(first) {
                    (*p, *s) = adagrad(rate, *p, g, *s);
                }
            }
            OptimizerKind::RowAdagrad => {
                let mut squares = F::ZERO;
                gradient.iter().for_each(|&g| squares += g * g);
                rate = row_adagrad_rate(rate, squares, gradient.len(), &mut first[0]);
                values.for_each(|(p, &g)| *p = sgd(rate, *p, g));
            }
            OptimizerKind::Adam => {
                for (((p, &g), m), v) in values.zip(first).zip(second) {
                    (*p, *m, *v) = adam(rate, *p, g, [*m, *v]);
                }
            }
        }
    }
}

/// Updates a value by SGD.
#[inline(always)]
pub(crate) fn sgd<L: Lane>(rate: L, p: L, g: L) -> L {
    p - rate * g
}

/// Updates a value and its sum of squares by Adagrad.
#[inline(always)]
pub(crate) fn adagrad<L: Lane>(rate: L, p: L, g: L, s: L) -> (L, L) {
    let s = s + g * g;
    (p - rate * g / (s.sqrt() + s.constant(ADAGRAD_EPSILON)), s)
}

/// Adds the mean of a row's squared gradient to `sum` and returns the row's learning rate, with which [`sgd`]
/// then updates its values. `squares` is the sum of the squares.
#[inline(always)]
pub(crate) fn row_adagrad_rate<F: Real>(rate: F, squares: F, width: usize, sum: &mut F) -> F {
    *sum += squares / F::of(width as f64);
    rate / (sum.sqrt() + F::of(ADAGRAD_EPSILON))
}

/// Updates a value and its two moments by Adam.
#[inline(always)]
pub(crate) fn adam<L: Lane>(rate: L, p: L, g: L, [m, v]: [L; 2]) -> (L, L, L) {
    let constant = |x: f32| g.constant(f64::from(x));
    let m = constant(BETA1) * m + constant(1.0 - BETA1) * g;
    let v = constant(BETA2) * v + constant(1.0 - BETA2) * g * g;
    (p - rate * m / (v.sqrt() + v.constant(ADAM_EPSILON)), m, v)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(kind: OptimizerKind, lr: f64, steps: u64) -> Vec<f64> {
        // f(p) = ½ Σ (p − target)², from zero.
        let target = [1.0, -2.0, 0.5];
        let mut row = [0.0f64; 3];
        let mut states: Vec<Vec<f64>> =
            kind.state_widths(3).iter().map(|&w| vec![0.0; w]).collect();
        states.resize(2, Vec::new());
        let (first, second) = states.split_at_mut(1);
        for step in 1..=steps {
            let gradient: Vec<f64> = row.iter().zip(target).map(|(p, t)| p - t).collect();
            OptimizerStep::new(kind, lr, step).apply(
                &mut row,
                &gradient,
                &mut first[0],
                &mut second[0],
            );
        }
        row.iter().zip(target).map(|(p, t)| (p - t).abs()).collect()
    }

    #[test]
    fn every_optimizer_descends() {
        for (kind, lr) in [
            (OptimizerKind::Sgd, 0.1),
            (OptimizerKind::Adagrad, 0.5),
            (OptimizerKind::RowAdagrad, 0.5),
            (OptimizerKind::Adam, 0.05),
        ] {
            for error in run(kind, lr, 500) {
                assert!(error < 0.01, "{kind:?} {error}");
            }
        }
    }

    #[test]
    fn first_steps_by_hand() {
        let one = |kind| {
            let (mut p, mut first, mut second) = ([1.0f64, 1.0], [0.0; 2], [0.0; 2]);
            OptimizerStep::new(kind, 0.1, 1).apply(&mut p, &[2.0, -4.0], &mut first, &mut second);
            p
        };
        let close = |a: [f64; 2], b: [f64; 2]| {
            assert!(
                (a[0] - b[0]).abs() < 1e-6 && (a[1] - b[1]).abs() < 1e-6,
                "{a:?} {b:?}"
            )
        };
        close(one(OptimizerKind::Sgd), [0.8, 1.4]);
        close(one(OptimizerKind::Adagrad), [0.9, 1.1]);
        let root = 10f64.sqrt();
        close(
            one(OptimizerKind::RowAdagrad),
            [1.0 - 0.2 / root, 1.0 + 0.4 / root],
        );
        close(one(OptimizerKind::Adam), [0.9, 1.1]);
    }
}
