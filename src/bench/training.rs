//! Training steps and rankings: how fast a whole step is, at the sizes that `FB15k-237` has.
//!
//! | name | what is done |
//! |---|---|
//! | `complex_1vsall` | 1-vs-all softmax, N3, Adagrad: a step of 1000 queries among 14,541 entities |
//! | `negsamp_transe_l1`, `negsamp_distmult`, `negsamp_rotate` | self-adversarial negatives drawn for each fact, Adam (DistMult: Adagrad) |
//! | `rank_complex` | filtered ranking of 1024 queries among 14,541 entities |
//!
//! Plans are made before, as they are on threads of their own while a run trains; how long one takes
//! to make is measured beside the step. On a GPU a sample ends when the device is done; how much of
//! the time it works, and on what, its own clock says, in steps of their own ([`OnDevice`]).

mod on_device;
mod tables;

use rand::RngExt;
use serde::Serialize;

pub use self::on_device::{OnDevice, Stage};
use self::tables::Tables;
use super::{BenchError, Samples, open};
use crate::dataset::Triple;
use crate::device::Device;
use crate::kernel::{Backend, MatmulPrecision, RankBatch, RankQuery, StepSpec};
use crate::loss::{Loss, LossKind};
use crate::model::Model;
use crate::optim::{OptimizerKind, Regularizer, RegularizerKind};
use crate::rng::{Purpose, Stream, stream};
use crate::sampler::{Negatives, Objective, Plan, QueryRule, Sampler, Sides};

/// Entities of FB15k-237, and its relations with their reciprocals.
const ENTITIES: usize = 14_541;
const RELATIONS: usize = 474;
/// Plans that take turns: enough that no step finds its rows where the last one left them.
const PLANS: usize = 8;
/// Known answers that every ranked query leaves out.
const KNOWN: usize = 30;

/// A training step or a ranking.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Training {
    /// The name in results.
    pub name: &'static str,
    /// Operator and similarity.
    pub model: Model,
    /// Values in an entity's row.
    pub dim: usize,
    /// Queries of a step.
    pub batch: usize,
    /// Negatives of a query; 0 where it is scored against all entities.
    pub negatives: usize,
    /// What applies the gradients.
    pub optimizer: OptimizerKind,
}

/// What [`Training::ALL`] lists for one model, with negatives.
const fn sampled(
    name: &'static str,
    model: Model,
    dim: usize,
    batch: usize,
    negatives: usize,
) -> Training {
    Training {
        name,
        model,
        dim,
        batch,
        negatives,
        optimizer: OptimizerKind::Adam,
    }
}

const fn all(rank: usize) -> Training {
    Training {
        optimizer: OptimizerKind::Adagrad,
        ..sampled("complex_1vsall", Model::ComplEx, 2 * rank, 1000, 0)
    }
}

const fn rank(rank: usize) -> Training {
    sampled("rank_complex", Model::ComplEx, 2 * rank, 1024, 0)
}

/// The same with Adagrad.
const fn adagrad(what: Training) -> Training {
    Training {
        optimizer: OptimizerKind::Adagrad,
        ..what
    }
}

impl Training {
    /// All of them, at the sizes that published recipes and other programs' benchmarks have.
    pub const ALL: [Training; 12] = [
        all(25),
        all(100),
        all(1000),
        sampled("negsamp_transe_l1", Model::TransEL1, 128, 1024, 64),
        adagrad(sampled("negsamp_transe_l1", Model::TransEL1, 128, 1024, 64)),
        sampled("negsamp_distmult", Model::DistMult, 128, 1024, 64),
        adagrad(sampled("negsamp_distmult", Model::DistMult, 128, 1024, 64)),
        sampled("negsamp_transe_l1", Model::TransEL1, 1000, 64, 256),
        sampled("negsamp_rotate", Model::RotatE, 1000, 64, 256),
        sampled("negsamp_rotate", Model::RotatE, 1000, 1024, 256),
        rank(100),
        rank(1000),
    ];

    fn ranks(&self) -> bool {
        self.name == "rank_complex"
    }
}

