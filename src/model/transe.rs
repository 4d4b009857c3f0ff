//! TransE (Bordes et al. 2013): the query is the entity translated by the relation.

use super::{LaneWise, Lanes, Operator, Real, Similarity};

/// score(h, r, t) = −‖h + r − t‖₁.
pub struct TransEL1;
/// score(h, r, t) = −‖h + r − t‖₂.
pub struct TransEL2;

const WGSL: &str = "
fn operator_forward(e: vec2f, r: vec2f, inverse: bool) -> vec2f {
    return e + select(r, -r, inverse);
}
fn operator_backward(e: vec2f, r: vec2f, dq: vec2f, inverse: bool) -> OperatorGradient {
    return OperatorGradient(dq, select(dq, -dq, inverse));
}
";

#[inline(always)]
fn forward<F: Real>(e: [F; 2], r: [F; 2], inverse: bool) -> [F; 2] {
    [if inverse { e[0] - r[0] } else { e[0] + r[0] }, F::ZERO]
}

#[inline(always)]
fn backward<F: Real>(dq: [F; 2], inverse: bool) -> ([F; 2], [F; 2]) {
    let dr = if inverse { -dq[0] } else { dq[0] };
    ([dq[0], F::ZERO], [dr, F::ZERO])
}

macro_rules! translation {
    ($model:ty, $name:literal, $about:literal, $similarity:expr) => {
        impl Operator for $model {
            const NAME: &'static str = $name;
            const ABOUT: &'static str = $about;
            const ENTITY: Lanes = Lanes::Real;
            const RELATION: Lanes = Lanes::Real;
            const SIMILARITY: Similarity = $similarity;
        }

        impl LaneWise for $model {
            const WGSL: &'static str = WGSL;
            type Lane<F: Real> = [F; 2];

            #[inline(always)]
            fn forward<F: Real>(e: [F; 2], r: [F; 2], inverse: bool) -> [F; 2] {
                forward(e, r, inverse)
            }

            #[inline(always)]
            fn backward<F: Real>(
                _e: [F; 2],
                _r: [F; 2],
                dq: [F; 2],
                inverse: bool,
            ) -> ([F; 2], [F; 2]) {
                backward(dq, inverse)
            }
        }
    };
}
translation!(
    TransEL1,
    "transe-l1",
    "−‖h + r − t‖₁ (Bordes et al. 2013)",
    Similarity::NegativeL1
);
translation!(
    TransEL2,
    "transe-l2",
    "−‖h + r − t‖₂ (Bordes et al. 2013)",
    Similarity::NegativeL2
);
