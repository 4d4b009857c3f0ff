//! The timed steps and rankings, at the sizes of FB15k-237.
//!
//! | name | work |
//! |---|---|
//! | `complex_1vsall` | 1-vs-all softmax, N3, Adagrad: a step of 1000 queries among 14,541 entities |
//! | `negsamp_transe_l1`, `negsamp_distmult`, `negsamp_rotate` | self-adversarial negatives drawn for each fact, Adam (DistMult: Adagrad) |
//! | `rank_complex` | filtered ranking of 1024 queries among 14,541 entities |
//!
//! Plans are made before the steps that are timed: while a run trains, threads of their own make
//! them. The time to make a plan is a figure of its own. On a GPU a sample ends when the device is
//! done. The GPU's own clock times its stages, in further steps ([`OnDevice`]).

mod on_device;
mod tables;

use rand::RngExt;
use serde::Serialize;
use shardloom::bench::{BenchError, Limits, Samples, Target};
use shardloom::dataset::Triple;
use shardloom::device::Device;
use shardloom::kernel::{MatmulPrecision, RankBatch, RankQuery, StepSpec};
use shardloom::loss::{Loss, LossKind};
use shardloom::model::Model;
use shardloom::optim::{OptimizerKind, Regularizer, RegularizerKind};
use shardloom::rng::{Purpose, Stream, stream};
use shardloom::sampler::{Negatives, Objective, Plan, QueryRule, Sampler, Sides};

pub use self::on_device::OnDevice;
use self::tables::Tables;

/// Entities of FB15k-237, and its relations with their reciprocals.
const ENTITIES: usize = 14_541;
const RELATIONS: usize = 474;
/// Number of plans that take turns: so many that a step does not find its rows in a cache.
const PLANS: usize = 8;
/// Number of known answers that every ranked query leaves out.
const KNOWN: usize = 30;

/// A training step or a ranking to time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Work {
    /// Name in results.
    pub name: &'static str,
    /// Operator and similarity.
    pub model: Model,
    /// Number of values in an entity's row.
    pub dim: usize,
    /// Number of queries of a step.
    pub batch: usize,
    /// Number of negatives of a query; 0 where a query is scored against all entities.
    pub negatives: usize,
    /// The optimizer that applies the gradients.
    pub optimizer: OptimizerKind,
}

/// A step with negatives and Adam.
const fn sampled(
    name: &'static str,
    model: Model,
    dim: usize,
    batch: usize,
    negatives: usize,
) -> Work {
    Work {
        name,
        model,
        dim,
        batch,
        negatives,
        optimizer: OptimizerKind::Adam,
    }
}

/// A step of ComplEx against all entities, with Adagrad.
const fn all(rank: usize) -> Work {
    Work {
        optimizer: OptimizerKind::Adagrad,
        ..sampled("complex_1vsall", Model::ComplEx, 2 * rank, 1000, 0)
    }
}

/// A ranking by ComplEx.
const fn rank(rank: usize) -> Work {
    sampled("rank_complex", Model::ComplEx, 2 * rank, 1024, 0)
}

/// A step with Adagrad.
const fn adagrad(what: Work) -> Work {
    Work {
        optimizer: OptimizerKind::Adagrad,
        ..what
    }
}

