//! Stages from ∂loss/∂score to gradients of rows.

pub mod candidate_dropout_backward;
pub mod grad_candidates_all;
pub mod grad_matrix;
pub mod grad_query;
pub mod grad_query_all;
pub mod grad_rows;
pub mod pair_query_backward;
pub mod query_backward;
pub mod query_matrix_backward;
pub mod regularize;
pub mod scatter;
