//! `query_matrix_backward`: ∂loss/∂query → contributions to the entity row, where relations are
//! matrices.

use crate::kernel::cpu::stages::queries::query_matrix::query_matrix;

/// Overwrites `d_entity` with ∂loss/∂entity, and `d_relation` with the entity's row as the operator
/// took it. [`grad_matrix`] makes the relation's gradient of that row.
///
/// [`grad_matrix`]: crate::kernel::cpu::stages::gradients::grad_matrix::grad_matrix
#[inline(always)]
pub fn query_matrix_backward(
    relation: &[f32],
    inverse: bool,
    entity: &[f32],
    d_query: &[f32],
    d_entity: &mut [f32],
    d_relation: &mut [f32],
) {
    query_matrix(relation, !inverse, d_query, d_entity);
    d_relation.copy_from_slice(entity);
}
