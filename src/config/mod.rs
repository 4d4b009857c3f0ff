//! The configuration of a run: one struct, read from a file, then a recipe, then flags.

mod layers;
mod recipes;
mod renamed;
mod shard_devices;
mod validate;

pub use layers::{ConfigError, Layers};
pub use recipes::{RECIPES, Recipe, find as find_recipe};
pub use shard_devices::{ShardDevice, ShardDevices, parse_bytes};

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
use crate::sampler::{NearPool, Objective, Sides};
use crate::server::{PackedType, ShardingStrategy, StalenessPolicy, Storage, UpdateMode};
use crate::value_type::ValueType;

/// Distribution of initial values.
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

/// Application of the gradients of several workers: the value of the key `update_mode`. With its numbers,
/// it becomes the server's [`UpdateMode`], as [`LossKind`] becomes a [`Loss`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpdateKind {
    /// As their average, once all are there.
    Sync,
    /// At once, with bounded staleness.
    Async,
}

macro_rules! config {
    ($($(#[doc = $doc:literal])+ $name:ident : $type:ty = $default:expr,)+) => {
        /// Configuration of a training run. Every field is a key of a config file and of
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
    /// Fractions of the facts of a single file for train, valid and test; 1,0,0 trains on all
    /// facts.
    split: Option<[f64; 3]> = None,
    /// Seed of the split of a single file. It is not `seed`, so that runs with different seeds
    /// train on the same graph.
    split_seed: u64 = 0,
    /// Whether train must contain every entity and relation of the valid and test facts of a single
    /// file. A fact that is alone in showing one moves to train.
    split_cover: bool = true,
    /// Columns of head, relation, tail and, if there is one, weight, by name or by number from 1,
    /// as in "1,3,2"; unset: as the heading names them, else in that order.
    columns: Option<Columns> = None,
    /// Whether the first row of delimited text is a heading: auto (if its names are well known), yes or
    /// no.
    heading: Heading = Heading::Auto,
    /// Separator of fields in delimited text: auto, tab, comma, semicolon or blank.
    separator: Separator = Separator::Auto,
    /// Whether fields of delimited text may stand in double quotes: auto (where commas or
    /// semicolons separate them, or where the whole first line is quoted), yes or no.
    quotes: Quotes = Quotes::Auto,
    /// Leave out lines of delimited text that begin with #.
    comments: bool = false,
    /// RDF: the IRI that relative IRIs are resolved against.
    base: Option<String> = None,
    /// RDF: keep facts whose tail is a literal.
    literals: bool = true,
    /// RDF: scope of the labels of blank nodes: file, or graph (train, valid and test together).
    blank_nodes: BlankNodes = BlankNodes::File,
    /// Leave out and count malformed lines instead of refusing the file.
    skip_bad_lines: bool = false,
    /// Model: complex, cp, distmult, quate, rescal, rotate, simple, transe-l1, transe-l2,
    /// tucker.
    model: Model = Model::ComplEx,
    /// f32 values in an entity's row (ComplEx of rank 100 has dim 200).
    dim: usize = 64,
    /// tucker: values in a relation's row; unset: as many as in an entity's.
    relation_dim: Option<usize> = None,
    /// Ask for heads through a second relation of their own.
    reciprocal: bool = true,
    /// Initial values: uniform, normal or xavier. RotatE's phases are always uniform in ±π, TuckER's
    /// core in ±1.
    init: Init = Init::Normal,
    /// Spread of the initial values.
    init_scale: f64 = 1e-3,
    /// uniform: the least initial value, where `init_scale` is the largest; unset: −`init_scale`.
    init_low: Option<f64> = None,
    /// Run or vectors to start from. Rows of entities and relations are taken over by name from the
    /// best checkpoint, and the run's valid and test facts stay held out.
    init_from: Option<PathBuf> = None,
    /// Whether the optimizer's state of these rows is taken over too, if the optimizer is the same.
    init_optimizer: bool = true,
    /// Candidates of queries: negatives, 1vsall or kvsall.
    objective: Objective = Objective::OneVsAll,
    /// Loss: softmax, bce, margin or self-adversarial.
    loss: LossKind = LossKind::Softmax,
    /// Margin γ of the margin and self-adversarial losses; added to scores by bce.
    margin: f64 = 0.0,
    /// α of self-adversarial weights.
    temperature: f64 = 1.0,
    /// Label smoothing of 1vsall and kvsall.
    label_smoothing: f64 = 0.0,
    /// 1vsall and kvsall with softmax: weight of relation prediction among all relations, given
    /// both entities (Chen et al. 2021); 0: no relation prediction.
    relation_weight: f64 = 0.0,
    /// Training facts per step (distinct queries for kvsall).
    batch_size: usize = 500,
    /// Passes over the training facts.
    epochs: u32 = 50,
    /// Negatives per query.
    negatives: usize = 64,
    /// Negatives per query for a head; unset: `negatives`.
    head_negatives: Option<usize> = None,
    /// Queries that share one draw of negatives.
    negatives_chunk: usize = 1,
    /// Negatives near the facts of a step, of each end: khop:1, khop:2 or khop:3 (within so many hops), ppr (of the
    /// highest personalised PageRank), or relation (that the relation has on that side). They are never training facts.
    /// Unset: all negatives are drawn uniformly.
    near_negatives: Option<NearPool> = None,
    /// Share of the negatives that are near ones, if `near_negatives` is set.
    near_share: f64 = 0.5,
    /// Address of a `shardloom graph-store` with the graph of the training facts, which draws near negatives: HOST:PORT
    /// or unix:PATH. Unset: this process does. Negatives are the same.
    graph_store: Option<String> = None,
    /// File with the token of the graph store; unset: the token of SHARDLOOM_TOKEN, if it is set.
    graph_store_token_file: Option<PathBuf> = None,
    /// Directory with cert.pem, key.pem and ca.pem for a graph store on another machine.
    graph_store_tls: Option<PathBuf> = None,
    /// Sides of a fact to ask for: both, tail, head, alternate or bernoulli.
    query_sides: Sides = Sides::Both,
    /// Leave out negatives that are training facts.
    filtered_negatives: bool = false,
    /// Weight facts by 1/√(occurrences of their pairs).
    frequency_weights: bool = false,
    /// kvsall: weight queries by the number of their answers instead of equally. The objective is
    /// then that of 1vsall, with all answers of a query in one step.
    kvsall_weight_by_answers: bool = false,
    /// Optimizer: sgd, adagrad, row-adagrad or adam.
    optimizer: OptimizerKind = OptimizerKind::Adagrad,
    /// Learning rate.
    lr: f64 = 0.1,
    /// Learning-rate schedule: constant, step or plateau.
    schedule: ScheduleKind = ScheduleKind::Constant,
    /// Factor of the learning rate at each step, or on a plateau.
    schedule_factor: f64 = 0.5,
    /// Epochs between the steps of the step schedule.
    schedule_every: u32 = 10,
    /// plateau: validations in a row without a better MRR that leave the rate as it is; one more
    /// changes it.
    schedule_patience: u32 = 1,
    /// Regularizer: none, n3, l1, l2 or l3.
    regularizer: RegularizerKind = RegularizerKind::None,
    /// λ of the regularizer for entities.
    lambda: f64 = 0.0,
    /// λ for relations; unset: `lambda`.
    lambda_relation: Option<f64> = None,
    /// Whether the regularizer weights rows by their occurrences in the batch.
    regularizer_weighted: bool = true,
    /// Probability that a value of a query's entity is dropped.
    entity_dropout: f64 = 0.0,
    /// Probability that a value of a query's relation, or of its matrix, is dropped.
    relation_dropout: f64 = 0.0,
    /// Probability that a value of an entity is dropped where the entity is a candidate (a right or
    /// wrong answer): one mask per row and step.
    candidate_dropout: f64 = 0.0,
    /// Epochs between validations; 0 for none before the end.
    validate_every: u32 = 5,
    /// Most facts to validate on, 0 for all; the first facts of a fixed shuffle.
    validate_facts: usize = 0,
    /// Validations without a better MRR before training stops; 0 to never stop early.
    patience: u32 = 0,
    /// Epochs between checkpoints; 0 for the last epoch only. A validation that is the best so far
    /// writes a checkpoint too.
    checkpoint_every: u32 = 10,
    /// Seed of everything random.
    seed: u64 = 0,
    /// Device that computes: auto, cpu, gpu or gpu:N.
    device: DeviceChoice = DeviceChoice::Auto,
    /// Least number of shards of the entity table; a device may need more.
    shards: usize = 1,
    /// Strategy that distributes rows over shards: range, round-robin or hash.
    sharding: ShardingStrategy = ShardingStrategy::Range,
    /// Devices that hold the shards, as in "gpu:0, gpu:1=6GiB, cpu@2": each with the memory that it
    /// may use, if limited, and its relative speed, if given (for all devices or none). Empty: the
    /// device that computes.
    shard_devices: ShardDevices = ShardDevices::default(),
    /// Type of stored values: f32, or f16 in half the memory. Arithmetic and the optimizer's state
    /// are f32 with both.
    dtype: ValueType = ValueType::F32,
    /// f16: round updates up or down at random, so that small updates are not lost.
    stochastic_rounding: bool = false,
    /// Arithmetic of matrix products in training against all entities: bf16x3 (on CPUs with a matrix
    /// unit, AMX: three products of halves in bf16, off by about 2⁻¹⁸ of each term; f32 elsewhere) or
    /// f32. Rankings are f32 always.
    matmul_precision: MatmulPrecision = MatmulPrecision::Bf16x3,
    /// Workers of this process: each on a GPU, on a share of a GPU, or on CPU cores.
    workers: usize = 1,
    /// Fewest workers to train with; training pauses below.
    min_workers: usize = 1,
    /// Most workers at a time.
    max_workers: usize = 64,
    /// Application of the gradients of several workers: sync (averaged) or async (at once).
    update_mode: UpdateKind = UpdateKind::Sync,
    /// async: the most steps between a worker's read of its rows and its push.
    staleness: u64 = 4,
    /// async, beyond that: wait, refuse or scale (the learning rate).
    staleness_policy: StalenessPolicy = StalenessPolicy::Wait,
    /// Seconds that a worker may take for a step.
    step_timeout: f64 = 60.0,
    /// Whether workers get slices of a step in proportion to their speed instead of equal ones.
    balance_by_speed: bool = false,
    /// Partitions that a step is always cut into: any number of workers then gives the same bits.
    /// 0: one partition per worker, the fastest.
    gradient_partitions: usize = 0,
    /// Several processes: processes that hold each shard. With 2 or more, the loss of a process loses no step.
    replicas: usize = 1,
    /// Several processes: type in which rows and gradients travel between them: f32, f16 or bf16, which halve the
    /// bytes and round.
    wire_type: PackedType = PackedType::F32,
    /// Several processes: seconds between two cuts, which are copies of all shards of one step in the run's
    /// directory. The run goes back to the last one when shards or the leader are lost. Ends of epochs with a
    /// validation or a checkpoint are cuts, too.
    cut_seconds: f64 = 30.0,
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

    /// Shards, dtype and optimizer of the parameter server's tables.
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

    /// Options for reading and splitting the graph.
    pub fn load_options(&self) -> LoadOptions {
        LoadOptions {
            split: self.split,
            split_seed: self.split_seed,
            split_cover: self.split_cover,
            reading: self.reading(),
        }
    }

    /// Options for reading the files of the graph.
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

    /// The longest that a worker may take for a step.
    pub fn step_timeout(&self) -> Duration {
        Duration::try_from_secs_f64(self.step_timeout).unwrap_or(Duration::MAX)
    }

    /// Time between two cuts of a cluster's shards.
    pub fn cut_interval(&self) -> Duration {
        Duration::try_from_secs_f64(self.cut_seconds).unwrap_or(Duration::from_secs(1 << 30))
    }

    /// The server's rule for applying pushes of several workers.
    pub fn update_mode(&self) -> UpdateMode {
        let timeout = self.step_timeout();
        match self.update_mode {
            UpdateKind::Sync => UpdateMode::Sync { timeout },
            UpdateKind::Async => UpdateMode::Async {
                bound: self.staleness,
                policy: self.staleness_policy,
                // A worker that holds up others has failed long before.
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
        for path in [
            &mut self.init_from,
            &mut self.graph_store_token_file,
            &mut self.graph_store_tls,
        ] {
            if let Some(Ok(absolute)) = path.as_ref().map(|path| path.canonicalize()) {
                *path = Some(absolute);
            }
        }
        if let Some(socket) = self
            .graph_store
            .as_ref()
            .and_then(|at| at.strip_prefix("unix:"))
            && let Ok(absolute) = Path::new(socket).canonicalize()
        {
            self.graph_store = Some(format!("unix:{}", absolute.display()));
        }
    }
}
