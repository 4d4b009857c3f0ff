//! Gradients of queries, of candidates, of unique rows and of whole shards.

mod grad_candidates_all;
mod grad_matrix;
mod grad_query;
mod grad_query_all;
mod grad_query_sum;
pub mod grad_rows;
mod regularize;
mod scatter;

pub use grad_candidates_all::{CandidateGradientBuffers, grad_candidate_rows, grad_candidates_all};
pub use grad_query::grad_query;
pub use grad_query_all::{QueryGradientBuffers, SLICE, Slices, grad_query_all, grad_query_rows};
pub use grad_rows::{grad_entities, grad_relations};
pub use regularize::{Penalty, regularize};
pub use scatter::scatter;
