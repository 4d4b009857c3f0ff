//! Scores of candidates, ranks by scores, and losses of scores.

mod candidate_dropout;
mod candidate_dropout_backward;
pub mod loss;
mod loss_sum;
mod part_loss;
mod part_statistic;
mod rank_count;
pub mod score;
mod score_all;

pub use candidate_dropout::{mask_pulled, mask_shards};
pub use candidate_dropout_backward::{mask_pulled_gradients, mask_shard_gradients};
pub use loss::loss;
pub use loss_sum::loss_sum;
pub use part_loss::part_loss;
pub use part_statistic::part_statistic;
pub use rank_count::{rank_count, rank_tile, target_scores};
pub use score::score;
pub use score_all::{ScoreBuffers, score_all, score_rows, shard_params};
