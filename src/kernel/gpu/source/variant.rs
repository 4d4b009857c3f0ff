//! The choices and declarations that variants of stages are made of.

use std::fmt::Display;

use super::GROUP;
use super::compose::Variant;
use crate::kernel::Dtype;
use crate::kernel::gpu::params;
use crate::kernel::gpu::shape::{Tile, Values, compares_pairs};
use crate::loss::{LossKind, MASKED};
use crate::model::{Lanes, Model, ROOT_EPSILON, Similarity};
use crate::optim::{ADAGRAD_EPSILON, ADAM_EPSILON, BETA1, BETA2, OptimizerKind, RegularizerKind};

impl Variant {
    /// The declarations of every stage.
    pub fn new() -> Variant {
        Variant::default()
            .declare("Params", params::WGSL.into())
            .count("GROUP", GROUP)
            .constant("MASKED", format_args!("{MASKED:e}f"))
            .constant("ROOT_EPSILON", format_args!("{ROOT_EPSILON:e}f"))
            .constant("ADAGRAD_EPSILON", format_args!("{ADAGRAD_EPSILON:e}f"))
            .constant("ADAM_EPSILON", format_args!("{ADAM_EPSILON:e}f"))
            .constant("BETA1", format_args!("{BETA1:e}f"))
            .constant("BETA2", format_args!("{BETA2:e}f"))
    }

    fn choose(mut self, folder: &'static str, file: &'static str) -> Variant {
        self.choices.insert(folder, file);
        self
    }

    fn declare(mut self, name: &'static str, declaration: String) -> Variant {
        self.externs.insert(name, declaration);
        self
    }

    fn constant(self, name: &'static str, value: impl Display) -> Variant {
        self.declare(name, format!("const {name} = {value};"))
    }

    /// A constant of type `u32`.
    pub fn count(self, name: &'static str, count: u32) -> Variant {
        self.constant(name, format_args!("{count}u"))
    }

    pub fn values(self, values: Values) -> Variant {
        self.choose(
            "value",
            match values {
                Values::Scalar => "scalar",
                Values::Quad => "quad",
            },
        )
    }

    /// Words of any type, for stages that only copy.
    pub fn words(self, values: Values) -> Variant {
        let word = match values {
            Values::Scalar => "u32",
            Values::Quad => "vec4u",
        };
        self.declare("V", format!("alias V = {word};"))
    }

    /// The storage of a shard's values.
    pub fn stored(self, values: Values, dtype: Dtype) -> Variant {
        self.values(values).choose(
            "dtype",
            match (dtype, values) {
                (Dtype::F32, _) => "f32",
                (Dtype::F16 { .. }, Values::Scalar) => "f16_scalar",
                (Dtype::F16 { .. }, Values::Quad) => "f16_quad",
            },
        )
    }

    /// The rounding of values that are written to a shard. `names` is the binding of the rows'
    /// names.
    pub fn rounded(self, dtype: Dtype, names: usize) -> Variant {
        match dtype {
            Dtype::F32 => self,
            Dtype::F16 { stochastic: false } => self.choose("rounding", "nearest"),
            Dtype::F16 { stochastic: true } => self
                .choose("rounding", "stochastic")
                .count("NAMES", names as u32),
        }
    }

    pub fn model(self, model: Model) -> Variant {
        self.count("ENTITY_VALUES", model.entity_lanes().values() as u32)
            .count("RELATION_VALUES", model.relation_lanes().values() as u32)
            .lane(model.entity_lanes())
            .declare("operator_forward", model.wgsl().unwrap_or_default().into())
    }

    /// The type of a lane in registers.
    pub fn lane(self, lanes: Lanes) -> Variant {
        let lane = match lanes {
            Lanes::Real | Lanes::Complex => "vec2f",
            Lanes::Quaternion => "vec4f",
        };
        self.declare("Lane", format!("alias Lane = {lane};"))
    }

    pub fn similarity(self, similarity: Similarity, values: Values) -> Variant {
        self.values(values)
            .choose(
                "cell",
                match compares_pairs(similarity) {
                    false => "single",
                    true => "pair",
                },
            )
            .choose("similarity", similarity.name())
    }

    /// The file of a loss in `folder`.
    pub fn loss(self, folder: &'static str, kind: LossKind) -> Variant {
        self.choose(
            folder,
            match kind {
                LossKind::Softmax => "softmax",
                LossKind::Bce => "bce",
                LossKind::Margin => "margin",
                LossKind::SelfAdversarial => "self_adversarial",
            },
        )
    }

    pub fn regularizer(self, kind: RegularizerKind) -> Variant {
        match kind {
            RegularizerKind::None => self,
            RegularizerKind::N3 => self.choose("regularizer", "n3"),
            RegularizerKind::L1 => self.choose("regularizer", "l1"),
            RegularizerKind::L2 => self.choose("regularizer", "l2"),
            RegularizerKind::L3 => self.choose("regularizer", "l3"),
        }
    }

    /// The optimizer's formula; Adagrad by rows has a stage of its own.
    pub fn optimizer(self, kind: OptimizerKind) -> Variant {
        match kind {
            OptimizerKind::Sgd => self.choose("optimizer", "sgd"),
            OptimizerKind::Adagrad => self.choose("optimizer", "adagrad"),
            OptimizerKind::Adam => self.choose("optimizer", "adam"),
            OptimizerKind::RowAdagrad => self,
        }
    }

    pub fn pushed(self, pushed: super::Pushed) -> Variant {
        self.choose(
            "pushed",
            match pushed {
                super::Pushed::Rows => "rows",
                super::Pushed::Lists => "lists",
            },
        )
    }

    /// Tiles of scores.
    pub fn score_tile(self, similarity: Similarity, tile: Tile) -> Variant {
        let pairs = compares_pairs(similarity);
        // Pairs take twice the memory; every adapter has 16 KiB, and some have no more.
        let depth = if pairs { 8 } else { 16 };
        self.tile(similarity, tile, depth)
            // Whether a cell of zeros changes a sum: only the modulus adds its ε there.
            .constant("ZERO_COUNTS", pairs)
    }

    /// Tiles of gradients.
    pub fn gradient_tile(self, similarity: Similarity, tile: Tile) -> Variant {
        self.tile(similarity, tile, 16)
    }

    /// `depth` is the depth of a narrow tile.
    fn tile(self, similarity: Similarity, tile: Tile, depth: u32) -> Variant {
        self.similarity(similarity, Values::Quad)
            .count("TILE", tile.size())
            .count("DEPTH", depth * 64 / tile.size())
    }
}
