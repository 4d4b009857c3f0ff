//! The configuration of a run: one struct, read from a file, then a recipe, then flags.

mod layers;
mod recipes;

pub use layers::{ConfigError, Layers};
pub use recipes::{RECIPES, Recipe, find as find_recipe};

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::dataset::PublicDataset;
use crate::kernel::Dtype;
use crate::loss::{Loss, LossKind};
use crate::model::Model;
use crate::optim::{OptimizerKind, Regularizer, RegularizerKind, Schedule, ScheduleKind};
use crate::sampler::{Objective, Sides};
use crate::server::{ShardingStrategy, StalenessPolicy, Storage, UpdateMode};

/// The largest `dim` of models whose relations are matrices: 64 MiB a relation.
const MOST_MATRIX: usize = 4096;

/// How tables are initialised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Init {
    /// Uniform in ±`init_scale`.
    Uniform,
    /// Normal with standard deviation `init_scale`.
    Normal,
    /// Uniform in ±`init_scale`·√(3/width) (Glorot and Bengio 2010, fan-in = fan-out = width).
    Xavier,
}

/// When gradients of several workers are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpdateKind {
    /// When all are there, as their average.
    Sync,
    /// At once, with bounded staleness.
    Async,
}

/// What the values of tables are stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Four bytes a value.
    F32,
    /// Two bytes a value.
    F16,
}

