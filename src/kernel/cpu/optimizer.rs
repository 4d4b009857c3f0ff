//! What the optimizer does to a row, in registers: the formulas of [`OptimizerStep::apply`], but that
//! products take the place of roots and divisions.

use pulp::Simd;

use super::vector::Vector;
use crate::optim::{ADAGRAD_EPSILON, ADAM_EPSILON, BETA1, BETA2, OptimizerKind, OptimizerStep};

/// Applies a gradient to a row; see [`OptimizerStep::apply`].
#[inline(always)]
pub(super) fn apply<S: Simd>(
    simd: S,
    step: OptimizerStep,
    row: &mut [f32],
    gradient: &[f32],
    [first, second]: [&mut [f32]; 2],
) {
    let rate = Vector::splat(simd, step.rate);
    let vector = |values: S::f32s| Vector::new(simd, values);
    let (p, p_rest) = S::as_mut_simd_f32s(row);
    let (g, g_rest) = S::as_simd_f32s(gradient);
    let (m, m_rest) = S::as_mut_simd_f32s(first);
    let (v, v_rest) = S::as_mut_simd_f32s(second);
    match step.kind {
        OptimizerKind::Adagrad => {
            for ((p, &g), s) in p.iter_mut().zip(g).zip(m) {
                let g = vector(g);
                let sum = vector(*s) + g * g;
                *s = sum.values;
                let step = rate * g * sum.inverse_root_plus(ADAGRAD_EPSILON);
                *p = (vector(*p) - step).values;
            }
        }
        OptimizerKind::Adam => {
            let [b1, b2] = [BETA1, BETA2].map(|beta| Vector::splat(simd, beta));
            let [c1, c2] = [BETA1, BETA2].map(|beta| Vector::splat(simd, 1.0 - beta));
            for (((p, &g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
                let g = vector(g);
                let mean = b1 * vector(*m) + c1 * g;
                let square = b2 * vector(*v) + c2 * g * g;
                (*m, *v) = (mean.values, square.values);
                let step = rate * mean * square.inverse_root_plus(ADAM_EPSILON);
                *p = (vector(*p) - step).values;
            }
        }
        OptimizerKind::Sgd => {
            for (p, &g) in p.iter_mut().zip(g) {
                *p = (vector(*p) - rate * vector(g)).values;
            }
        }
        // Its one state belongs to the whole row.
        OptimizerKind::RowAdagrad => return step.apply(row, gradient, first, second),
    }
    step.apply(p_rest, g_rest, m_rest, v_rest);
}