/// One line of results.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrainingMeasurement {
    /// What was measured.
    pub name: &'static str,
    /// Where.
    pub device: String,
    /// Seconds of a step (of a ranking of `batch` queries): the median of all samples.
    pub median_s: f64,
    /// Complex numbers in a row, where the name says ComplEx.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<usize>,
    /// Values in an entity's row.
    pub dim: usize,
    /// Queries of a step.
    pub batch: usize,
    /// Entities of the table.
    pub entities: usize,
    /// Negatives of a query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub negatives: Option<usize>,
    /// What applied the gradients, where there were any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optimizer: Option<OptimizerKind>,
    /// How exact products had to be, in steps against all entities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub products: Option<MatmulPrecision>,
    /// Queries a second, where all entities are candidates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queries_s: Option<f64>,
    /// Facts a second, where negatives are drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub triples_s: Option<f64>,
    /// Floating-point operations a second that the formulas need, in 10⁹: 2·dim for a score or
    /// either of its gradients, and only where they are matrix products.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gflop_s: Option<f64>,
    /// Seconds that it takes one thread to make a plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_s: Option<f64>,
    /// The shortest sample.
    pub min_s: f64,
    /// The longest.
    pub max_s: f64,
    /// How many samples there were.
    pub samples: usize,
    /// What the device says, if it has a clock.
    #[serde(flatten)]
    pub on_device: Option<OnDevice>,
}

impl TrainingMeasurement {
    fn new(
        bench: &TrainingBench,
        what: &Training,
        samples: &Samples,
        plan_s: Option<f64>,
        on_device: Option<OnDevice>,
    ) -> TrainingMeasurement {
        let rate = what.batch as f64 / samples.median;
        let all = what.negatives == 0;
        // Scores, and the gradients of queries and of candidates.
        let products = if what.ranks() { 1.0 } else { 3.0 };
        let flops = products * 2.0 * (what.dim * what.batch * ENTITIES) as f64;
        TrainingMeasurement {
            name: what.name,
            device: bench.name.clone(),
            median_s: samples.median,
            rank: (what.model == Model::ComplEx).then_some(what.dim / 2),
            dim: what.dim,
            batch: what.batch,
            entities: ENTITIES,
            negatives: (!all).then_some(what.negatives),
            optimizer: (!what.ranks()).then_some(what.optimizer),
            products: (all && !what.ranks()).then_some(bench.products),
            queries_s: all.then_some(rate),
            triples_s: (!all).then_some(rate),
            gflop_s: all.then_some(flops / samples.median / 1e9),
            plan_s,
            min_s: samples.min,
            max_s: samples.max,
            samples: samples.count,
            on_device,
        }
    }

    /// One line of JSON.
    pub fn json(&self) -> String {
        super::record::json(self)
    }
}

/// A device to measure training on.
#[derive(Debug)]
pub struct TrainingBench {
    name: String,
    backend: Backend,
    limits: (f64, usize),
    stages: bool,
    products: MatmulPrecision,
}

impl TrainingBench {
    /// Makes ready to measure a device, each line for so many seconds and samples at least.
    ///
    /// # Errors
    /// If the device does not open.
    pub fn new(device: Device, seconds: f64, repeat: usize) -> Result<TrainingBench, BenchError> {
        let (name, backend) = open(device)?;
        Ok(TrainingBench {
            name,
            backend,
            limits: (seconds, repeat),
            stages: false,
            products: MatmulPrecision::default(),
        })
    }

    /// Has a GPU time every stage, too.
    pub fn with_stages(self, stages: bool) -> TrainingBench {
        TrainingBench { stages, ..self }
    }

    /// How exact products against all entities have to be.
    pub fn with_products(self, products: MatmulPrecision) -> TrainingBench {
        TrainingBench { products, ..self }
    }

    /// The device.
    pub fn device(&self) -> &str {
        &self.name
    }

