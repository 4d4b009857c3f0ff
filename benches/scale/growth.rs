//! Time and peak memory of training on a generated graph, with everything that `shardloom train` has
//! in memory.

use std::ops::ControlFlow;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use shardloom::bench::{BenchError, Target};
use shardloom::config::Config;
use shardloom::dataset::{PowerLaw, Triple};
use shardloom::device::{AdapterKind, Device, available_memory};
use shardloom::model::Model;
use shardloom::optim::OptimizerKind;
use shardloom::run::peak_memory_bytes;
use shardloom::sampler::Objective;
use shardloom::server::{ParameterServer, Shape, TableName};
use shardloom::train::{Observer, TrainError, TrainEvent, Trainer, initializer, shape};

use crate::common::BenchResult;
use shardloom::executor::Executor;

/// The size of a graph, and the duration of training on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Number of entities. There are ten facts for each.
    pub entities: u32,
    /// Number of values in a row of DistMult.
    pub dim: usize,
    /// Number of facts to time, after a third as many that warm up.
    pub facts: u64,
}

impl Default for Scale {
    fn default() -> Scale {
        Scale {
            entities: 10_000,
            dim: 64,
            facts: 1_500_000,
        }
    }
}

/// Number of facts of a step.
const BATCH: usize = 1024;
/// Number of negatives of each of the two queries of a fact.
const NEGATIVES: usize = 16;

/// The least memory of the parts of a training run, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts {
    /// Tables: 4 for each value.
    pub table_bytes: u64,
    /// Optimizer state: of Adagrad, 4 for each value.
    pub optimizer_bytes: u64,
    /// Training facts: 12 for each.
    pub triple_bytes: u64,
    /// The filter index: 16 for each distinct fact of any split and 8 for each entity.
    pub filter_bytes: u64,
}

impl Parts {
    /// The formula. `on_host` says whether tables are in main memory.
    pub fn of(shape: &Shape, optimizer: OptimizerKind, facts: u64, on_host: bool) -> Parts {
        let tables = TableName::ALL.map(|table| {
            let (rows, width) = (shape.rows(table) as u64, shape.width(table));
            let states: usize = optimizer.state_widths(width).iter().sum();
            (rows * width as u64 * 4, rows * states as u64 * 4)
        });
        let host = u64::from(on_host);
        Parts {
            table_bytes: host * (tables[0].0 + tables[1].0),
            optimizer_bytes: host * (tables[0].1 + tables[1].1),
            triple_bytes: facts * size_of::<Triple>() as u64,
            filter_bytes: facts * 16 + (shape.entities as u64 + 1) * 8,
        }
    }

    /// The sum of all parts.
    pub fn sum(&self) -> u64 {
        self.table_bytes + self.optimizer_bytes + self.triple_bytes + self.filter_bytes
    }
}

/// The result of one size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Name of the benchmark: `scale`.
    pub name: String,
    /// Name of the device.
    pub device: String,
    /// Number of entities.
    pub entities: u64,
    /// Number of relations, without reciprocal ones.
    pub relations: u64,
    /// Number of training facts.
    pub triples: u64,
    /// Number of values in an entity's row.
    pub dim: usize,
    /// Number of negatives of each of the two queries of a fact.
    pub negatives: usize,
    /// Number of facts of a step.
    pub batch: usize,
    /// Seconds for a million facts: the median of the timed windows, and a million facts' share of
    /// the time to order an epoch.
    pub seconds_per_million: f64,
    /// Peak memory in bytes over the number of entities.
    pub bytes_per_entity: f64,
    /// Largest resident memory of the process, in bytes.
    pub peak_bytes: u64,
    /// Memory by the formula: the sum of the parts, in bytes.
    pub formula_bytes: u64,
    /// `peak_bytes` over `formula_bytes`.
    pub peak_over_formula: f64,
    /// The parts of the formula.
    #[serde(flatten)]
    pub parts: Parts,
    /// Names of entities and relations, which are not in the formula, in bytes.
    pub vocabulary_bytes: u64,
    /// Resident memory of the process before it makes a graph, in bytes.
    pub program_bytes: u64,
    /// Number of timed facts.
    pub facts: u64,
    /// Seconds to generate the graph.
    pub generate_s: f64,
    /// Seconds to make and fill the tables.
    pub tables_s: f64,
    /// Seconds to index the facts.
    pub index_s: f64,
    /// Seconds to order the first epoch and make its first step.
    pub order_s: f64,
}

impl Scale {
    /// The graph that is trained on.
    pub fn graph(&self) -> PowerLaw {
        PowerLaw::sized(self.entities)
    }

    fn config(&self) -> Config {
        Config {
            dataset: "power-law".to_owned(),
            model: Model::DistMult,
            dim: self.dim,
            objective: Objective::Negatives,
            negatives: NEGATIVES,
            batch_size: BATCH,
            optimizer: OptimizerKind::Adagrad,
            // Training ends when enough facts are timed.
            epochs: 1_000_000,
            validate_every: 0,
            ..Config::default()
        }
    }

    /// Checks that the sizes are in range and fit the machine.
    ///
    /// # Errors
    /// The size that is not.
    pub fn check(&self, device: &Device) -> BenchResult<()> {
        if self.facts == 0 {
            return Err(BenchError::Zero("facts").into());
        }
        self.graph().check()?;
        self.config().validate()?;
        // Everything else takes a tenth of the formula, and the program.
        let needed = self.parts(device).sum() / 10 * 11 + (64 << 20);
        match available_memory() {
            Some(free) if needed > free => Err(BenchError::Memory {
                needed,
                free,
                what: "scale",
            }
            .into()),
            _ => Ok(()),
        }
    }

