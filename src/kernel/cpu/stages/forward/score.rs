//! `score`: a query against single candidate rows, and the derivative of such a score.

use crate::kernel::cpu::simd::{sum2, sum4};
use crate::model::{Lanes, Operator, lane_count};

/// The score of a query against a candidate row.
#[inline(always)]
pub fn score<O: Operator>(query: &[f32], candidate: &[f32]) -> f32 {
    let similarity = O::SIMILARITY;
    let lanes = lane_count(O::ENTITY, query.len());
    similarity.finish(if O::ENTITY == Lanes::Complex {
        let (q0, q1) = query.split_at(lanes);
        let (c0, c1) = candidate[..query.len()].split_at(lanes);
        sum4([q0, q1], [c0, c1], |q, c| similarity.term(q, c))
    } else {
        sum2(query, &candidate[..query.len()], |q, c| {
            similarity.term([q, 0.0], [c, 0.0])
        })
    })
}

/// Adds `coefficient` · ∂score/∂query (slope aside) to `gradient`. By symmetry of every
/// similarity, with query and candidate exchanged it is ∂score/∂candidate.
#[inline(always)]
pub fn add_gradient<O: Operator>(
    coefficient: f32,
    query: &[f32],
    candidate: &[f32],
    gradient: &mut [f32],
) {
    let similarity = O::SIMILARITY;
    let lanes = lane_count(O::ENTITY, query.len());
    if O::ENTITY == Lanes::Complex {
        let (q0, q1) = query.split_at(lanes);
        let (c0, c1) = candidate[..query.len()].split_at(lanes);
        let (g0, g1) = gradient[..query.len()].split_at_mut(lanes);
        for k in 0..lanes {
            let d = similarity.gradient([q0[k], q1[k]], [c0[k], c1[k]]);
            g0[k] += coefficient * d[0];
            g1[k] += coefficient * d[1];
        }
    } else {
        let candidate = &candidate[..query.len()];
        let gradient = &mut gradient[..query.len()];
        for k in 0..query.len() {
            gradient[k] +=
                coefficient * similarity.gradient([query[k], 0.0], [candidate[k], 0.0])[0];
        }
    }
}
