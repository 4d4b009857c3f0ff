//! What shaders are put together from.

use std::fmt::Write;

use crate::kernel::Dtype;
use crate::kernel::gpu::params;
use crate::kernel::gpu::shape::{Tile, Values, compares_pairs};
use crate::loss::{LossKind, MASKED};
use crate::model::{Lanes, Model, ROOT_EPSILON, Similarity};
use crate::optim::{ADAGRAD_EPSILON, ADAM_EPSILON, BETA1, BETA2, RegularizerKind};

use super::GROUP;

pub(super) fn loss_row(kind: LossKind) -> &'static str {
    match kind {
        LossKind::Softmax => shared!("loss_softmax"),
        LossKind::Bce => shared!("loss_bce"),
        LossKind::Margin => shared!("loss_margin"),
        LossKind::SelfAdversarial => shared!("loss_self_adversarial"),
    }
}

pub(super) fn penalty_slope(kind: RegularizerKind) -> &'static str {
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
pub(super) enum Access {
    Load,
    Store,
    /// Four at a time.
    Gather,
}

pub(super) struct Source(pub String);

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
    pub fn add(&mut self, part: &str) -> &mut Source {
        self.0.push('\n');
        self.0.push_str(part);
        self
    }

    pub fn constant(&mut self, name: &str, value: std::fmt::Arguments<'_>) -> &mut Source {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "const {name} = {value};");
        self
    }

    pub fn group(&mut self, invocations: u32) -> &mut Source {
        self.constant("GROUP", format_args!("{invocations}u"))
    }

    pub fn values(&mut self, values: Values) -> &mut Source {
        self.add(match values {
            Values::Scalar => shared!("value_scalar"),
            Values::Quad => shared!("value_quad"),
        })
    }

    /// How many values make a lane.
    pub fn lanes(&mut self, name: &str, lanes: Lanes) -> &mut Source {
        self.constant(name, format_args!("{}u", lanes.values()))
    }

    /// A lane in registers.
    pub fn alias(&mut self, lanes: Lanes) -> &mut Source {
        self.add(match lanes {
            Lanes::Real | Lanes::Complex => "alias Lane = vec2f;\n",
            Lanes::Quaternion => "alias Lane = vec4f;\n",
        })
    }

    pub fn model(&mut self, model: Model) -> &mut Source {
        self.lanes("ENTITY_VALUES", model.entity_lanes())
            .lanes("RELATION_VALUES", model.relation_lanes())
            .alias(model.entity_lanes())
            .add(shared!("trig"))
            .dropout()
            .add(shared!("lanes"))
            .add(model.wgsl().unwrap_or_default())
    }

    pub fn dropout(&mut self) -> &mut Source {
        self.add(shared!("hash")).add(shared!("dropout"))
    }

    pub fn similarity(&mut self, similarity: Similarity) -> &mut Source {
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

    pub fn access(
        &mut self,
        similarity: Similarity,
        access: Access,
        buffers: &[&str],
    ) -> &mut Source {
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
    pub fn candidate_factors(&mut self, values: Values) -> &mut Source {
        self.dropout()
            .add(match values {
                Values::Scalar => shared!("candidate_factors_scalar"),
                Values::Quad => shared!("candidate_factors_quad"),
            })
            .add(shared!("candidate_row"))
    }

    /// Words of whatever type.
    pub fn words(&mut self, values: Values) -> &mut Source {
        self.add(match values {
            Values::Scalar => "alias V = u32;\n",
            Values::Quad => "alias V = vec4u;\n",
        })
    }

    /// Reading a shard's values.
    pub fn load(&mut self, values: Values, dtype: Dtype) -> &mut Source {
        let stored = match (dtype, values) {
            (Dtype::F32, _) => return self.add(shared!("stored_f32")),
            (Dtype::F16 { .. }, Values::Scalar) => shared!("stored_half_scalar"),
            (Dtype::F16 { .. }, Values::Quad) => shared!("stored_half_quad"),
        };
        self.add(shared!("widened")).add(stored)
    }

    /// Writing a shard's values; `names` is the binding of the rows' names, if they matter.
    pub fn keep(&mut self, values: Values, dtype: Dtype, names: usize) -> &mut Source {
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

    pub fn score_tile(&mut self, similarity: Similarity, tile: Tile) -> &mut Source {
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

    pub fn gradient_tile(&mut self, similarity: Similarity, tile: Tile) -> &mut Source {
        self.tile(similarity, tile, 16)
            .add(match compares_pairs(similarity) {
                false => shared!("put_single"),
                true => shared!("put_pair"),
            })
            .add(shared!("gradient_tile"))
    }

    /// What both kinds of tiles share. `depth` is that of narrow ones.
    pub fn tile(&mut self, similarity: Similarity, tile: Tile, depth: u32) -> &mut Source {
        self.group(GROUP)
            .constant("TILE", format_args!("{}u", tile.size()))
            .constant("DEPTH", format_args!("{}u", depth * 64 / tile.size()))
            .values(Values::Quad)
            .similarity(similarity)
            .access(similarity, Access::Gather, &["queries", "shard"])
            .add(shared!("tile"))
    }
}
