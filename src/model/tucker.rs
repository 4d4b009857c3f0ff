//! TuckER (Balažević et al. 2019): RESCAL with matrices that share a core.
//!
//! score(h, r, t) = Σᵢⱼₖ Wᵢⱼₖ·hᵢ·rₖ·tⱼ. A relation stands for the matrix Rᵣ[i, j] = ⟨Wᵢⱼ, r⟩: the scores of its
//! row against the rows of the *core* W. The rest is RESCAL. The paper's code also normalises batches, before
//! and after the matrix, and drops values of the query; this implementation does neither. `entity_dropout` is
//! the first dropout of the paper's code, and `relation_dropout`, which drops values of the matrix, the second.
//!
//! The core is stored as the last `dim`² rows of the relation table: Wᵢⱼ in row i·`dim` + j, as wide as a
//! relation's row. So optimizers, shards, pushes, checkpoints and warm starts need no code for it: a plan
//! touches these rows in every step, and the product of relations and core uses the kernel for queries and
//! candidates, with its derivatives. A separate table would need code in all these places. Regularizers leave
//! the core alone, because no fact counts it.

use super::{Lanes, Operator, Real, Similarity};

/// score(h, r, t) = hᵀ·(Σₖ rₖ·W₍ₖ₎)·t, with a core W that all relations share.
pub struct TuckER;

impl Operator for TuckER {
    const NAME: &'static str = "tucker";
    const ABOUT: &'static str =
        "Σ W·h·r·t, a core for all relations (Balažević et al. 2019, without batch norm)";
    const ENTITY: Lanes = Lanes::Real;
    const RELATION: Lanes = Lanes::Real;
    const SIMILARITY: Similarity = Similarity::Dot;
}

/// Computes the matrix of a relation: its dot product with each row of the core. In plain loops: the oracle.
pub fn core_matrix<F: Real>(relation: &[F], core: &[F], matrix: &mut [F]) {
    for (cell, row) in matrix.iter_mut().zip(core.chunks_exact(relation.len())) {
        *cell = F::ZERO;
        for (&w, &r) in row.iter().zip(relation) {
            *cell += w * r;
        }
    }
}

/// Computes ∂loss/∂relation, which is overwritten, and ∂loss/∂core, which is added to, from ∂loss/∂matrix.
pub fn core_matrix_backward<F: Real>(
    relation: &[F],
    core: &[F],
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
