//! RotatE (Sun et al. 2019): the query is the entity, with each complex lane rotated by a phase.

use super::{LaneWise, Lanes, Operator, Real, Similarity};

/// score(h, r, t) = −Σ |hₖ·e^{iθₖ} − tₖ|, with θ the relation's phases in radians.
pub struct RotatE;

impl Operator for RotatE {
    const NAME: &'static str = "rotate";
    const ABOUT: &'static str = "−Σ |h·e^{iθ} − t| over complex lanes (Sun et al. 2019)";
    const ENTITY: Lanes = Lanes::Complex;
    const RELATION: Lanes = Lanes::Real;
    const ANGLES: bool = true;
    const SIMILARITY: Similarity = Similarity::NegativeModulus;
}

impl LaneWise for RotatE {
    type Lane<F: Real> = [F; 2];

    /// A rotation keeps moduli, so |h·e^{iθ} − t| = |h − t·e^{−iθ}|: head queries rotate backwards.
    #[inline(always)]
    fn forward<F: Real>(e: [F; 2], r: [F; 2], inverse: bool) -> [F; 2] {
        let (s, c) = r[0].sin_cos();
        let s = if inverse { -s } else { s };
        [e[0] * c - e[1] * s, e[0] * s + e[1] * c]
    }

    #[inline(always)]
    fn backward<F: Real>(e: [F; 2], r: [F; 2], dq: [F; 2], inverse: bool) -> ([F; 2], [F; 2]) {
        let (s, c) = r[0].sin_cos();
        let s = if inverse { -s } else { s };
        let q = [e[0] * c - e[1] * s, e[0] * s + e[1] * c];
        let turn = dq[1] * q[0] - dq[0] * q[1];
        (
            [dq[0] * c + dq[1] * s, dq[1] * c - dq[0] * s],
            [if inverse { -turn } else { turn }, F::ZERO],
        )
    }

    const WGSL: &'static str = "
fn operator_forward(e: vec2f, r: vec2f, inverse: bool) -> vec2f {
    let sc = sin_cos(r.x);
    let s = select(sc.x, -sc.x, inverse);
    return vec2f(e.x * sc.y - e.y * s, e.x * s + e.y * sc.y);
}
fn operator_backward(e: vec2f, r: vec2f, dq: vec2f, inverse: bool) -> OperatorGradient {
    let sc = sin_cos(r.x);
    let s = select(sc.x, -sc.x, inverse);
    let q = vec2f(e.x * sc.y - e.y * s, e.x * s + e.y * sc.y);
    let turn = dq.y * q.x - dq.x * q.y;
    let de = vec2f(dq.x * sc.y + dq.y * s, dq.y * sc.y - dq.x * s);
    return OperatorGradient(de, vec2f(select(turn, -turn, inverse), 0.0));
}
";
}