impl Work {
    /// All work, at the sizes of published recipes and of other programs' benchmarks.
    pub const ALL: [Work; 12] = [
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

    /// Whether this is a ranking.
    fn ranks(&self) -> bool {
        self.name == "rank_complex"
    }
}

/// The result of one step or ranking on one device.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measurement {
    /// Name of the work.
    pub name: &'static str,
    /// Name of the device.
    pub device: String,
    /// Seconds of a step, or of a ranking of `batch` queries: the median of all samples.
    pub median_s: f64,
    /// Number of complex numbers in a row of ComplEx.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<usize>,
    /// Number of values in an entity's row.
    pub dim: usize,
    /// Number of queries of a step.
    pub batch: usize,
    /// Number of entities.
    pub entities: usize,
    /// Number of negatives of a query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub negatives: Option<usize>,
    /// The optimizer of a step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optimizer: Option<OptimizerKind>,
    /// Precision of matrix products, in steps against all entities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub products: Option<MatmulPrecision>,
    /// Number of queries a second, where all entities are candidates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queries_s: Option<f64>,
    /// Number of triples a second, in steps with negatives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub triples_s: Option<f64>,
    /// 10⁹ floating-point operations a second, as many as the formulas need: 2·dim for a score and for
    /// each of its two gradients. Only where these are matrix products.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gflop_s: Option<f64>,
    /// Seconds in which one thread makes a plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_s: Option<f64>,
    /// Seconds of a step in the shortest sample.
    pub min_s: f64,
    /// Seconds of a step in the longest sample.
    pub max_s: f64,
    /// Number of samples.
    pub samples: usize,
    /// Times by the clock of the device, if it has one.
    #[serde(flatten)]
    pub on_device: Option<OnDevice>,
}

impl Measurement {
    fn new(
        suite: &Suite,
        what: &Work,
        samples: &Samples,
        plan_s: Option<f64>,
        on_device: Option<OnDevice>,
    ) -> Measurement {
        let rate = what.batch as f64 / samples.median;
        let all = what.negatives == 0;
        // Scores, and the gradients of queries and of candidates.
        let products = if what.ranks() { 1.0 } else { 3.0 };
        let flops = products * 2.0 * (what.dim * what.batch * ENTITIES) as f64;
        Measurement {
            name: what.name,
            device: suite.target.name.clone(),
            median_s: samples.median,
            rank: (what.model == Model::ComplEx).then_some(what.dim / 2),
            dim: what.dim,
            batch: what.batch,
            entities: ENTITIES,
            negatives: (!all).then_some(what.negatives),
            optimizer: (!what.ranks()).then_some(what.optimizer),
            products: (all && !what.ranks()).then_some(suite.products),
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
}

/// The benchmark of one device.
#[derive(Debug)]
pub struct Suite {
    target: Target,
    limits: Limits,
    stages: bool,
    products: MatmulPrecision,
}

impl Suite {
    /// Opens a device. Every figure takes samples up to the limits.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn new(device: Device, limits: Limits) -> Result<Suite, BenchError> {
        Ok(Suite {
            target: Target::open(device)?,
            limits,
            stages: false,
            products: MatmulPrecision::default(),
        })
    }

    /// Times every stage too, on a GPU that has a clock.
    pub fn with_stages(self, stages: bool) -> Suite {
        Suite { stages, ..self }
    }

    /// Sets the precision of matrix products.
    pub fn with_products(self, products: MatmulPrecision) -> Suite {
        Suite { products, ..self }
    }

    /// Name of the device in results.
    pub fn device(&self) -> &str {
        &self.target.name
    }

    /// Measures a training step or a ranking.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn measure(&self, what: &Work) -> Result<Measurement, BenchError> {
        let limits = self.limits;
        let mut tables = Tables::new(self.target.backend.another()?, what)?;
        if what.ranks() {
            let batch = rank_batch(what.batch);
            let work =
                &mut |tables: &mut Tables, times: usize| tables.rank(what.model, &batch, times);
            let (samples, on_device) = self.watch(&mut tables, work)?;
            return Ok(Measurement::new(self, what, &samples, None, on_device));
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
        Ok(Measurement::new(
            self,
            what,
            &samples,
            Some(planning.median),
            on_device,
        ))
    }

    /// Times work by the host's clock, then by the device's.
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

fn step_spec(what: &Work, products: MatmulPrecision) -> StepSpec {
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

/// Makes plans of random triples: the speed does not depend on the graph.
fn sampler(what: &Work) -> Sampler {
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
        // Entities other than the target, each once.
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
