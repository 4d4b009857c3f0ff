//! SimplE (Kazemi and Poole 2018): CP with the two roles of an entity tied by an inverse of every relation.

use super::{LaneWise, Lanes, Operator, Real, Similarity};

/// score(h, r, t) = ½ Σ (headₖ(h)·rₖ·tailₖ(t) + tailₖ(h)·r⁻¹ₖ·headₖ(t)). A lane of an entity holds its values
/// as a head and as a tail; a lane of a relation holds its value and its inverse's.
pub struct SimplE;

impl Operator for SimplE {
    const NAME: &'static str = "simple";
    const ABOUT: &'static str =
        "½ Σ (head(h)·r·tail(t) + tail(h)·r⁻¹·head(t)) (Kazemi and Poole 2018)";
    const ENTITY: Lanes = Lanes::Complex;
    const RELATION: Lanes = Lanes::Complex;
    const SIMILARITY: Similarity = Similarity::Dot;
}

impl LaneWise for SimplE {
    type Lane<F: Real> = [F; 2];

    /// Head queries exchange the relation and its inverse.
    #[inline(always)]
    fn forward<F: Real>(e: [F; 2], r: [F; 2], inverse: bool) -> [F; 2] {
        let (r, half) = (turned(r, inverse), F::of(0.5));
        [half * e[1] * r[1], half * e[0] * r[0]]
    }

    #[inline(always)]
    fn backward<F: Real>(e: [F; 2], r: [F; 2], dq: [F; 2], inverse: bool) -> ([F; 2], [F; 2]) {
        let (r, half) = (turned(r, inverse), F::of(0.5));
        let dr = [half * dq[1] * e[0], half * dq[0] * e[1]];
        (
            [half * dq[1] * r[0], half * dq[0] * r[1]],
            turned(dr, inverse),
        )
    }

    const WGSL: &'static str = "
fn operator_forward(e: vec2f, r: vec2f, inverse: bool) -> vec2f {
    return 0.5 * e.yx * select(r.yx, r, inverse);
}
fn operator_backward(e: vec2f, r: vec2f, dq: vec2f, inverse: bool) -> OperatorGradient {
    let dr = 0.5 * dq.yx * e;
    return OperatorGradient(0.5 * dq.yx * select(r, r.yx, inverse), select(dr, dr.yx, inverse));
}
";
}

#[inline(always)]
fn turned<F: Real>(r: [F; 2], inverse: bool) -> [F; 2] {
    if inverse { [r[1], r[0]] } else { r }
}