    /// Measures a training step or a ranking.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn measure(&self, what: &Training) -> Result<TrainingMeasurement, BenchError> {
        let limits = self.limits;
        let mut tables = Tables::new(self.backend.another()?, what)?;
        if what.ranks() {
            let batch = rank_batch(what.batch);
            let work =
                &mut |tables: &mut Tables, times: usize| tables.rank(what.model, &batch, times);
            let (samples, on_device) = self.watch(&mut tables, work)?;
            return Ok(TrainingMeasurement::new(
                self, what, &samples, None, on_device,
            ));
        }
        let sampler = sampler(what);
        let mut scratch = sampler.scratch();
        let order = sampler.order(1);
        let plans: Vec<Plan> = (0..PLANS as u32)
            .map(|step| sampler.plan(&order, step, &mut scratch))
            .collect();
        let spec = step_spec(what, self.products);
        let work = &mut |tables: &mut Tables, times: usize| tables.steps(&spec, &plans, times);
        let (samples, on_device) = self.watch(&mut tables, work)?;
        let mut step = 0;
        let planning = Samples::take(limits, |times| {
            for _ in 0..times {
                std::hint::black_box(sampler.plan(&order, step % PLANS as u32, &mut scratch));
                step += 1;
            }
            Ok::<_, BenchError>(None)
        })?;
        Ok(TrainingMeasurement::new(
            self,
            what,
            &samples,
            Some(planning.median),
            on_device,
        ))
    }

    /// Times some work by the host's clock, then looks at it by the device's.
    fn watch(
        &self,
        tables: &mut Tables,
        work: &mut dyn FnMut(&mut Tables, usize) -> Result<(), BenchError>,
    ) -> Result<(Samples, Option<OnDevice>), BenchError> {
        let samples = Samples::take(self.limits, |times| {
            work(tables, times)?;
            Ok::<_, BenchError>(None)
        })?;
        let on_device = OnDevice::find(tables, work, samples.median, self.stages)?;
        Ok((samples, on_device))
    }
}

fn step_spec(what: &Training, products: MatmulPrecision) -> StepSpec {
    let all = what.negatives == 0;
    let loss = if all {
        LossKind::Softmax
    } else {
        LossKind::SelfAdversarial
    };
    let strength = 0.05;
    StepSpec {
        model: what.model,
        loss: Loss {
            margin: if all { 0.0 } else { 9.0 },
            ..Loss::new(loss)
        },
        regularizer: match all {
            true => Regularizer {
                kind: RegularizerKind::N3,
                entity: strength,
                relation: strength,
                weighted: true,
            },
            false => Regularizer::NONE,
        },
        entity_dropout: 0.0,
        relation_dropout: 0.0,
        candidate_dropout: 0.0,
        relation_weight: 0.0,
        matmul_precision: products,
    }
}

/// Facts are drawn from all there could be: what they say does not matter for the speed.
fn sampler(what: &Training) -> Sampler {
    let mut rng = random();
    let facts = (0..PLANS * what.batch).map(|_| Triple {
        head: rng.random_range(0..ENTITIES as u32),
        relation: rng.random_range(0..RELATIONS as u32),
        tail: rng.random_range(0..ENTITIES as u32),
    });
    let rule = QueryRule {
        relations: RELATIONS as u32,
        reciprocal: false,
    };
    let objective = match what.negatives {
        0 => Objective::OneVsAll,
        _ => Objective::Negatives,
    };
    let mut sampler = Sampler::new(
        facts.collect(),
        ENTITIES as u32,
        rule,
        objective,
        what.batch,
    );
    sampler.sides = Sides::Tail;
    sampler.negatives = Negatives {
        count: what.negatives,
        chunk: 1,
        filtered: false,
    };
    sampler
}

fn rank_batch(queries: usize) -> RankBatch {
    let mut rng = random();
    let mut batch = RankBatch {
        offsets: vec![0],
        ..RankBatch::default()
    };
    for _ in 0..queries {
        let target = rng.random_range(0..ENTITIES as u32);
        batch.queries.push(RankQuery {
            entity: rng.random_range(0..ENTITIES as u32),
            relation: rng.random_range(0..RELATIONS as u32),
            inverse: 0,
            target,
        });
        // Others than the target, each once.
        let stride = (ENTITIES / (KNOWN + 1)) as u32;
        batch
            .known
            .extend((1..=KNOWN as u32).map(|k| (target + k * stride) % ENTITIES as u32));
        batch.offsets.push(batch.known.len() as u32);
    }
    batch
}

fn random() -> Stream {
    stream(0, Purpose::Init, [0, 0])
}
