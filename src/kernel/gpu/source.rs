//! The WGSL of every stage, put together from `shaders/`.

use std::fmt::Write;

use super::params;
use super::shape::{Tile, Values, compares_pairs};
use crate::kernel::Dtype;
use crate::loss::{LossKind, MASKED};
use crate::model::{Lanes, Model, ROOT_EPSILON, Similarity};
use crate::optim::{ADAGRAD_EPSILON, ADAM_EPSILON, BETA1, BETA2, OptimizerKind, RegularizerKind};

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
    /// Weighted, all rows from every push.
    All,
}

macro_rules! shader {
    ($name:literal) => {
        include_str!(concat!("../../../shaders/", $name, ".wgsl"))
    };
}

macro_rules! shared {
    ($name:literal) => {
        include_str!(concat!("../../../shaders/shared/", $name, ".wgsl"))
    };
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
                .constant("COMPLEX", format_args!("{}", lanes == Lanes::Complex))
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
                    Pushed::All => shared!("pushed_all"),
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
                s.score_tile(similarity, tile).add(shader!("rank_count"))
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

fn loss_row(kind: LossKind) -> &'static str {
    match kind {
        LossKind::Softmax => shared!("loss_softmax"),
        LossKind::Bce => shared!("loss_bce"),
        LossKind::Margin => shared!("loss_margin"),
        LossKind::SelfAdversarial => shared!("loss_self_adversarial"),
    }
}

fn penalty_slope(kind: RegularizerKind) -> &'static str {
    match kind {
        RegularizerKind::None => "",
        RegularizerKind::N3 => shared!("regularizer_n3"),
        RegularizerKind::L1 => shared!("regularizer_l1"),
        RegularizerKind::L2 => shared!("regularizer_l2"),
        RegularizerKind::L3 => shared!("regularizer_l3"),
    }
}

/// Ways of reading and writing the cells of a buffer, named after it.
#[derive(Clone, Copy)]
enum Access {
    Load,
    Store,
    /// Four at a time.
    Gather,
}

struct Source(String);

impl Default for Source {
    fn default() -> Source {
        let mut source = Source([params::WGSL, shared!("params")].concat());
        source
            .constant("MASKED", format_args!("{MASKED:e}f"))
            .constant("ROOT_EPSILON", format_args!("{ROOT_EPSILON:e}f"))
            .constant("ADAGRAD_EPSILON", format_args!("{ADAGRAD_EPSILON:e}f"))
            .constant("ADAM_EPSILON", format_args!("{ADAM_EPSILON:e}f"))
            .constant("BETA1", format_args!("{BETA1:e}f"))
            .constant("BETA2", format_args!("{BETA2:e}f"));
        source
    }
}

impl Source {
    fn add(&mut self, part: &str) -> &mut Source {
        self.0.push('\n');
        self.0.push_str(part);
        self
    }

    fn constant(&mut self, name: &str, value: std::fmt::Arguments<'_>) -> &mut Source {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "const {name} = {value};");
        self
    }

    fn group(&mut self, invocations: u32) -> &mut Source {
        self.constant("GROUP", format_args!("{invocations}u"))
    }

    fn values(&mut self, values: Values) -> &mut Source {
        self.add(match values {
            Values::Scalar => shared!("value_scalar"),
            Values::Quad => shared!("value_quad"),
        })
    }

    fn model(&mut self, model: Model) -> &mut Source {
        let complex = |lanes| lanes == Lanes::Complex;
        self.constant(
            "ENTITY_COMPLEX",
            format_args!("{}", complex(model.entity_lanes())),
        )
        .constant(
            "RELATION_COMPLEX",
            format_args!("{}", complex(model.relation_lanes())),
        )
        .add(shared!("trig"))
        .add(shared!("hash"))
        .add(shared!("dropout"))
        .add(shared!("lanes"))
        .add(model.wgsl())
    }

    fn similarity(&mut self, similarity: Similarity) -> &mut Source {
        self.add(match compares_pairs(similarity) {
            false => shared!("cell_single"),
            true => shared!("cell_pair"),
        })
        .add(match similarity {
            Similarity::Dot => shared!("similarity_dot"),
            Similarity::NegativeL1 => shared!("similarity_negative_l1"),
            Similarity::NegativeL2 => shared!("similarity_negative_l2"),
            Similarity::NegativeModulus => shared!("similarity_negative_modulus"),
        })
    }