    fn parts(&self, device: &Device) -> Parts {
        let graph = self.graph();
        let config = self.config();
        let on_host = match device {
            Device::Cpu => true,
            Device::Gpu(gpu) => gpu.description().kind == AdapterKind::Software,
        };
        let shape = Shape {
            model: shardloom::model::Model::DistMult,
            dim: self.dim,
            entities: graph.entities as usize,
            relations: 2 * graph.relations as usize,
            relation_dim: None,
        };
        Parts::of(&shape, config.optimizer, u64::from(graph.triples), on_host)
    }

    /// Generates the graph, and trains on it as `shardloom train` does, without checkpoints.
    ///
    /// # Errors
    /// If a size is out of range or does not fit, or the device fails.
    pub fn measure(&self, device: Device) -> BenchResult<Measurement> {
        self.check(&device)?;
        let program_bytes = peak_memory_bytes().unwrap_or(0);
        let parts = self.parts(&device);
        let Target { name, backend } = Target::open(device)?;
        let config = self.config();
        let mut clock = Clock(Instant::now());
        let dataset = self.graph().generate()?;
        let generate_s = clock.lap();
        let tables = (shape(&config, &dataset), initializer(&config));
        let server = ParameterServer::new(backend, tables.0, config.storage(), &tables.1)?;
        let tables_s = clock.lap();
        let mut trainer = Trainer::new(config, &dataset, Executor::new(&server)?)?;
        let index_s = clock.lap();
        let mut watch = Watch::new(self.facts);
        trainer.train(&mut watch)?;
        let triples = dataset.train.len() as u64;
        let parts = Parts {
            filter_bytes: trainer.prepared().filter.bytes() as u64,
            ..parts
        };
        let (peak_bytes, formula_bytes) = (peak_memory_bytes().unwrap_or(0), parts.sum());
        let (entities, relations) = (&dataset.entities, &dataset.relations);
        Ok(Measurement {
            name: "scale".to_owned(),
            device: name,
            entities: entities.len() as u64,
            relations: relations.len() as u64,
            triples,
            dim: self.dim,
            negatives: NEGATIVES,
            batch: BATCH,
            seconds_per_million: (watch.seconds() + watch.order_s() / triples as f64) * 1e6,
            bytes_per_entity: peak_bytes as f64 / entities.len() as f64,
            peak_bytes,
            formula_bytes,
            peak_over_formula: peak_bytes as f64 / formula_bytes as f64,
            parts,
            vocabulary_bytes: (entities.bytes() + relations.bytes()) as u64,
            program_bytes,
            facts: watch.facts(),
            generate_s,
            tables_s,
            index_s,
            order_s: watch.order_s(),
        })
    }
}

/// A clock of laps.
struct Clock(Instant);

impl Clock {
    /// Seconds since the last lap.
    fn lap(&mut self) -> f64 {
        let now = Instant::now();
        (now - std::mem::replace(&mut self.0, now)).as_secs_f64()
    }
}

/// Lets training warm up, times `wanted` facts in windows, then stops training.
struct Watch {
    warm: u64,
    wanted: u64,
    /// Number of facts of earlier epochs.
    before: u64,
    /// Number of facts of this epoch so far.
    now: u64,
    begun: Option<Instant>,
    first: Option<Instant>,
    /// Number of facts so far and the time, after warming up and after every window.
    marks: Vec<(u64, Instant)>,
}

/// Number of timed windows. The median counts, since other programs may use the machine.
const WINDOWS: u64 = 15;

impl Watch {
    fn new(facts: u64) -> Watch {
        Watch {
            warm: facts / 3,
            wanted: facts,
            before: 0,
            now: 0,
            begun: None,
            first: None,
            marks: Vec::new(),
        }
    }

    fn step(&mut self, facts: u64) {
        self.now = facts;
        let (total, now) = (self.before + facts, Instant::now());
        self.first.get_or_insert(now);
        let due = match self.marks.last() {
            None => self.warm,
            Some((at, _)) => at + (self.wanted / WINDOWS).max(1),
        };
        if total >= due {
            self.marks.push((total, now));
        }
    }

    /// Number of timed facts.
    fn facts(&self) -> u64 {
        match (self.marks.first(), self.marks.last()) {
            (Some(first), Some(last)) => last.0 - first.0,
            _ => 0,
        }
    }

    /// Seconds for a fact: the median of the windows.
    fn seconds(&self) -> f64 {
        let window =
            |w: &[(u64, Instant)]| (w[1].1 - w[0].1).as_secs_f64() / (w[1].0 - w[0].0) as f64;
        let mut seconds: Vec<f64> = self.marks.windows(2).map(window).collect();
        seconds.sort_by(f64::total_cmp);
        seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// Seconds to the end of the first step, most of them to order the epoch.
    fn order_s(&self) -> f64 {
        let (begun, first) = (self.begun, self.first);
        begun
            .zip(first)
            .map_or(f64::NAN, |(begun, first)| (first - begun).as_secs_f64())
    }
}

impl Observer for Watch {
    fn on(&mut self, event: TrainEvent<'_>) -> Result<ControlFlow<()>, TrainError> {
        match event {
            TrainEvent::EpochBegun { .. } => {
                self.before += std::mem::take(&mut self.now);
                self.begun.get_or_insert_with(Instant::now);
            }
            TrainEvent::StepDone { facts, .. } => self.step(facts),
            _ => {}
        }
        Ok(if self.facts() >= self.wanted {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    }
}
