//! The WGSL of every stage, put together from `shaders/`.

macro_rules! shader {
    ($($name:literal),+) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $($name,)+ ".wgsl"))
    };
}

macro_rules! shared {
    ($name:literal) => {
        shader!("shared/", $name)
    };
}

mod parts;

use self::parts::{Access, Source, loss_row, penalty_slope};
use super::shape::{Tile, Values};
use crate::kernel::Dtype;
use crate::loss::LossKind;
use crate::model::{Lanes, Model, Similarity};
use crate::optim::{OptimizerKind, RegularizerKind};

/// Invocations of a workgroup, where a stage does not choose: the least that every adapter grants.
pub(super) const GROUP: u32 = 256;

/// A stage in one of its variants: what a pipeline is made from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Stage {
    Pull(Values, Dtype),
    Query(Model),
    QueryBackward(Model),
    CandidateDropout(Values, Dtype),
    CandidateDropoutBackward(Values),
    PairQuery(Model),
    PairQueryBackward(Model),
    QueryMatrix,
    QueryMatrixBackward,
    GradMatrix,
    /// With the number of invocations that share a pair.
    Score(Similarity, Values, u32),
    /// With the number of invocations of a workgroup.
    Loss(LossKind, Similarity, u32),
    LossSum,
    GradQuery(Similarity, Values),
    /// With the number of invocations that share a cell.
    GradRows(Similarity, Values, u32),
    Regularize(RegularizerKind, Lanes),
    Scatter(Values),
    /// With the number of invocations of a workgroup.
    Update(OptimizerKind, Values, u32, Pushed, Dtype),
    SquareSum,
    Average(Values),
    WriteRows(Values, Dtype),
    Widen(Values),
    /// Of words.
    Rearrange(Values),
    ScoreAll(Similarity, Tile),
    GradQueryAll(Similarity, Tile),
    GradQuerySum(Values),
    GradCandidatesAll(Similarity, Tile),
    RankCount(Similarity, Tile),
}

/// Where the gradients of an update come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pushed {
    /// One row each.
    Rows,
    /// A list of weighted rows each.
    Lists,
}

