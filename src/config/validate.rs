//! Ranges of numbers, and combinations of keys that make no sense.

use super::{Config, ConfigError, Init, UpdateKind};
use crate::loss::LossKind;
use crate::model::Model;
use crate::neighborhood;
use crate::sampler::{NearNegatives, Objective, Sides};
use crate::value_type::ValueType;

/// The largest `dim` of models whose relations are matrices: 64 MiB a relation.
const MOST_MATRIX: usize = 4096;
/// The most values of a core: 1 GiB of them.
const MOST_CORE: usize = 1 << 28;

/// Ranges that a number of a config must lie in.
struct Range {
    key: &'static str,
    value: f64,
    low: f64,
    high: f64,
}

impl Config {
    /// Checks every number and combination.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] naming the first key that is wrong, and why.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let model = self.model;
        let range = |key, value, low, high| Range {
            key,
            value,
            low,
            high,
        };
        let most = f64::from(u32::MAX);
        for Range {
            key,
            value,
            low,
            high,
        } in [
            range("dim", self.dim as f64, 1.0, 65_536.0),
            range(
                "relation_dim",
                self.relation_dim.unwrap_or(1) as f64,
                1.0,
                65_536.0,
            ),
            range(
                "batch_size",
                self.batch_size as f64,
                1.0,
                (1u32 << 24) as f64,
            ),
            range("epochs", f64::from(self.epochs), 1.0, most),
            range("replicas", self.replicas as f64, 1.0, 64.0),
            range("cut_seconds", self.cut_seconds, 0.0, f64::MAX),
            range("negatives", self.negatives as f64, 1.0, 1e6),
            range(
                "head_negatives",
                self.head_negatives.unwrap_or(1) as f64,
                1.0,
                1e6,
            ),
            range("negatives_chunk", self.negatives_chunk as f64, 1.0, most),
            range("near_share", self.near_share, f64::MIN_POSITIVE, 1.0),
            range("lr", self.lr, f64::MIN_POSITIVE, 1e6),
            range("init_scale", self.init_scale, 0.0, 1e6),
            range(
                "init_low",
                self.init_low.unwrap_or(-self.init_scale),
                -1e6,
                self.init_scale,
            ),
            range("margin", self.margin, -1e6, 1e6),
            range("temperature", self.temperature, 0.0, 1e6),
            range("label_smoothing", self.label_smoothing, 0.0, 0.999),
            range("relation_weight", self.relation_weight, 0.0, 1e6),
            range("schedule_factor", self.schedule_factor, 1e-6, 1.0),
            range("schedule_every", f64::from(self.schedule_every), 1.0, most),
            range("lambda", self.lambda, 0.0, 1e6),
            range(
                "lambda_relation",
                self.lambda_relation.unwrap_or(0.0),
                0.0,
                1e6,
            ),
            range("entity_dropout", self.entity_dropout, 0.0, 0.99),
            range("relation_dropout", self.relation_dropout, 0.0, 0.99),
            range("candidate_dropout", self.candidate_dropout, 0.0, 0.99),
            range("shards", self.shards as f64, 1.0, 1e6),
            range("workers", self.workers as f64, 1.0, 1024.0),
            range("min_workers", self.min_workers as f64, 1.0, 1024.0),
            range("max_workers", self.max_workers as f64, 1.0, 1024.0),
            range(
                "gradient_partitions",
                self.gradient_partitions as f64,
                0.0,
                1024.0,
            ),
            range("step_timeout", self.step_timeout, 0.001, 1e6),
        ] {
            // Written so that a value that is not a number fails.
            if !(low <= value && value <= high) {
                let low = if low == f64::MIN_POSITIVE {
                    "above 0".to_owned()
                } else {
                    format!("at least {low}")
                };
                return Err(ConfigError::invalid(
                    key,
                    format!("{value} is out of range: expected {low} and at most {high}"),
                ));
            }
        }
        let lane = model.values_per_lane();
        if !self.dim.is_multiple_of(lane) {
            let reason = format!("{} is not a multiple of {lane}, as {model} needs", self.dim);
            return Err(ConfigError::invalid("dim", reason));
        }
        if model.has_matrices() && self.dim > MOST_MATRIX {
            let reason = format!(
                "{} is too large: every relation of {model} makes a matrix of {0} × {0} values; expected at most {MOST_MATRIX}",
                self.dim
            );
            return Err(ConfigError::invalid("dim", reason));
        }
        self.validate_core(model)?;
        if self.objective == Objective::KVsAll && !self.loss().takes_labels() {
            let reason =
                "kvsall has many right answers a query: it takes softmax or bce".to_owned();
            return Err(ConfigError::invalid("loss", reason));
        }
        if self.objective == Objective::Negatives && self.label_smoothing > 0.0 {
            let reason =
                "smoothing spreads labels over all entities: it needs 1vsall or kvsall".to_owned();
            return Err(ConfigError::invalid("label_smoothing", reason));
        }
        if self.objective == Objective::Negatives {
            let queries = self.batch_size as u64 * 2;
            let negatives = self.negatives.max(self.head_negatives.unwrap_or(0));
            let scores = queries * (negatives as u64 + 1);
            if scores >= 1 << 30 {
                let reason = format!(
                    "{scores} scores a step are too many: expected fewer than 2³⁰; lower batch_size or negatives"
                );
                return Err(ConfigError::invalid("negatives", reason));
            }
        }
        if self.stochastic_rounding && self.dtype == ValueType::F32 {
            let reason = "only values that are stored as f16 are rounded: set dtype = \"f16\"";
            return Err(ConfigError::invalid("stochastic_rounding", reason.into()));
        }
        if self.init_low.is_some() && self.init != Init::Uniform {
            let reason = "only uniform values have a least one: set init = \"uniform\"";
            return Err(ConfigError::invalid("init_low", reason.into()));
        }
        self.validate_head_negatives()?;
        self.validate_near_negatives()?;
        self.validate_graph_store()?;
        self.validate_relation_weight(model)?;
        self.validate_workers()?;
        self.validate_sides()
    }

    /// Checks that heads can have negatives of their own.
    fn validate_head_negatives(&self) -> Result<(), ConfigError> {
        let reason = match self.head_negatives {
            None => return Ok(()),
            Some(_) if self.objective != Objective::Negatives => {
                "1vsall and kvsall draw no negatives: it needs objective = \"negatives\""
            }
            Some(_) if self.query_sides == Sides::Tail => {
                "no heads are asked for: query_sides is tail"
            }
            Some(heads) if heads != self.negatives && self.loss == LossKind::Margin => {
                "the margin loss is a mean over negatives: heads and tails must have as many"
            }
            Some(_) => return Ok(()),
        };
        Err(ConfigError::invalid("head_negatives", reason.to_owned()))
    }

    /// Checks that there are negatives that can be near ones.
    fn validate_near_negatives(&self) -> Result<(), ConfigError> {
        if self.near_negatives.is_none() {
            return Ok(());
        }
        if self.objective != Objective::Negatives {
            let reason = "1vsall and kvsall draw no negatives: it needs objective = \"negatives\""
                .to_owned();
            return Err(ConfigError::invalid("near_negatives", reason));
        }
        let most = self.negatives.max(self.head_negatives.unwrap_or(0));
        let near = NearNegatives::of(self.near_share, most);
        if near == 0 {
            let reason = format!(
                "{} of {most} negatives are none: expected a larger share",
                self.near_share
            );
            return Err(ConfigError::invalid("near_share", reason));
        }
        let queries = 2 * self.batch_size.div_ceil(self.negatives_chunk) as u64;
        let drawn = queries * (near as u64 + self.negatives_chunk.min(near) as u64);
        if drawn > neighborhood::Sampler::MOST_FACTS {
            let reason = format!(
                "{drawn} near negatives a step are too many: expected at most 2²⁶; lower batch_size or negatives"
            );
            return Err(ConfigError::invalid("near_negatives", reason));
        }
        Ok(())
    }

    /// Checks that a graph store has something to do.
    fn validate_graph_store(&self) -> Result<(), ConfigError> {
        let invalid = |key, reason: &str| Err(ConfigError::invalid(key, reason.to_owned()));
        if self.graph_store.is_some() && self.near_negatives.is_none() {
            let reason = "it draws near negatives: set near_negatives, or leave the key away";
            return invalid("graph_store", reason);
        }
        let alone = [
            ("graph_store_token_file", &self.graph_store_token_file),
            ("graph_store_tls", &self.graph_store_tls),
        ];
        match alone.iter().find(|of| of.1.is_some()) {
            Some((key, _)) if self.graph_store.is_none() => {
                invalid(key, "it is for a graph store: set graph_store")
            }
            _ => Ok(()),
        }
    }

    /// Checks the width of relations, which only a core leaves open.
    fn validate_core(&self, model: Model) -> Result<(), ConfigError> {
        let width = self.relation_dim.unwrap_or(self.dim);
        let reason = match model.has_core() {
            true if width.saturating_mul(model.core_rows(self.dim)) > MOST_CORE => format!(
                "{width} is too large: the core of {model} has {0} × {0} × {width} values; expected at most {MOST_CORE}",
                self.dim
            ),
            false if self.relation_dim.is_some() => format!(
                "a relation of {model} has {} values for dim {}: only tucker leaves them open",
                model.relation_width(self.dim),
                self.dim
            ),
            _ => return Ok(()),
        };
        Err(ConfigError::invalid("relation_dim", reason))
    }

    /// Checks that relations can be predicted if they are to be.
    fn validate_relation_weight(&self, model: Model) -> Result<(), ConfigError> {
        // What the engines compute with: smaller weights vanish.
        let weight = self.relation_weight as f32;
        let reason = match (self.objective, self.loss) {
            _ if self.relation_weight == 0.0 => return Ok(()),
            _ if weight == 0.0 => format!("{} is too small for f32", self.relation_weight),
            (Objective::OneVsAll | Objective::KVsAll, LossKind::Softmax)
                if model.predicts_relations() =>
            {
                return Ok(());
            }
            (Objective::OneVsAll | Objective::KVsAll, LossKind::Softmax) => {
                let models = Model::ALL.iter().filter(|model| model.predicts_relations());
                let names: Vec<&str> = models.map(|model| model.name()).collect();
                format!(
                    "{model} cannot score all relations at once: expected one of {}",
                    names.join(", ")
                )
            }
            _ => "relations are predicted with 1vsall or kvsall, and softmax, only".to_owned(),
        };
        Err(ConfigError::invalid("relation_weight", reason))
    }

    /// Checks that the numbers of workers go together.
    fn validate_workers(&self) -> Result<(), ConfigError> {
        if self.update_mode == UpdateKind::Async
            && (self.gradient_partitions > 0 || self.balance_by_speed)
        {
            let key = if self.balance_by_speed {
                "balance_by_speed"
            } else {
                "gradient_partitions"
            };
            let reason = "async workers make whole steps alone: there is nothing to cut".to_owned();
            return Err(ConfigError::invalid(key, reason));
        }
        let (min, workers, max) = (self.min_workers, self.workers, self.max_workers);
        if workers < min {
            let reason = format!("{min} are needed, but training starts with {workers}");
            return Err(ConfigError::invalid("min_workers", reason));
        }
        if workers > max {
            let reason = format!("{max} are allowed, but training starts with {workers}");
            return Err(ConfigError::invalid("max_workers", reason));
        }
        Ok(())
    }

    /// Checks what would be ignored, or would leave half of a model untrained.
    fn validate_sides(&self) -> Result<(), ConfigError> {
        let all = self.objective == Objective::KVsAll;
        if all && self.query_sides != Sides::Both {
            let reason = "kvsall asks for both ends of every fact: expected both".to_owned();
            return Err(ConfigError::invalid("query_sides", reason));
        }
        if all && self.frequency_weights {
            let reason = "kvsall has many facts a query and weighs queries alike".to_owned();
            return Err(ConfigError::invalid("frequency_weights", reason));
        }
        if self.kvsall_weight_by_answers && !all {
            let reason = "only kvsall asks queries with several answers".to_owned();
            return Err(ConfigError::invalid("kvsall_weight_by_answers", reason));
        }
        if self.reciprocal && matches!(self.query_sides, Sides::Tail | Sides::Head) {
            let reason = "with reciprocal relations, one end leaves half of the relations untrained; set reciprocal = false or both ends".to_owned();
            return Err(ConfigError::invalid("query_sides", reason));
        }
        if self.label_smoothing > 0.0 && !self.loss().takes_labels() {
            let reason =
                "the margin and self-adversarial losses have no labels to smooth".to_owned();
            return Err(ConfigError::invalid("label_smoothing", reason));
        }
        Ok(())
    }
}
