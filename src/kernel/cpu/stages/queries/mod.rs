//! The operator, which makes query vectors, and its derivatives.

pub mod pair_query;
pub mod pair_query_backward;
pub mod query;
pub mod query_backward;
pub mod query_matrix;
pub mod query_matrix_backward;
