//! Regularizers: a penalty on the rows that a step touches.

use crate::model::{LaneValues, Lanes, Real, lane, lane_count, set_lane};

/// All regularizers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RegularizerKind {
    /// No penalty.
    None,
    /// λ·Σ |x|³ over lanes, with |·| the modulus of complex and quaternion lanes (Lacroix et al. 2018).
    N3,
    /// λ·Σ |x| over values.
    L1,
    /// λ·Σ x² over values.
    L2,
    /// λ·Σ |x|³ over values.
    L3,
}

/// A penalty and its weights.
///
/// If weighted, a row counts once for every occurrence in the batch's facts, divided by the number of queries
/// (the mean over the batch of Lacroix et al. 2018). If not, every row of the batch's facts counts once. Rows
/// that are only negatives never count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Regularizer {
    /// Formula of the penalty.
    pub kind: RegularizerKind,
    /// λ of entity rows.
    pub entity: f32,
    /// λ of relation rows.
    pub relation: f32,
    /// True if rows count by their occurrences.
    pub weighted: bool,
}

impl Regularizer {
    /// No penalty.
    pub const NONE: Regularizer = Regularizer {
        kind: RegularizerKind::None,
        entity: 0.0,
        relation: 0.0,
        weighted: true,
    };

    /// Returns whether the penalty changes any gradient.
    pub fn is_active(&self) -> bool {
        self.kind != RegularizerKind::None && (self.entity > 0.0 || self.relation > 0.0)
    }
}

impl RegularizerKind {
    /// Adds `weight` · ∂penalty/∂row to the gradient.
    #[inline(always)]
    pub fn add_gradient<F: Real>(self, lanes: Lanes, row: &[F], weight: F, gradient: &mut [F]) {
        match lanes {
            Lanes::Real => self.add::<F, [F; 2]>(Lanes::Real, row, weight, gradient),
            Lanes::Complex => self.add::<F, [F; 2]>(Lanes::Complex, row, weight, gradient),
            Lanes::Quaternion => self.add::<F, [F; 4]>(Lanes::Quaternion, row, weight, gradient),
        }
    }

    #[inline(always)]
    fn add<F: Real, L: LaneValues<F>>(
        self,
        lanes: Lanes,
        row: &[F],
        weight: F,
        gradient: &mut [F],
    ) {
        for k in 0..lane_count(lanes, row.len()) {
            let x: L = lane(lanes, row, k);
            let g: L = lane(lanes, gradient, k);
            let (g, d) = (g.values(), self.slope(x.values()));
            let sum = |i: usize| g[i] + weight * d[i];
            set_lane(lanes, gradient, k, L::of([sum(0), sum(1), sum(2), sum(3)]));
        }
    }

    /// ∂penalty/∂x of one lane, for λ = 1.
    #[inline(always)]
    fn slope<F: Real>(self, x: [F; 4]) -> [F; 4] {
        let each = |f: &dyn Fn(F) -> F| [f(x[0]), f(x[1]), f(x[2]), f(x[3])];
        match self {
            RegularizerKind::None => [F::ZERO; 4],
            RegularizerKind::N3 => {
                let modulus = modulus(x) * F::of(3.0);
                each(&|x| modulus * x)
            }
            RegularizerKind::L1 => each(&|x| x.sign()),
            RegularizerKind::L2 => each(&|x| F::of(2.0) * x),
            RegularizerKind::L3 => each(&|x| F::of(3.0) * x.abs() * x),
        }
    }

    /// Penalty of a row, for λ = 1.
    pub fn penalty(self, lanes: Lanes, row: &[f64]) -> f64 {
        let power = |p: i32| row.iter().map(|x| x.abs().powi(p)).sum();
        match self {
            RegularizerKind::None => 0.0,
            RegularizerKind::N3 => (0..lane_count(lanes, row.len()))
                .map(|k| modulus(lane(lanes, row, k)).powi(3))
                .sum(),
            RegularizerKind::L1 => power(1),
            RegularizerKind::L2 => power(2),
            RegularizerKind::L3 => power(3),
        }
    }
}

#[inline(always)]
fn modulus<F: Real>(x: [F; 4]) -> F {
    (x[0] * x[0] + x[1] * x[1] + x[2] * x[2] + x[3] * x[3]).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_match_finite_differences() {
        let row = [0.7, -1.3, 0.2, 0.9, -0.4, 1.1, -0.8, 0.3];
        for kind in [
            RegularizerKind::None,
            RegularizerKind::N3,
            RegularizerKind::L1,
            RegularizerKind::L2,
            RegularizerKind::L3,
        ] {
            for lanes in [Lanes::Real, Lanes::Complex, Lanes::Quaternion] {
                let mut analytic = [0.5; 8];
                kind.add_gradient(lanes, &row, 2.0, &mut analytic);
                for i in 0..row.len() {
                    let (mut up, mut down) = (row, row);
                    up[i] += 1e-6;
                    down[i] -= 1e-6;
                    let numeric = (kind.penalty(lanes, &up) - kind.penalty(lanes, &down)) / 1e-6;
                    assert!(
                        (analytic[i] - 0.5 - numeric).abs() < 1e-6,
                        "{kind:?} {lanes:?}"
                    );
                }
            }
        }
    }
}
