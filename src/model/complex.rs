//! ComplEx (Trouillon et al. 2016): the query is the complex product of entity and relation.

use super::{LaneWise, Lanes, Operator, Real, Similarity};

/// score(h, r, t) = Re Σ hₖ·rₖ·conj(tₖ).
pub struct ComplEx;

impl Operator for ComplEx {
    const NAME: &'static str = "complex";
    const ABOUT: &'static str = "Re Σ h·r·conj(t) over complex lanes (Trouillon et al. 2016)";
    const ENTITY: Lanes = Lanes::Complex;
    const RELATION: Lanes = Lanes::Complex;
    const SIMILARITY: Similarity = Similarity::Dot;
}

impl LaneWise for ComplEx {
    type Lane<F: Real> = [F; 2];
    const LINEAR: bool = true;

    /// Query: `e·r` for tails, `e·conj(r)` for heads.
    #[inline(always)]
    fn forward<F: Real>(e: [F; 2], r: [F; 2], inverse: bool) -> [F; 2] {
        let i = if inverse { -r[1] } else { r[1] };
        [e[0] * r[0] - e[1] * i, e[0] * i + e[1] * r[0]]
    }

    #[inline(always)]
    fn backward<F: Real>(e: [F; 2], r: [F; 2], dq: [F; 2], inverse: bool) -> ([F; 2], [F; 2]) {
        let i = if inverse { -r[1] } else { r[1] };
        let de = [dq[0] * r[0] + dq[1] * i, dq[1] * r[0] - dq[0] * i];
        let di = dq[1] * e[0] - dq[0] * e[1];
        let dr = [dq[0] * e[0] + dq[1] * e[1], if inverse { -di } else { di }];
        (de, dr)
    }

    const WGSL: &'static str = "
fn operator_forward(e: vec2f, r: vec2f, inverse: bool) -> vec2f {
    let i = select(r.y, -r.y, inverse);
    return vec2f(e.x * r.x - e.y * i, e.x * i + e.y * r.x);
}
fn operator_backward(e: vec2f, r: vec2f, dq: vec2f, inverse: bool) -> OperatorGradient {
    let i = select(r.y, -r.y, inverse);
    let de = vec2f(dq.x * r.x + dq.y * i, dq.y * r.x - dq.x * i);
    let di = dq.y * e.x - dq.x * e.y;
    return OperatorGradient(de, vec2f(dq.x * e.x + dq.y * e.y, select(di, -di, inverse)));
}
";
}
