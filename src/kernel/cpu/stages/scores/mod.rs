//! Scores of candidates, ranks by scores, and losses of scores.

pub mod candidate_dropout;
pub mod candidate_dropout_backward;
pub mod loss;
pub mod loss_sum;
pub mod part_loss;
pub mod part_statistic;
pub mod rank_count;
pub mod score;
pub mod score_all;
