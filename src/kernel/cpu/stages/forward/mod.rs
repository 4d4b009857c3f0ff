//! Queries, scores, losses and counts.

pub mod candidate_dropout;
pub mod loss;
pub mod pair_query;
pub mod query;
pub mod query_matrix;
pub mod rank_count;
pub mod score;
pub mod score_all;
