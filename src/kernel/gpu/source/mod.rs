//! The WGSL of every stage, composed from `shaders/`.

mod compose;
mod files;
mod variant;

use self::compose::{ComposeError, Variant, compose};
use super::shape::{Tile, Values};
use crate::kernel::Dtype;
use crate::loss::LossKind;
use crate::model::{Lanes, Model, Similarity};
use crate::optim::{OptimizerKind, RegularizerKind};

/// Invocations of a workgroup, unless the stage chooses: the most that every adapter allows.
pub(super) const GROUP: u32 = 256;

/// A stage in one of its variants. Each has its own pipeline.
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
    /// With the number of invocations of a workgroup.
    PartStatistic(LossKind, u32),
    /// With the number of invocations of a workgroup.
    PartLoss(LossKind, Similarity, u32),
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
    /// Copies words, so that the dtype does not matter.
    Rearrange(Values),
    ScoreAll(Similarity, Tile),
    GradQueryAll(Similarity, Tile),
    GradQuerySum(Values),
    GradCandidatesAll(Similarity, Tile),
    RankCount(Similarity, Tile),
}

/// The gradients of an update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pushed {
    /// One gradient row for each row.
    Rows,
    /// A list of weighted gradient rows for each row.
    Lists,
}

impl Stage {
    /// The stage's one name: of its shader's file, its entry point and its pipeline.
    pub fn name(self) -> &'static str {
        let path = self.path();
        path.rsplit_once('/').map_or(path, |(_, name)| name)
    }

    /// The shader's file below `shaders/`, without `.wgsl`.
    fn path(self) -> &'static str {
        match self {
            Stage::Pull(..) => "rows/pull",
            Stage::WriteRows(..) => "rows/write_rows",
            Stage::Rearrange(_) => "rows/rearrange",
            Stage::Widen(_) => "rows/widen",
            Stage::Query(_) => "queries/query",
            Stage::QueryBackward(_) => "queries/query_backward",
            Stage::QueryMatrix => "queries/query_matrix",
            Stage::QueryMatrixBackward => "queries/query_matrix_backward",
            Stage::PairQuery(_) => "queries/pair_query",
            Stage::PairQueryBackward(_) => "queries/pair_query_backward",
            Stage::CandidateDropout(..) => "scores/candidate_dropout",
            Stage::CandidateDropoutBackward(_) => "scores/candidate_dropout_backward",
            Stage::Score(..) => "scores/score",
            Stage::ScoreAll(..) => "scores/score_all",
            Stage::RankCount(..) => "scores/rank_count",
            Stage::Loss(..) => "scores/loss",
            Stage::LossSum => "scores/loss_sum",
            Stage::PartStatistic(..) => "scores/part_statistic",
            Stage::PartLoss(..) => "scores/part_loss",
            Stage::GradQuery(..) => "gradients/grad_query",
            Stage::GradQueryAll(..) => "gradients/grad_query_all",
            Stage::GradQuerySum(_) => "gradients/grad_query_sum",
            Stage::GradCandidatesAll(..) => "gradients/grad_candidates_all",
            Stage::GradRows(..) => "gradients/grad_rows",
            Stage::GradMatrix => "gradients/grad_matrix",
            Stage::Scatter(_) => "gradients/scatter",
            Stage::Regularize(..) => "gradients/regularize",
            Stage::Update(OptimizerKind::RowAdagrad, ..) => "updates/update_row_adagrad",
            Stage::Update(..) => "updates/update",
            Stage::Average(_) => "updates/average",
            Stage::SquareSum => "updates/square_sum",
        }
    }

    /// The choices and declarations that the shader's `#import FOLDER/*` and `#extern` stand for.
    fn variant(self) -> Variant {
        let variant = Variant::new();
        match self {
            Stage::QueryMatrix
            | Stage::QueryMatrixBackward
            | Stage::GradMatrix
            | Stage::LossSum
            | Stage::SquareSum => variant,
            Stage::CandidateDropoutBackward(values)
            | Stage::GradQuerySum(values)
            | Stage::Scatter(values)
            | Stage::Average(values) => variant.values(values),
            Stage::Rearrange(values) => variant.words(values),
            Stage::Pull(values, dtype) | Stage::CandidateDropout(values, dtype) => {
                variant.stored(values, dtype)
            }
            Stage::Widen(values) => variant.stored(values, Dtype::F16 { stochastic: false }),
            Stage::WriteRows(values, dtype) => {
                variant.stored(values, dtype).rounded(dtype.nearest(), 0)
            }
            Stage::Query(model)
            | Stage::QueryBackward(model)
            | Stage::PairQuery(model)
            | Stage::PairQueryBackward(model) => variant.model(model),
            Stage::Score(similarity, values, span) => {
                variant.similarity(similarity, values).count("SPAN", span)
            }
            Stage::ScoreAll(similarity, tile) | Stage::RankCount(similarity, tile) => {
                variant.score_tile(similarity, tile)
            }
            Stage::Loss(kind, similarity, group) => variant
                .similarity(similarity, Values::Scalar)
                .loss("loss", kind)
                .count("GROUP", group),
            Stage::PartStatistic(kind, group) => {
                variant.loss("statistic", kind).count("GROUP", group)
            }
            Stage::PartLoss(kind, similarity, group) => variant
                .similarity(similarity, Values::Scalar)
                .loss("part_loss", kind)
                .count("GROUP", group),
            Stage::GradQuery(similarity, values) => variant.similarity(similarity, values),
            Stage::GradQueryAll(similarity, tile) | Stage::GradCandidatesAll(similarity, tile) => {
                variant.gradient_tile(similarity, tile)
            }
            Stage::GradRows(similarity, values, slices) => variant
                .similarity(similarity, values)
                .count("SLICES", slices)
                .count("SHARED", if slices > 1 { GROUP } else { 1 }),
            Stage::Regularize(kind, lanes) => variant
                .regularizer(kind)
                .lane(lanes)
                .count("VALUES", lanes.values() as u32),
            Stage::Update(kind, values, group, pushed, dtype) => variant
                .stored(values, dtype)
                // After params, plan, gradients, values and states.
                .rounded(dtype, 4 + kind.state_widths(1).len())
                .pushed(pushed)
                .optimizer(kind)
                .count("GROUP", group),
        }
    }

    /// The whole shader.
    ///
    /// # Errors
    /// [`ComposeError`] if the files of the shader contradict each other or [`Stage::variant`]: a
    /// bug that tests find, since they compose every variant.
    pub fn source(self) -> Result<String, ComposeError> {
        compose(files::FILES, self.path(), &self.variant())
    }
}

#[cfg(test)]
mod tests;
