//! How training grows: seconds a million facts and bytes an entity, on a generated graph of any
//! size, with everything that `shardloom train` keeps in memory.
//!
//! A process has one peak of memory, so that every size wants a process of its own.

use std::ops::ControlFlow;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::options::free_memory;
use super::{BenchError, open};
use crate::config::Config;
use crate::dataset::{PowerLaw, Triple};
use crate::device::{AdapterKind, Device};
use crate::model::Model;
use crate::optim::OptimizerKind;
use crate::run::peak_memory_bytes;
use crate::sampler::Objective;
use crate::server::{ParameterServer, Shape, TableName};
use crate::train::{Observer, TrainError, TrainEvent, Trainer, initializer, shape};

/// What to train, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Entities; every one has ten facts.
    pub entities: u32,
    /// Values in a row of DistMult.
    pub dim: usize,
    /// Facts to time, after a third as many that warm up. Less than an epoch if there are more.
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

/// Facts of a step, and negatives of each of its queries, of which a fact has two.
const BATCH: usize = 1024;
const NEGATIVES: usize = 16;

/// What the parts of a training run take at least, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts {
    /// Values: 4 each.
    pub table_bytes: u64,
    /// States of the optimizer: of Adagrad, 4 for each value.
    pub optimizer_bytes: u64,
    /// Training facts: 12 each.
    pub triple_bytes: u64,
    /// The filter index: 16 for each distinct fact of any split and 8 for each entity.
    pub filter_bytes: u64,
}

impl Parts {
    /// The formula, before anything is there. `on_host` says whether tables are in main memory.
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

    /// All of them.
    pub fn sum(&self) -> u64 {
        self.table_bytes + self.optimizer_bytes + self.triple_bytes + self.filter_bytes
    }
}

/// One size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScaleMeasurement {
    /// What was measured: `scale`.
    pub name: String,
    /// Where.
    pub device: String,
    /// Entities of the graph.
    pub entities: u64,
    /// Relations, without reciprocal ones.
    pub relations: u64,
    /// Training facts.
    pub triples: u64,
    /// Values in an entity's row.
    pub dim: usize,
    /// Negatives of each of the two queries of a fact.
    pub negatives: usize,
    /// Facts of a step.
    pub batch: usize,
    /// Seconds for a million facts: the median of those timed, and the share that they have in the
    /// order of their epoch.
    pub seconds_per_million: f64,
    /// The peak over the entities.
    pub bytes_per_entity: f64,
    /// The most memory that the process had resident.
    pub peak_bytes: u64,
    /// What the formula says: the sum of the parts.
    pub formula_bytes: u64,
    /// The former over the latter.
    pub peak_over_formula: f64,
    /// The parts.
    #[serde(flatten)]
    pub parts: Parts,
    /// Names, which are not in the formula.
    pub vocabulary_bytes: u64,
    /// What the process had resident before there was a graph: the program itself.
    pub program_bytes: u64,
    /// Facts that were timed.
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

impl ScaleMeasurement {
    /// One line of JSON.
    pub fn json(&self) -> String {
        super::record::json(self)
    }

    /// Reads such a line.
    ///
    /// # Errors
    /// [`BenchError::Line`] if it is none.
    pub fn parse(line: &str) -> Result<ScaleMeasurement, BenchError> {
        serde_json::from_str(line).map_err(|error| BenchError::Line(error.to_string()))
    }
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
            // Ended by the clock.
            epochs: 1_000_000,
            validate_every: 0,
            ..Config::default()
        }
    }

    /// Checks that the sizes make sense and fit the machine.
    ///
    /// # Errors
    /// [`BenchError`] says which does not.
    pub fn check(&self, device: &Device) -> Result<(), BenchError> {
        if self.facts == 0 {
            return Err(BenchError::Zero("facts"));
        }
        self.graph().check()?;
        self.config().validate()?;
        // What is beside the formula is a tenth of it, and at least the program.
        let needed = self.parts(device).sum() / 10 * 11 + (64 << 20);
        match free_memory() {
            Some(free) if needed > free => Err(BenchError::Memory {
                needed,
                free,
                what: "scale",
            }),
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
            model: crate::model::Model::DistMult,
            dim: self.dim,
            entities: graph.entities as usize,
            relations: 2 * graph.relations as usize,
            relation_dim: None,
        };
        Parts::of(&shape, config.optimizer, u64::from(graph.triples), on_host)
    }

    /// Generates the graph, and trains on it as `shardloom train` does, but for checkpoints.
    ///
    /// # Errors
    /// If the sizes make no sense or do not fit, or the device fails.
    pub fn measure(&self, device: Device) -> Result<ScaleMeasurement, BenchError> {
        self.check(&device)?;
        let program_bytes = peak_memory_bytes().unwrap_or(0);
        let parts = self.parts(&device);
        let (name, backend) = open(device)?;
        let config = self.config();
        let mut clock = Clock(Instant::now());
        let dataset = self.graph().generate()?;
        let generate_s = clock.lap();
        let tables = (shape(&config, &dataset), initializer(&config));
        let server = ParameterServer::new(backend, tables.0, config.storage(), &tables.1)?;
        let tables_s = clock.lap();
        let mut trainer = Trainer::new(config, &dataset, crate::executor::Executor::new(&server)?)?;
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
        Ok(ScaleMeasurement {
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

/// Seconds since it was last asked.
struct Clock(Instant);

impl Clock {
    fn lap(&mut self) -> f64 {
        let now = Instant::now();
        (now - std::mem::replace(&mut self.0, now)).as_secs_f64()
    }
}

/// Lets training warm up, times so many facts in windows, then stops it.
struct Watch {
    warm: u64,
    wanted: u64,
    /// Facts of the epochs before, and of this one.
    before: u64,
    now: u64,
    begun: Option<Instant>,
    first: Option<Instant>,
    /// Facts done, and when: after warming up, and after every window.
    marks: Vec<(u64, Instant)>,
}

/// Parts that the time is taken of; the one in the middle counts, since others may use the machine.
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

    /// Facts that were timed.
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

    /// Seconds to the end of the first step: to order an epoch, above all.
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

#[cfg(test)]
mod tests {
    use super::*;

    const TINY: Scale = Scale {
        entities: 300,
        dim: 8,
        facts: 4000,
    };

    #[test]
    fn the_formula_is_what_the_parts_take() {
        let result = TINY.measure(Device::Cpu).unwrap();
        assert_eq!((result.entities, result.triples), (300, 3000));
        let rows = 300 + 2 * 3;
        let Parts {
            table_bytes,
            optimizer_bytes,
            triple_bytes,
            filter_bytes,
        } = result.parts;
        assert_eq!((table_bytes, optimizer_bytes), (rows * 8 * 4, rows * 8 * 4));
        assert_eq!(triple_bytes, 3000 * 12);
        // Held-out facts count, repeats do not.
        assert!(
            (30_000..=16 * 3300 + 8 * 301).contains(&filter_bytes),
            "{filter_bytes}"
        );
        assert_eq!(result.formula_bytes, result.parts.sum());
        assert!(result.facts >= 4000 && result.seconds_per_million > 0.0);
        assert_eq!(ScaleMeasurement::parse(&result.json()).unwrap(), result);
    }

    #[test]
    fn mistakes_are_told_first() {
        for wrong in [
            Scale { facts: 0, ..TINY },
            Scale {
                entities: 1,
                ..TINY
            },
            Scale { dim: 0, ..TINY },
        ] {
            assert!(wrong.measure(Device::Cpu).is_err(), "{wrong:?}");
        }
    }
}
