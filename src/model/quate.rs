//! QuatE (Zhang et al. 2019): the query is the entity, with each quaternion lane rotated by a unit quaternion.

use super::{LaneWise, Lanes, Operator, ROOT_EPSILON, Real, Similarity};

/// score(h, r, t) = Σ ⟨hₖ ⊗ rₖ/|rₖ|, tₖ⟩, with ⊗ the Hamilton product.
pub struct QuatE;

impl Operator for QuatE {
    const NAME: &'static str = "quate";
    const ABOUT: &'static str = "Σ ⟨h ⊗ r/|r|, t⟩ over quaternion lanes (Zhang et al. 2019)";
    const ENTITY: Lanes = Lanes::Quaternion;
    const RELATION: Lanes = Lanes::Quaternion;
    const SIMILARITY: Similarity = Similarity::Dot;
}

impl LaneWise for QuatE {
    type Lane<F: Real> = [F; 4];

    /// ⟨h ⊗ u, t⟩ = ⟨h, t ⊗ conj(u)⟩ for unit quaternions u, so head queries use the conjugate.
    #[inline(always)]
    fn forward<F: Real>(e: [F; 4], r: [F; 4], inverse: bool) -> [F; 4] {
        scaled(product(e, turned(r, inverse)), F::ONE / norm(r))
    }

    #[inline(always)]
    fn backward<F: Real>(e: [F; 4], r: [F; 4], dq: [F; 4], inverse: bool) -> ([F; 4], [F; 4]) {
        let inverse_norm = F::ONE / norm(r);
        let u = scaled(r, inverse_norm);
        let de = product(dq, turned(u, !inverse));
        let du = turned(product(turned(e, true), dq), inverse);
        // The component along u only changes the norm, which the forward pass divides out.
        let along = u[0] * du[0] + u[1] * du[1] + u[2] * du[2] + u[3] * du[3];
        let across = [
            du[0] - u[0] * along,
            du[1] - u[1] * along,
            du[2] - u[2] * along,
            du[3] - u[3] * along,
        ];
        (de, scaled(across, inverse_norm))
    }

    const WGSL: &'static str = "
fn hamilton(a: vec4f, b: vec4f) -> vec4f {
    return vec4f(
        a.x * b.x - a.y * b.y - a.z * b.z - a.w * b.w,
        a.x * b.y + a.y * b.x + a.z * b.w - a.w * b.z,
        a.x * b.z - a.y * b.w + a.z * b.x + a.w * b.y,
        a.x * b.w + a.y * b.z - a.z * b.y + a.w * b.x,
    );
}
fn turned(q: vec4f, inverse: bool) -> vec4f {
    return select(q, vec4f(q.x, -q.yzw), inverse);
}
fn inverse_norm(r: vec4f) -> f32 {
    return 1.0 / sqrt(dot(r, r) + ROOT_EPSILON);
}
fn operator_forward(e: vec4f, r: vec4f, inverse: bool) -> vec4f {
    return hamilton(e, turned(r, inverse)) * inverse_norm(r);
}
fn operator_backward(e: vec4f, r: vec4f, dq: vec4f, inverse: bool) -> OperatorGradient {
    let u = r * inverse_norm(r);
    let du = turned(hamilton(turned(e, true), dq), inverse);
    let dr = (du - u * dot(u, du)) * inverse_norm(r);
    return OperatorGradient(hamilton(dq, turned(u, !inverse)), dr);
}
";
}

/// √|r|², never zero.
#[inline(always)]
fn norm<F: Real>(r: [F; 4]) -> F {
    (r[0] * r[0] + r[1] * r[1] + r[2] * r[2] + r[3] * r[3] + F::of(ROOT_EPSILON)).sqrt()
}

#[inline(always)]
fn scaled<F: Real>(q: [F; 4], by: F) -> [F; 4] {
    [q[0] * by, q[1] * by, q[2] * by, q[3] * by]
}

/// The conjugate of q if `inverse`, else q.
#[inline(always)]
fn turned<F: Real>(q: [F; 4], inverse: bool) -> [F; 4] {
    if inverse {
        [q[0], -q[1], -q[2], -q[3]]
    } else {
        q
    }
}

/// The Hamilton product.
#[inline(always)]
fn product<F: Real>(a: [F; 4], b: [F; 4]) -> [F; 4] {
    [
        a[0] * b[0] - a[1] * b[1] - a[2] * b[2] - a[3] * b[3],
        a[0] * b[1] + a[1] * b[0] + a[2] * b[3] - a[3] * b[2],
        a[0] * b[2] - a[1] * b[3] + a[2] * b[0] + a[3] * b[1],
        a[0] * b[3] + a[1] * b[2] - a[2] * b[1] + a[3] * b[0],
    ]
}
