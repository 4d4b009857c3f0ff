//! Regularizers: a penalty on the rows a step touches.

use crate::model::{Lanes, Real, lane, lane_count, set_lane};

/// The regularizers there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RegularizerKind {
    /// No penalty.
    None,
    /// λ·Σ |x|³ over lanes, |·| the modulus of complex lanes (Lacroix et al. 2018).
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
/// Weighted, a row counts once for every fact of the batch it occurs in, divided by the number of
/// queries (the mean over the batch of Lacroix et al. 2018); unweighted, every row of the batch's
/// facts counts once. Rows that are mere negatives never count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Regularizer {
    /// Which formula.
    pub kind: RegularizerKind,
    /// λ of entity rows.
    pub entity: f32,
    /// λ of relation rows.
    pub relation: f32,
    /// Whether rows count by their occurrences.
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

    /// Whether it changes anything.
    pub fn is_active(&self) -> bool {
        self.kind != RegularizerKind::None && (self.entity > 0.0 || self.relation > 0.0)
    }
}

impl RegularizerKind {
    /// Adds `weight` · ∂penalty/∂row to the gradient.
    #[inline(always)]
    pub fn add_gradient<F: Real>(self, lanes: Lanes, row: &[F], weight: F, gradient: &mut [F]) {
        for k in 0..lane_count(lanes, row.len()) {
            let x = lane(lanes, row, k);
            let g = lane(lanes, gradient, k);
            let d = self.slope(x);
            set_lane(
                lanes,
                gradient,
                k,
                [g[0] + weight * d[0], g[1] + weight * d[1]],
            );
        }
    }

    /// ∂penalty/∂x of one lane, λ = 1.
    #[inline(always)]
    fn slope<F: Real>(self, x: [F; 2]) -> [F; 2] {
        let each = |f: &dyn Fn(F) -> F| [f(x[0]), f(x[1])];
        match self {
            RegularizerKind::None => [F::ZERO; 2],
            RegularizerKind::N3 => {
                let modulus = (x[0] * x[0] + x[1] * x[1]).sqrt() * F::of(3.0);
                [modulus * x[0], modulus * x[1]]
            }
            RegularizerKind::L1 => each(&|x| x.sign()),
            RegularizerKind::L2 => each(&|x| F::of(2.0) * x),
            RegularizerKind::L3 => each(&|x| F::of(3.0) * x.abs() * x),
        }
    }

    /// The penalty of a row, λ = 1.
    pub fn penalty(self, lanes: Lanes, row: &[f64]) -> f64 {
        let power = |p: i32| row.iter().map(|x| x.abs().powi(p)).sum();
        match self {
            RegularizerKind::None => 0.0,
            RegularizerKind::N3 => (0..lane_count(lanes, row.len()))
                .map(|k| lane(lanes, row, k))
                .map(|x| x[0].hypot(x[1]).powi(3))
                .sum(),
            RegularizerKind::L1 => power(1),
            RegularizerKind::L2 => power(2),
            RegularizerKind::L3 => power(3),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_match_finite_differences() {
        let row = [0.7, -1.3, 0.2, 0.9, -0.4, 1.1];
        for kind in [
            RegularizerKind::None,
            RegularizerKind::N3,
            RegularizerKind::L1,
            RegularizerKind::L2,
            RegularizerKind::L3,
        ] {
            for lanes in [Lanes::Real, Lanes::Complex] {
                let mut analytic = [0.5; 6];
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
