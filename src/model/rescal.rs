//! RESCAL (Nickel et al. 2011): the query is the entity times the relation's matrix.

use super::{Lanes, Operator, Real, Similarity};

/// score(h, r, t) = hᵀ·Rᵣ·t = Σ hᵢ·Rᵣ[i, j]·tⱼ. A relation's row is its matrix, row-major.
pub struct Rescal;

impl Operator for Rescal {
    const NAME: &'static str = "rescal";
    const ABOUT: &'static str = "hᵀ·R·t, a matrix for every relation (Nickel et al. 2011)";
    const ENTITY: Lanes = Lanes::Real;
    const RELATION: Lanes = Lanes::Real;
    const SIMILARITY: Similarity = Similarity::Dot;
}

/// `x` times a square row-major matrix; if `inverse`, the matrix times `x`. In plain loops: the oracle.
pub(super) fn product<F: Real>(matrix: &[F], inverse: bool, x: &[F], out: &mut [F]) {
    let n = x.len();
    for (j, out) in out.iter_mut().enumerate() {
        *out = F::ZERO;
        for (i, &x) in x.iter().enumerate() {
            *out += x * matrix[if inverse { j * n + i } else { i * n + j }];
        }
    }
}