    fn access(&mut self, similarity: Similarity, access: Access, buffers: &[&str]) -> &mut Source {
        let template = match (access, compares_pairs(similarity)) {
            (Access::Load, false) => shared!("load_single"),
            (Access::Load, true) => shared!("load_pair"),
            (Access::Store, false) => shared!("store_single"),
            (Access::Store, true) => shared!("store_pair"),
            (Access::Gather, false) => shared!("gather_single"),
            (Access::Gather, true) => shared!("gather_pair"),
        };
        for buffer in buffers {
            self.add(&template.replace("NAME", buffer));
        }
        self
    }

    /// The masks of candidates.
    fn candidate_factors(&mut self, values: Values) -> &mut Source {
        self.add(shared!("hash"))
            .add(shared!("dropout"))
            .add(match values {
                Values::Scalar => shared!("candidate_factors_scalar"),
                Values::Quad => shared!("candidate_factors_quad"),
            })
            .add(shared!("candidate_row"))
    }

    /// Words of whatever type.
    fn words(&mut self, values: Values) -> &mut Source {
        self.add(match values {
            Values::Scalar => "alias V = u32;\n",
            Values::Quad => "alias V = vec4u;\n",
        })
    }

    /// Reading a shard's values.
    fn load(&mut self, values: Values, dtype: Dtype) -> &mut Source {
        let stored = match (dtype, values) {
            (Dtype::F32, _) => return self.add(shared!("stored_f32")),
            (Dtype::F16 { .. }, Values::Scalar) => shared!("stored_half_scalar"),
            (Dtype::F16 { .. }, Values::Quad) => shared!("stored_half_quad"),
        };
        self.add(shared!("widened")).add(stored)
    }

    /// Writing a shard's values; `names` is the binding of the rows' names, if they matter.
    fn keep(&mut self, values: Values, dtype: Dtype, names: usize) -> &mut Source {
        match dtype {
            Dtype::F32 => return self.add(shared!("keep_f32")),
            Dtype::F16 { stochastic: false } => self.add(shared!("rounding_nearest")),
            Dtype::F16 { stochastic: true } => {
                let rounding = shared!("rounding_stochastic").replace("NAMES", &names.to_string());
                self.add(shared!("hash")).add(&rounding)
            }
        };
        self.add(shared!("narrowed")).add(match values {
            Values::Scalar => shared!("keep_half_scalar"),
            Values::Quad => shared!("keep_half_quad"),
        })
    }

    fn score_tile(&mut self, similarity: Similarity, tile: Tile) -> &mut Source {
        let pairs = compares_pairs(similarity);
        // Pairs take twice the room; 16 KiB is all that every adapter has.
        let depth = if pairs { 8 } else { 16 };
        // What a cell of zeros would add to a sum; only the modulus has its ε there.
        self.constant("ZERO_COUNTS", format_args!("{pairs}"))
            .tile(similarity, tile, depth)
            .add(if pairs {
                shared!("splat_pair")
            } else {
                shared!("splat_single")
            })
            .add(shared!("score_tile"))
    }

    fn gradient_tile(&mut self, similarity: Similarity, tile: Tile) -> &mut Source {
        self.tile(similarity, tile, 16)
            .add(match compares_pairs(similarity) {
                false => shared!("put_single"),
                true => shared!("put_pair"),
            })
            .add(shared!("gradient_tile"))
    }

    /// What both kinds of tiles share. `depth` is that of narrow ones.
    fn tile(&mut self, similarity: Similarity, tile: Tile, depth: u32) -> &mut Source {
        self.group(GROUP)
            .constant("TILE", format_args!("{}u", tile.size()))
            .constant("DEPTH", format_args!("{}u", depth * 64 / tile.size()))
            .values(Values::Quad)
            .similarity(similarity)
            .access(similarity, Access::Gather, &["queries", "shard"])
            .add(shared!("tile"))
    }
}

#[cfg(test)]
mod tests;