impl Stage {
    /// The stage's one name: of its shader's file, its entry point and its pipeline.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Pull(..) => "pull",
            Stage::Query(_) => "query",
            Stage::QueryBackward(_) => "query_backward",
            Stage::CandidateDropout(..) => "candidate_dropout",
            Stage::CandidateDropoutBackward(_) => "candidate_dropout_backward",
            Stage::PairQuery(_) => "pair_query",
            Stage::PairQueryBackward(_) => "pair_query_backward",
            Stage::QueryMatrix => "query_matrix",
            Stage::QueryMatrixBackward => "query_matrix_backward",
            Stage::GradMatrix => "grad_matrix",
            Stage::Score(..) => "score",
            Stage::Loss(..) => "loss",
            Stage::LossSum => "loss_sum",
            Stage::GradQuery(..) => "grad_query",
            Stage::GradRows(..) => "grad_rows",
            Stage::Regularize(..) => "regularize",
            Stage::Scatter(_) => "scatter",
            Stage::Update(OptimizerKind::RowAdagrad, ..) => "update_row_adagrad",
            Stage::Update(..) => "update",
            Stage::SquareSum => "square_sum",
            Stage::Average(_) => "average",
            Stage::WriteRows(..) => "write_rows",
            Stage::Widen(_) => "widen",
            Stage::Rearrange(_) => "rearrange",
            Stage::ScoreAll(..) => "score_all",
            Stage::GradQueryAll(..) => "grad_query_all",
            Stage::GradQuerySum(_) => "grad_query_sum",
            Stage::GradCandidatesAll(..) => "grad_candidates_all",
            Stage::RankCount(..) => "rank_count",
        }
    }

    /// The whole shader.
    pub fn source(self) -> String {
        let mut s = Source::default();
        match self {
            Stage::Pull(values, dtype) => s
                .group(GROUP)
                .values(values)
                .load(values, dtype)
                .add(shader!("pull")),
            Stage::Query(model) => s.group(GROUP).model(model).add(shader!("query")),
            Stage::QueryBackward(model) => {
                s.group(GROUP).model(model).add(shader!("query_backward"))
            }
            Stage::CandidateDropout(values, dtype) => s
                .group(GROUP)
                .values(values)
                .load(values, dtype)
                .candidate_factors(values)
                .add(shader!("candidate_dropout")),
            Stage::CandidateDropoutBackward(values) => s
                .group(GROUP)
                .values(values)
                .candidate_factors(values)
                .add(shader!("candidate_dropout_backward")),
            Stage::PairQuery(model) => s.group(GROUP).model(model).add(shader!("pair_query")),
            Stage::PairQueryBackward(model) => s
                .group(GROUP)
                .model(model)
                .add(shader!("pair_query_backward")),
            Stage::QueryMatrix => s
                .group(GROUP)
                .dropout()
                .add(shared!("matrix_product"))
                .add(shader!("query_matrix")),
            Stage::QueryMatrixBackward => s
                .group(GROUP)
                .dropout()
                .add(shared!("matrix_product"))
                .add(shader!("query_matrix_backward")),
            Stage::GradMatrix => s.group(GROUP).dropout().add(shader!("grad_matrix")),
            Stage::Score(similarity, values, span) => s
                .group(GROUP)
                .constant("SPAN", format_args!("{span}u"))
                .values(values)
                .similarity(similarity)
                .access(similarity, Access::Load, &["entities", "queries"])
                .add(shared!("candidates"))
                .add(shader!("score")),
            Stage::Loss(kind, similarity, group) => s
                .group(group)
                .values(Values::Scalar)
                .similarity(similarity)
                .add(shared!("reduce"))
                .add(shared!("logistic"))
                .add(shared!("nan"))
                .add(loss_row(kind))
                .add(shader!("loss")),
            Stage::LossSum => s
                .group(GROUP)
                .add(shared!("reduce"))
                .add(shader!("loss_sum")),
            Stage::GradQuery(similarity, values) => s
                .group(GROUP)
                .values(values)
                .similarity(similarity)
                .access(similarity, Access::Load, &["entities", "queries"])
                .access(similarity, Access::Store, &["d_queries"])
                .add(shared!("candidates"))
                .add(shader!("grad_query")),
            Stage::GradRows(similarity, values, slices) => s
                .group(GROUP)
                .constant("SLICES", format_args!("{slices}u"))
                .constant(
                    "SHARED",
                    format_args!("{}u", if slices > 1 { GROUP } else { 1 }),
                )
                .values(values)
                .similarity(similarity)
                .access(similarity, Access::Load, &["rows", "inputs", "queries"])
                .access(similarity, Access::Load, &["gradients"])
                .access(similarity, Access::Store, &["gradients"])
                .add(shader!("grad_rows")),
            Stage::Regularize(kind, lanes) => s
                .group(GROUP)
                .lanes("VALUES", lanes)
                .alias(lanes)
                .add(penalty_slope(kind))
                .add(shader!("regularize")),
            Stage::Scatter(values) => s.group(GROUP).values(values).add(shader!("scatter")),
            Stage::WriteRows(values, dtype) => s
                .group(GROUP)
                .values(values)
                .load(values, dtype)
                .keep(values, dtype.nearest(), 0)
                .add(shader!("write_rows")),
            Stage::Widen(values) => s
                .group(GROUP)
                .values(values)
                .load(values, Dtype::F16 { stochastic: false })
                .add(shader!("widen")),
            Stage::Rearrange(values) => s.group(GROUP).words(values).add(shader!("rearrange")),
            Stage::Average(values) => s.group(GROUP).values(values).add(shader!("average")),
            Stage::SquareSum => s
                .group(GROUP)
                .add(shared!("reduce"))
                .add(shader!("square_sum")),
            Stage::Update(kind, values, group, pushed, dtype) => {
                let s = s.group(group).values(values).add(shared!("updated_row"));
                // After plan, gradients, values and states.
                let names = 4 + kind.state_widths(1).len();
                let s = s.load(values, dtype).keep(values, dtype, names);
                let s = s.add(match pushed {
                    Pushed::Rows => shared!("pushed_rows"),
                    Pushed::Lists => shared!("pushed_lists"),
                });
                match kind {
                    OptimizerKind::Sgd => s.add(shared!("optimizer_sgd")).add(shader!("update")),
                    OptimizerKind::Adagrad => {
                        s.add(shared!("optimizer_adagrad")).add(shader!("update"))
                    }
                    OptimizerKind::Adam => s.add(shared!("optimizer_adam")).add(shader!("update")),
                    OptimizerKind::RowAdagrad => {
                        s.add(shared!("reduce")).add(shader!("update_row_adagrad"))
                    }
                }
            }
            Stage::ScoreAll(similarity, tile) => {
                s.score_tile(similarity, tile).add(shader!("score_all"))
            }
            Stage::RankCount(similarity, tile) => {
                let s = s.score_tile(similarity, tile).add(shared!("nan"));
                s.add(shader!("rank_count"))
            }
            Stage::GradQueryAll(similarity, tile) => s
                .gradient_tile(similarity, tile)
                .add(shader!("grad_query_all")),
            Stage::GradCandidatesAll(similarity, tile) => s
                .gradient_tile(similarity, tile)
                .add(shader!("grad_candidates_all")),
            Stage::GradQuerySum(values) => {
                s.group(GROUP).values(values).add(shader!("grad_query_sum"))
            }
        };
        s.0
    }
}

#[cfg(test)]
mod tests;
