//! TuckER (Balažević et al. 2019): RESCAL, with matrices that all relations share the parts of.
//!
//! score(h, r, t) = Σᵢⱼₖ Wᵢⱼₖ·hᵢ·rₖ·tⱼ: a relation stands for the matrix Rᵣ[i, j] = ⟨Wᵢⱼ, r⟩, which is
//! what its row scores against the rows of the *core* W, and everything from there on is RESCAL.
//! The paper's code also normalises batches, before and after the matrix; there is none of that
//! here, and its third dropout, that of the query, is left out, too. `entity_dropout` is its first
//! one, and `relation_dropout`, which drops values of the matrix, its second.
//!
//! The core is kept as the last rows of the relation table: `dim`² of them, Wᵢⱼ in row i·`dim` + j, as
//! wide as a relation's. So optimizers, shards, pushes, checkpoints and warm starts know nothing of
//! it, a plan simply touches these rows in every step, and the product of relations and core is the
//! one of queries and candidates, with its derivatives. A third table would have been a third of
//! everything. Regularizers leave the core alone, since no fact counts it.

use super::{Lanes, Operator, Real, Similarity};

/// score(h, r, t) = hᵀ·(Σₖ rₖ·W₍ₖ₎)·t, W a core that all relations share.
pub struct TuckER;

impl Operator for TuckER {
    const NAME: &'static str = "tucker";
    const ABOUT: &'static str =
        "Σ W·h·r·t, a core for all relations (Balažević et al. 2019, without batch norm)";
    const ENTITY: Lanes = Lanes::Real;
    const RELATION: Lanes = Lanes::Real;
    const SIMILARITY: Similarity = Similarity::Dot;
}

/// The matrix of a relation: its dot product with each row of the core. In plain loops: the oracle.
pub fn core_matrix<F: Real>(relation: &[F], core: &[F], matrix: &mut [F]) {
    for (cell, row) in matrix.iter_mut().zip(core.chunks_exact(relation.len())) {
        *cell = F::ZERO;
        for (&w, &r) in row.iter().zip(relation) {
            *cell += w * r;
        }
    }
}

/// ∂loss/∂relation, overwritten, and ∂loss/∂core, added to, from ∂loss/∂matrix.
pub fn core_matrix_backward<F: Real>(
    (relation, core): (&[F], &[F]),
    d_matrix: &[F],
    d_relation: &mut [F],
    d_core: &mut [F],
) {
    let width = relation.len();
    d_relation.fill(F::ZERO);
    let rows = core.chunks_exact(width).zip(d_core.chunks_exact_mut(width));
    for (&d, (row, d_row)) in d_matrix.iter().zip(rows) {
        for k in 0..width {
            d_relation[k] += d * row[k];
            d_row[k] += d * relation[k];
        }
    }
}
