//! The arithmetic of training and evaluation, on a GPU or on the CPU.
//!
//! A stage has one folder and one name in three homes: `shaders/`, `kernel/gpu/stages/` and
//! `kernel/cpu/stages/`. [`Backend`] is the one place that chooses between the two engines.
//!
//! | stage | what it does |
//! |---|---|
//! | `pull` | gathers the unique rows of a plan from the shards |
//! | `write_rows` | replaces rows of the shards |
//! | `rearrange` | puts all rows, states included, into other shards |
//! | `widen` | rows that are stored as binary16, as `f32` |
//! | `query` | operator: entity and relation rows → query vectors, with dropout |
//! | `score` | queries × their sampled candidates |
//! | `score_all` | a tile of queries × a shard's rows |
//! | `loss` | scores → loss and ∂loss/∂score, in place |
//! | `part_statistic`, `part_loss` | the same where entities are cut into parts, which exchange statistics of scores |
//! | `grad_query`, `grad_query_all` | ∂loss/∂query from ∂loss/∂score |
//! | `grad_candidates_all` | ∂loss/∂row of a whole shard from a tile of ∂loss/∂score |
//! | `query_backward` | ∂loss/∂query → contributions to entity and relation rows |
//! | `query_matrix`, `query_matrix_backward` | the same where relations are matrices |
//! | `core_matrix`, `core_matrix_backward` | rows of relations and of a core → matrices, and back (CPU: `step/core_matrix.rs`; GPU: `score_all` and its gradients) |
//! | `grad_matrix` | every unique matrix adds up the outer products of its queries, in order |
//! | `candidate_dropout` | rows as candidates, with dropout |
//! | `candidate_dropout_backward` | the same mask on the gradients of candidates |
//! | `pair_query` | entity and target rows → what scores relations by dot products |
//! | `pair_query_backward` | ∂loss/∂pair query → contributions to entity and target rows |
//! | `grad_rows` | every unique row adds up its list of places, in order |
//! | `regularize` | adds the regularizer's derivative to unique rows |
//! | `scatter` | adds unique rows' gradients into a whole shard's gradient |
//! | `update`, `update_row_adagrad` | the optimizer, on one gradient or the average of several |
//! | `average` | the weighted mean of several workers' gradient rows |
//! | `square_sum` | Σ g², which is not finite if a gradient is not |
//! | `loss_sum`, `grad_query_sum` | add up what a GPU's workgroups left in parts |
//! | `rank_count` | scores and counts better and equal candidates, fused |

mod backend;
mod check;
pub mod cpu;
mod dtype;
pub mod engine;
mod error;
#[cfg(feature = "gpu")]
pub mod gpu;
#[cfg(not(feature = "gpu"))]
#[path = "no_gpu.rs"]
pub mod gpu;
mod layout;
pub mod measure;
mod merge;
mod part;
mod push;

pub use backend::{Backend, Table};
pub use cpu::part_tile;
pub use dtype::Dtype;
pub use error::KernelError;
pub use layout::{Places, ShardLayout, TableSpec};
#[cfg(feature = "gpu")]
use merge::Merger;
pub use part::{LaneGradients, LaneRows, PartRanking, PartTile};
pub use push::{GradientRows, Push};

pub use crate::ids::TableName;

use bytemuck::{Pod, Zeroable};
use serde::{Deserialize, Serialize};

use crate::loss::Loss;
use crate::model::Model;
use crate::optim::Regularizer;
use crate::sampler::{Pair, Plan};

/// The computation of a training step, the plan aside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepSpec {
    /// Operator and similarity.
    pub model: Model,
    /// Loss of a row of scores.
    pub loss: Loss,
    /// The penalty on touched rows.
    pub regularizer: Regularizer,
    /// Probability that a value of a query's entity row is dropped.
    pub entity_dropout: f32,
    /// Probability that a value of a query's relation row is dropped.
    pub relation_dropout: f32,
    /// Probability that a value of a row is dropped where the row is scored as a candidate: for all
    /// queries of a step alike.
    pub candidate_dropout: f32,
    /// Weight of the relation's own cross-entropy, given both entities; 0 where the plan does not
    /// predict relations.
    pub relation_weight: f32,
    /// Arithmetic of products of many queries and many rows.
    pub matmul_precision: MatmulPrecision,
}

/// Arithmetic of the matrix products of training. Rankings and predictions are `f32` always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum MatmulPrecision {
    /// On the processor's matrix unit, if it has one (AMX): three products of halves in bf16 for each
    /// `f32` product, so that a term may be off by 3 · 2⁻¹⁶ of itself, and sums by ten times the
    /// rounding of `f32`. Processors without such a unit, and GPUs, multiply in `f32`.
    #[default]
    Bf16x3,
    /// In `f32`.
    F32,
}

impl StepSpec {
    /// The weight of a pair's loss: its query's, shared among its answers, times that of relations.
    fn pair_weight(&self, plan: &Plan, pair: &Pair) -> f32 {
        let weight = self.relation_weight * plan.weights[pair.query as usize];
        weight / plan.answers(pair.query) as f32
    }
}

/// A query to be ranked or scored, in rows of the tables.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct RankQuery {
    /// Row of the known entity.
    pub entity: u32,
    /// Row of the relation.
    pub relation: u32,
    /// 1 to apply the operator backwards, else 0.
    pub inverse: u32,
    /// Row of the answer whose rank is wanted.
    pub target: u32,
}

/// Queries to rank, with the other right answers that must not count.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RankBatch {
    /// The queries.
    pub queries: Vec<RankQuery>,
    /// Query `q` leaves out `known[offsets[q]..offsets[q + 1]]`.
    pub offsets: Vec<u32>,
    /// Entity rows, each once a query, never the query's target.
    pub known: Vec<u32>,
}

impl RankBatch {
    /// The known answers that query `q` leaves out.
    pub fn known_of(&self, q: usize) -> &[u32] {
        &self.known[self.offsets[q] as usize..self.offsets[q + 1] as usize]
    }
}

/// Number of candidates before a target. A score that is not a number stands before every
/// other and beside none, so that a broken model ranks last, not first.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct RankCounts {
    /// Candidates, neither target nor known, with a better score (or where a score is NaN).
    pub better: u32,
    /// Candidates, neither target nor known, with the same score.
    pub equal: u32,
}

/// A table's values or one of its optimizer states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// The embeddings.
    Values,
    /// The first state table: Adagrad's accumulator, Adam's first moment.
    First,
    /// The second state table: Adam's second moment.
    Second,
}

impl Column {
    /// Values of this column in a row; 0 if the optimizer does not keep it.
    pub fn width(self, spec: &TableSpec) -> usize {
        let states = spec.optimizer.state_widths(spec.width);
        match self {
            Column::Values => spec.width,
            Column::First => states.first().copied().unwrap_or(0),
            Column::Second => states.get(1).copied().unwrap_or(0),
        }
    }
}
