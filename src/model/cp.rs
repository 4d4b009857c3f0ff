//! CP (Hitchcock 1927; Lacroix et al. 2018): the canonical decomposition, in which an entity has separate
//! values as a head and as a tail.

use super::{LaneWise, Lanes, Operator, Real, Similarity};

/// score(h, r, t) = Σ headₖ(h)·rₖ·tailₖ(t). A lane of an entity holds its value as a head and its value as a
/// tail; a query is zero in the role that candidates do not have.
pub struct Cp;

impl Operator for Cp {
    const NAME: &'static str = "cp";
    const ABOUT: &'static str =
        "Σ head(h)·r·tail(t), an entity's values in two roles (Lacroix et al. 2018)";
    const ENTITY: Lanes = Lanes::Complex;
    const RELATION: Lanes = Lanes::Real;
    const SIMILARITY: Similarity = Similarity::Dot;
}

impl LaneWise for Cp {
    type Lane<F: Real> = [F; 2];

    /// Queries for tails use the head's values, queries for heads the tail's.
    #[inline(always)]
    fn forward<F: Real>(e: [F; 2], r: [F; 2], inverse: bool) -> [F; 2] {
        if inverse {
            [e[1] * r[0], F::ZERO]
        } else {
            [F::ZERO, e[0] * r[0]]
        }
    }

    #[inline(always)]
    fn backward<F: Real>(e: [F; 2], r: [F; 2], dq: [F; 2], inverse: bool) -> ([F; 2], [F; 2]) {
        if inverse {
            ([F::ZERO, dq[0] * r[0]], [dq[0] * e[1], F::ZERO])
        } else {
            ([dq[1] * r[0], F::ZERO], [dq[1] * e[0], F::ZERO])
        }
    }

    const WGSL: &'static str = "
fn operator_forward(e: vec2f, r: vec2f, inverse: bool) -> vec2f {
    return select(vec2f(0.0, e.x * r.x), vec2f(e.y * r.x, 0.0), inverse);
}
fn operator_backward(e: vec2f, r: vec2f, dq: vec2f, inverse: bool) -> OperatorGradient {
    let de = select(vec2f(dq.y * r.x, 0.0), vec2f(0.0, dq.x * r.x), inverse);
    return OperatorGradient(de, vec2f(select(dq.y * e.x, dq.x * e.y, inverse), 0.0));
}
";
}
