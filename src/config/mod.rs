//! The configuration of a run: one struct, read from a file, then a recipe, then flags.

mod layers;
mod recipes;
mod renamed;
mod shard_devices;
mod validate;

pub use layers::{ConfigError, Layers};
pub use recipes::{RECIPES, Recipe, find as find_recipe};
pub use shard_devices::{ShardDevice, ShardDevices};

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::dataset::{
    BlankNodes, Columns, Heading, LoadOptions, Quotes, ReadOptions, Separator, is_known_name,
};
use crate::device::DeviceChoice;
use crate::kernel::{Dtype, MatmulPrecision};
use crate::loss::{Loss, LossKind};
use crate::model::Model;
use crate::optim::{OptimizerKind, Regularizer, RegularizerKind, Schedule, ScheduleKind};
use crate::sampler::{Objective, Sides};
use crate::server::{ShardingStrategy, StalenessPolicy, Storage, UpdateMode};
use crate::value_type::ValueType;

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

/// When gradients of several workers are applied: the value of the key `update_mode`. With its numbers,
/// it becomes the server's [`UpdateMode`], as [`LossKind`] becomes a [`Loss`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpdateKind {
    /// When all are there, as their average.
    Sync,
    /// At once, with bounded staleness.
    Async,
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
    /// Shares of train, valid and test when the dataset is a single file; 1,0,0 trains on all facts.
    split: Option<[f64; 3]> = None,
    /// Another one shares a single file out otherwise; it does not depend on `seed`, so that runs with
    /// different seeds train on the same graph.
    split_seed: u64 = 0,
    /// Whether every entity and relation of the valid and test facts of a single file must be in train,
    /// which moves facts to train that alone show one.
    split_cover: bool = true,
    /// Columns of head, relation, tail and, if there is one, weight, by name or by number from 1, as in
    /// "1,3,2"; unset: as the heading has them, else in that order.
    columns: Option<Columns> = None,
    /// Whether the first row of delimited text is a heading: auto (if its names are well known), yes or
    /// no.
    heading: Heading = Heading::Auto,
    /// What separates fields of delimited text: auto, tab, comma, semicolon or blank.
    separator: Separator = Separator::Auto,
    /// Whether fields of delimited text may stand in double quotes: auto (where commas or semicolons
    /// separate them, or all of the first line are), yes or no.
    quotes: Quotes = Quotes::Auto,
    /// Leave out lines of delimited text that begin with #.
    comments: bool = false,
    /// RDF: the IRI that relative ones resolve against.
    base: Option<String> = None,
    /// RDF: keep facts whose tail is a literal.
    literals: bool = true,
    /// RDF: how far labels of blank nodes reach: file, or graph (through train, valid and test).
    blank_nodes: BlankNodes = BlankNodes::File,
    /// Leave out lines that do not fit, and count them, instead of refusing the file.
    skip_bad_lines: bool = false,
    /// Model: complex, cp, distmult, quate, rescal, rotate, simple, transe-l1, transe-l2,
    /// tucker.
    model: Model = Model::ComplEx,
    /// f32 values in an entity's row (ComplEx of rank 100 has dim 200).
    dim: usize = 64,
    /// tucker: values in a relation's row; unset: as many as in an entity's.
    relation_dim: Option<usize> = None,
    /// Ask for heads through a relation of their own.
    reciprocal: bool = true,
    /// Initial values: uniform, normal or xavier. RotatE's phases are always uniform in ±π, TuckER's
    /// core in ±1.
    init: Init = Init::Normal,
    /// Spread of the initial values.
    init_scale: f64 = 1e-3,
    /// uniform: the least value, where `init_scale` is the largest; unset: as far below 0.
    init_low: Option<f64> = None,
    /// Run to start from, or vectors: rows of the entities and relations that its best checkpoint knows
    /// by name are taken over, and a run's valid and test facts stay held out.
    init_from: Option<PathBuf> = None,
    /// Whether the optimizer's state of these rows is taken over, too, where it is the same optimizer.
    init_optimizer: bool = true,
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
    /// 1vsall and kvsall with softmax: weight of predicting the relation, too, among all relations,
    /// given both entities (Chen et al. 2021); 0: not predicted.
    relation_weight: f64 = 0.0,
    /// Training facts a step (distinct queries for kvsall).
    batch_size: usize = 500,
    /// Passes over the training facts.
    epochs: u32 = 50,
    /// Negatives of a query.
    negatives: usize = 64,
    /// Negatives of a query for a head; unset: as many as those for tails have.
    head_negatives: Option<usize> = None,
    /// Queries that share one draw of negatives.
    negatives_chunk: usize = 1,
    /// Ends to ask for: both, tail, head, alternate or bernoulli.
    query_sides: Sides = Sides::Both,
    /// Leave out negatives that are training facts.
    filtered_negatives: bool = false,
    /// Weigh facts by 1/√(occurrences of their pairs).
    frequency_weights: bool = false,
    /// kvsall: weigh queries by the number of their answers, instead of all alike. That is the objective
    /// of 1vsall, with all answers of a query in one step.
    kvsall_weight_by_answers: bool = false,
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
    regularizer_weighted: bool = true,
    /// Probability that a value of a query's entity is dropped.
    entity_dropout: f64 = 0.0,
    /// Probability that a value of a query's relation is dropped; of its matrix, if it is one or makes
    /// one.
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
    device: DeviceChoice = DeviceChoice::Auto,
    /// Least number of shards of the entity table; more are made where a device needs them.
    shards: usize = 1,
    /// How rows are spread over shards: range, round-robin or hash.
    sharding: ShardingStrategy = ShardingStrategy::Range,
    /// Devices that keep the shards, as in "gpu:0, gpu:1=6GiB, cpu": each with the memory that it may
    /// take, if that is limited, and its speed, as in gpu:0@3, if it is not to be measured. Empty:
    /// the device that computes.
    shard_devices: ShardDevices = ShardDevices::default(),
    /// What the values of tables are stored as: f32, or f16 in half the memory. Arithmetic and the
    /// optimizer's state are f32 with both.
    dtype: ValueType = ValueType::F32,
    /// f16: round updates up or down at random, so that small ones are not lost.
    stochastic_rounding: bool = false,
    /// Arithmetic of matrix products in training against all entities: bf16x3 (on CPUs with a matrix
    /// unit, AMX: three products of halves in bf16, off by about 2⁻¹⁸ of each term; f32 elsewhere) or
    /// f32. Rankings are f32 always.
    matmul_precision: MatmulPrecision = MatmulPrecision::Bf16x3,
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
    balance_by_speed: bool = false,
    /// Parts that a step is always cut into: with any number of workers, the result is the same to
    /// the bit. 0: one part for each worker, the fastest.
    gradient_partitions: usize = 0,
    /// Run directory; unset: `runs/<dataset>-<model>-<seed>`.
    output: Option<PathBuf> = None,
}

impl Config {
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
            weighted: self.regularizer_weighted,
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
                ValueType::F32 => Dtype::F32,
                ValueType::F16 => Dtype::F16 {
                    stochastic: self.stochastic_rounding,
                },
            },
        }
    }

    /// How the graph is read and shared out.
    pub fn load_options(&self) -> LoadOptions {
        LoadOptions {
            split: self.split,
            split_seed: self.split_seed,
            split_cover: self.split_cover,
            reading: self.reading(),
        }
    }

    /// How the files of the graph are read.
    pub fn reading(&self) -> ReadOptions {
        ReadOptions {
            columns: self.columns.clone(),
            heading: self.heading,
            separator: self.separator,
            quotes: self.quotes,
            comments: self.comments,
            base: self.base.clone(),
            literals: self.literals,
            blank_nodes: self.blank_nodes,
            skip_bad_lines: self.skip_bad_lines,
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
        if !is_known_name(&self.dataset)
            && let Ok(absolute) = Path::new(&self.dataset).canonicalize()
        {
            self.dataset = absolute.display().to_string();
        }
        if let Some(Ok(absolute)) = self.init_from.as_ref().map(|path| path.canonicalize()) {
            self.init_from = Some(absolute);
        }
    }
}
