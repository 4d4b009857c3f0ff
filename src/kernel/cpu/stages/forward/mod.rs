//! Stages from rows to losses and ranks.

pub mod candidate_dropout;
pub mod loss;
pub mod loss_sum;
pub mod pair_query;
pub mod query;
pub mod query_matrix;
pub mod rank_count;
pub mod score;
pub mod score_all;
