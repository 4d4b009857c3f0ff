//! DistMult (Yang et al. 2015): the query is the entity scaled by the relation, lane by lane.

use super::{LaneWise, Lanes, Operator, Real, Similarity};

/// score(h, r, t) = Σ hₖ·rₖ·tₖ.
pub struct DistMult;

impl Operator for DistMult {
    const NAME: &'static str = "distmult";
    const ABOUT: &'static str = "Σ h·r·t (Yang et al. 2015)";
    const ENTITY: Lanes = Lanes::Real;
    const RELATION: Lanes = Lanes::Real;
    const SIMILARITY: Similarity = Similarity::Dot;
}

impl LaneWise for DistMult {
    type Lane<F: Real> = [F; 2];
    const LINEAR: bool = true;

    #[inline(always)]
    fn forward<F: Real>(e: [F; 2], r: [F; 2], _inverse: bool) -> [F; 2] {
        [e[0] * r[0], F::ZERO]
    }

    #[inline(always)]
    fn backward<F: Real>(e: [F; 2], r: [F; 2], dq: [F; 2], _inverse: bool) -> ([F; 2], [F; 2]) {
        ([dq[0] * r[0], F::ZERO], [dq[0] * e[0], F::ZERO])
    }

    const WGSL: &'static str = "
fn operator_forward(e: vec2f, r: vec2f, inverse: bool) -> vec2f {
    return e * r;
}
fn operator_backward(e: vec2f, r: vec2f, dq: vec2f, inverse: bool) -> OperatorGradient {
    return OperatorGradient(dq * r, dq * e);
}
";
}
