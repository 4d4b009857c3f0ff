//! Gradients of queries, of candidates, of unique rows and of whole shards.

pub mod grad_candidates_all;
pub mod grad_matrix;
pub mod grad_query;
pub mod grad_query_all;
pub mod grad_rows;
pub mod regularize;
pub mod scatter;
