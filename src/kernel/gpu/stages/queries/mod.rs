//! The operator, which makes query vectors, and its derivatives.

mod pair_query;
mod pair_query_backward;
mod query;
mod query_backward;
mod query_matrix;
mod query_matrix_backward;

pub use pair_query::pair_query;
pub use pair_query_backward::pair_query_backward;
pub use query::query;
pub use query_backward::query_backward;