macro_rules! config {
    ($($(#[doc = $doc:literal])+ $name:ident : $type:ty = $default:expr,)+) => {
        /// Everything a training run depends on. Every field is a key of a config file and of
        /// `--set key=value`.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Config {
            $($(#[doc = $doc])+ pub $name: $type,)+
        }

        impl Default for Config {
            fn default() -> Config {
                Config { $($name: $default,)+ }
            }
        }

        impl Config {
            /// Every key with its description.
            pub const KEYS: &'static [(&'static str, &'static str)] = &[
                $((stringify!($name), concat!($($doc),+)),)+
            ];
        }
    };
}

config! {
    /// Built-in or public name, directory, archive or file.
    dataset: String = "genealogy".to_owned(),
    /// Shares of train, valid and test when the dataset is a single file.
    split: Option<[f64; 3]> = None,
    /// Model: complex, cp, distmult, quate, rescal, rotate, simple, transe-l1, transe-l2.
    model: String = "complex".to_owned(),
    /// f32 values in an entity's row (ComplEx of rank 100 has dim 200).
    dim: usize = 64,
    /// Ask for heads through a relation of their own.
    reciprocal: bool = true,
    /// Initial values: uniform, normal or xavier. RotatE's phases are always uniform in ±π.
    init: Init = Init::Normal,
    /// Spread of the initial values.
    init_scale: f64 = 1e-3,
    /// Run to start from: rows of the entities and relations that its best checkpoint knows by name
    /// are taken over; the optimizer starts fresh.
    init_from: Option<PathBuf> = None,
    /// What queries are scored against: negatives, 1vsall or kvsall.
    objective: Objective = Objective::OneVsAll,
    /// Loss: softmax, bce, margin or self-adversarial.
    loss: LossKind = LossKind::Softmax,
    /// Margin γ of the margin and self-adversarial losses; added to scores by bce.
    margin: f64 = 0.0,
    /// α of self-adversarial weights.
    temperature: f64 = 1.0,
    /// Label smoothing of 1vsall and kvsall.
    label_smoothing: f64 = 0.0,
    /// 1vsall with softmax: weight of predicting the relation, too, among all relations, given both
    /// entities (Chen et al. 2021); 0: not predicted.
    relation_weight: f64 = 0.0,
    /// Training facts a step (distinct queries for kvsall).
    batch_size: usize = 500,
    /// Passes over the training facts.
    epochs: u32 = 50,
    /// Negatives of a query.
    negatives: usize = 64,
    /// Queries that share one draw of negatives.
    chunk: usize = 1,
    /// Ends to ask for: both, tail, head, alternate or bernoulli.
    sides: Sides = Sides::Both,
    /// Leave out negatives that are training facts.
    filtered_negatives: bool = false,
    /// Weigh facts by 1/√(occurrences of their pairs).
    frequency_weights: bool = false,
    /// kvsall: weigh queries by the number of their answers, instead of all alike. That is the objective
    /// of 1vsall, with all answers of a query in one step.
    weigh_answers: bool = false,
    /// Optimizer: sgd, adagrad, row-adagrad or adam.
    optimizer: OptimizerKind = OptimizerKind::Adagrad,
    /// Learning rate.
    lr: f64 = 0.1,
    /// Learning-rate schedule: constant, step or plateau.
    schedule: ScheduleKind = ScheduleKind::Constant,
    /// What the rate is multiplied by at a step or on a plateau.
    schedule_factor: f64 = 0.5,
    /// Epochs between the steps of the step schedule.
    schedule_every: u32 = 10,
    /// Validations in a row without a better MRR that the plateau schedule puts up with.
    schedule_patience: u32 = 1,
    /// Regularizer: none, n3, l1, l2 or l3.
    regularizer: RegularizerKind = RegularizerKind::None,
    /// λ of the regularizer for entities.
    lambda: f64 = 0.0,
    /// λ for relations; unset: the same as for entities.
    lambda_relation: Option<f64> = None,
    /// Whether the regularizer weighs rows by their occurrences in the batch.
    weighted: bool = true,
    /// Probability that a value of a query's entity is dropped.
    entity_dropout: f64 = 0.0,
    /// Probability that a value of a query's relation is dropped.
    relation_dropout: f64 = 0.0,
    /// Probability that a value of an entity is dropped where it is a candidate (an answer, right or
    /// wrong): one mask a row and step.
    candidate_dropout: f64 = 0.0,
    /// Epochs between validations; 0 for none before the end.
    validate_every: u32 = 5,
    /// Most facts to validate on, 0 for all; the first ones of a fixed shuffle.
    validate_facts: usize = 0,
    /// Validations without a better MRR before training stops; 0 to never stop early.
    patience: u32 = 0,
    /// Epochs between checkpoints (validations write one too, if better); 0 for only at the end.
    checkpoint_every: u32 = 10,
    /// Seed of everything random.
    seed: u64 = 0,
    /// Where to compute: auto, cpu, gpu or gpu:N.
    device: String = "auto".to_owned(),
    /// Least number of shards of the entity table; more are made where a device needs them.
    shards: usize = 1,
    /// How rows are spread over shards: range, round-robin or hash.
    sharding: ShardingStrategy = ShardingStrategy::Range,
    /// What the values of tables are stored as: f32, or f16 in half the memory. Arithmetic and the
    /// optimizer's state are f32 with both.
    dtype: Precision = Precision::F32,
    /// f16: round updates up or down at random, so that small ones are not lost.
    stochastic_rounding: bool = false,
    /// Workers of this process: each on a GPU, a share of one, or CPU cores.
    workers: usize = 1,
    /// Fewest workers that training goes on with; below, it pauses.
    min_workers: usize = 1,
    /// Most workers at a time.
    max_workers: usize = 64,
    /// When gradients of several workers are applied: sync (averaged) or async (at once).
    update_mode: UpdateKind = UpdateKind::Sync,
    /// async: the most steps that a worker's rows may be behind when it pushes.
    staleness: u64 = 4,
    /// async, beyond that: wait, refuse or scale (the learning rate).
    staleness_policy: StalenessPolicy = StalenessPolicy::Wait,
    /// Seconds that a worker may take for a step.
    step_timeout: f64 = 60.0,
    /// Whether slices of a step are in proportion to the workers' speeds instead of equal.
    balance: bool = false,
    /// Parts that a step is always cut into: with any number of workers, the result is the same to
    /// the bit. 0: one part for each worker, the fastest.
    lanes: usize = 0,
    /// Run directory; unset: `runs/<dataset>-<model>-<seed>`.
    output: Option<PathBuf> = None,
}

/// Ranges that a number of a config must lie in.
struct Range {
    key: &'static str,
    value: f64,
    low: f64,
    high: f64,
}

impl Config {
    /// The model by name.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] for an unknown name.
    pub fn model(&self) -> Result<Model, ConfigError> {
        self.model
            .parse()
            .map_err(|reason| ConfigError::invalid("model", reason))
    }

    /// The loss with its numbers.
    pub fn loss(&self) -> Loss {
        Loss {
            kind: self.loss,
            margin: self.margin as f32,
            temperature: self.temperature as f32,
            smoothing: self.label_smoothing as f32,
        }
    }

    /// The regularizer with its numbers.
    pub fn regularizer(&self) -> Regularizer {
        Regularizer {
            kind: self.regularizer,
            entity: self.lambda as f32,
            relation: self.lambda_relation.unwrap_or(self.lambda) as f32,
            weighted: self.weighted,
        }
    }

    /// The learning-rate schedule with its numbers.
    pub fn schedule(&self) -> Schedule {
        Schedule {
            kind: self.schedule,
            factor: self.schedule_factor,
            every: self.schedule_every,
            patience: self.schedule_patience,
        }
    }

    /// How the parameter server keeps rows.
    pub fn storage(&self) -> Storage {
        Storage {
            optimizer: self.optimizer,
            sharding: self.sharding,
            shards: self.shards,
            dtype: match self.dtype {
                Precision::F32 => Dtype::F32,
                Precision::F16 => Dtype::F16 {
                    stochastic: self.stochastic_rounding,
                },
            },
        }
    }

    /// How long a worker may take for a step.
    pub fn step_timeout(&self) -> Duration {
        Duration::try_from_secs_f64(self.step_timeout).unwrap_or(Duration::MAX)
    }

    /// How pushes of several workers become updates.
    pub fn update_mode(&self) -> UpdateMode {
        let timeout = self.step_timeout();
        match self.update_mode {
            UpdateKind::Sync => UpdateMode::Sync { timeout },
            UpdateKind::Async => UpdateMode::Async {
                bound: self.staleness,
                policy: self.staleness_policy,
                // Whoever holds others up has failed long before.
                timeout: timeout.saturating_mul(4),
            },
        }
    }

    /// Makes paths absolute, so that a run finds its graph again from any directory.
    pub fn anchor(&mut self) {
        let named = self.dataset == "genealogy" || PublicDataset::find(&self.dataset).is_some();
        if !named && let Ok(absolute) = Path::new(&self.dataset).canonicalize() {
            self.dataset = absolute.display().to_string();
        }
        if let Some(Ok(absolute)) = self.init_from.as_ref().map(|path| path.canonicalize()) {
            self.init_from = Some(absolute);
        }
    }

    /// Checks every number and combination.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] naming the first key that is wrong, and why.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let model = self.model()?;
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
                "batch_size",
                self.batch_size as f64,
                1.0,
                (1u32 << 24) as f64,
            ),
            range("epochs", f64::from(self.epochs), 1.0, most),
            range("negatives", self.negatives as f64, 1.0, 1e6),
            range("chunk", self.chunk as f64, 1.0, most),
            range("lr", self.lr, f64::MIN_POSITIVE, 1e6),
            range("init_scale", self.init_scale, 0.0, 1e6),
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
            range("lanes", self.lanes as f64, 0.0, 1024.0),
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
                "{} is too large: every relation of {model} is a matrix of {0} × {0} values; expected at most {MOST_MATRIX}",
                self.dim
            );
            return Err(ConfigError::invalid("dim", reason));
        }
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
            let scores = queries * (self.negatives as u64 + 1);
            if scores >= 1 << 30 {
                let reason = format!(
                    "{scores} scores a step are too many: expected fewer than 2³⁰; lower batch_size or negatives"
                );
                return Err(ConfigError::invalid("negatives", reason));
            }
        }
        if self.stochastic_rounding && self.dtype == Precision::F32 {
            let reason = "only values that are stored as f16 are rounded: set dtype = \"f16\"";
            return Err(ConfigError::invalid("stochastic_rounding", reason.into()));
        }
        self.validate_relation_weight(model)?;
        self.validate_workers()?;
        self.validate_sides()
    }

    /// Checks that relations can be predicted if they are to be.
    fn validate_relation_weight(&self, model: Model) -> Result<(), ConfigError> {
        // What the engines compute with: smaller weights vanish.
        let weight = self.relation_weight as f32;
        let reason = match (self.objective, self.loss) {
            _ if self.relation_weight == 0.0 => return Ok(()),
            _ if weight == 0.0 => format!("{} is too small for f32", self.relation_weight),
            (Objective::OneVsAll, LossKind::Softmax) if model.predicts_relations() => return Ok(()),
            (Objective::OneVsAll, LossKind::Softmax) => {
                let models = Model::ALL.iter().filter(|model| model.predicts_relations());
                let names: Vec<&str> = models.map(|model| model.name()).collect();
                format!(
                    "{model} cannot score all relations at once: expected one of {}",
                    names.join(", ")
                )
            }
            _ => "relations are predicted with 1vsall and softmax only".to_owned(),
        };
        Err(ConfigError::invalid("relation_weight", reason))
    }

    /// Checks that the numbers of workers go together.
    fn validate_workers(&self) -> Result<(), ConfigError> {
        if self.update_mode == UpdateKind::Async && (self.lanes > 0 || self.balance) {
            let key = if self.balance { "balance" } else { "lanes" };
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
        if all && self.sides != Sides::Both {
            let reason = "kvsall asks for both ends of every fact: expected both".to_owned();
            return Err(ConfigError::invalid("sides", reason));
        }
        if all && self.frequency_weights {
            let reason = "kvsall has many facts a query and weighs queries alike".to_owned();
            return Err(ConfigError::invalid("frequency_weights", reason));
        }
        if self.weigh_answers && !all {
            let reason = "only kvsall asks queries with several answers".to_owned();
            return Err(ConfigError::invalid("weigh_answers", reason));
        }
        if self.reciprocal && matches!(self.sides, Sides::Tail | Sides::Head) {
            let reason = "with reciprocal relations, one end leaves half of the relations untrained; set reciprocal = false or both ends".to_owned();
            return Err(ConfigError::invalid("sides", reason));
        }
        if self.label_smoothing > 0.0 && !self.loss().takes_labels() {
            let reason =
                "the margin and self-adversarial losses have no labels to smooth".to_owned();
            return Err(ConfigError::invalid("label_smoothing", reason));
        }
        Ok(())
    }
}
