//! Random small problems, run on a backend and in the oracle.

use rand::RngExt;
use shardloom::dataset::Triple;
use shardloom::kernel::{
    Backend, Column, Dtype, MatmulPrecision, ShardLayout, StepSpec, Table, TableSpec,
};
use shardloom::loss::{Loss, LossKind};
use shardloom::model::{Lanes, Model};
use shardloom::optim::{OptimizerKind, OptimizerStep, Regularizer, RegularizerKind};
use shardloom::rng::{Purpose, Stream, stream};
use shardloom::sampler::{Negatives, Objective, Plan, QueryRule, Sampler, Sides};

use crate::compare::{Columns, compare};
use crate::cores;
use crate::halves;
use crate::oracle;

pub const LOSSES: [LossKind; 4] = [
    LossKind::Softmax,
    LossKind::Bce,
    LossKind::Margin,
    LossKind::SelfAdversarial,
];
pub const OPTIMIZERS: [OptimizerKind; 4] = [
    OptimizerKind::Sgd,
    OptimizerKind::Adagrad,
    OptimizerKind::RowAdagrad,
    OptimizerKind::Adam,
];
pub const REGULARIZERS: [RegularizerKind; 5] = [
    RegularizerKind::None,
    RegularizerKind::N3,
    RegularizerKind::L1,
    RegularizerKind::L2,
    RegularizerKind::L3,
];

/// Roundings of a gradient's size that are forgiven.
pub const ROUNDINGS: f64 = 4.0;

pub fn pick<T: Copy>(rng: &mut Stream, from: &[T]) -> T {
    from[rng.random_range(0..from.len())]
}

pub fn values(rng: &mut Stream, n: usize, low: f32, high: f32) -> Vec<f32> {
    (0..n).map(|_| rng.random_range(low..high)).collect()
}

/// Equal shards; but three are of all sizes, and one of them is empty.
pub fn layout(rows: usize, shards: usize, most_rows: usize) -> ShardLayout {
    if shards != 3 {
        return ShardLayout::new(rows, shards, most_rows);
    }
    let mut sizes = [rows - rows / 3, rows / 3, 0];
    sizes.rotate_right(rows % 3);
    ShardLayout::from_sizes(&sizes)
}

/// A table on the device and in the oracle, states included.
pub struct Pair {
    pub device: Table,
    pub oracle: oracle::Table,
}

impl Pair {
    pub fn new(engine: &Backend, rng: &mut Stream, spec: &TableSpec) -> Pair {
        let rows = spec.layout.rows();
        let initial = values(rng, rows * spec.width, -1.0, 1.0);
        let mut filled = 0;
        let device = engine
            .create_table(spec, &mut |first, part| {
                part.copy_from_slice(&initial[first * spec.width..][..part.len()]);
                filled += part.len();
            })
            .unwrap();
        assert_eq!(filled, initial.len());
        let stored = engine.read(&device, Column::Values).unwrap();
        assert!(halves::stored(spec.dtype, &initial) == stored);
        let mut states = [Column::First, Column::Second].map(|column| {
            let state = engine.read(&device, column).unwrap();
            assert_eq!(state.len(), rows * column.width(spec));
            assert!(state.iter().all(|&s| s == 0.0));
            let state = values(rng, state.len(), 0.1, 1.0);
            engine.write(&device, column, &state).unwrap();
            state.into_iter().map(f64::from).collect::<Vec<_>>()
        });
        let oracle = oracle::Table {
            width: spec.width,
            dtype: spec.dtype,
            values: stored.into_iter().map(f64::from).collect(),
            first: std::mem::take(&mut states[0]),
            second: std::mem::take(&mut states[1]),
        };
        Pair { device, oracle }
    }

    pub fn read(&self, engine: &Backend) -> [Vec<f32>; 3] {
        [Column::Values, Column::First, Column::Second]
            .map(|c| engine.read(&self.device, c).unwrap())
    }

    pub fn rewind(&mut self, engine: &Backend, to: &[Vec<f32>; 3]) {
        for (column, data) in [Column::Values, Column::First, Column::Second]
            .into_iter()
            .zip(to)
        {
            engine.write(&self.device, column, data).unwrap();
        }
    }
}

#[derive(Debug)]
pub struct Case {
    pub spec: StepSpec,
    pub objective: Objective,
    pub optimizer: OptimizerKind,
    pub dtype: Dtype,
    pub entities: usize,
    pub relations: usize,
    pub dim: usize,
    pub shards: usize,
    pub relation_shards: usize,
    pub batch: usize,
    pub negatives: Negatives,
    pub seed: u64,
}

impl Case {
    /// A small problem with odd sizes; what is not given is drawn.
    pub fn draw(
        model: Model,
        objective: Objective,
        kind: LossKind,
        optimizer: OptimizerKind,
        seed: u64,
    ) -> Case {
        let rng = &mut stream(seed, Purpose::Init, [0, 0]);
        let dims: &[usize] = match model.entity_lanes() {
            Lanes::Real => &[1, 6, 10, 33, 50, 64],
            Lanes::Complex => &[2, 6, 10, 50, 64],
            Lanes::Quaternion => &[4, 12, 20, 36, 64],
        };
        let loss = Loss {
            kind,
            margin: pick(rng, &[0.0, 1.0, 4.0]),
            temperature: pick(rng, &[0.0, 0.5, 1.0]),
            // Masked scores have no place in a smoothed row.
            smoothing: if objective == Objective::Negatives {
                0.0
            } else {
                pick(rng, &[0.0, 0.1])
            },
        };
        let regularizer = Regularizer {
            kind: pick(rng, &REGULARIZERS),
            entity: 0.05,
            relation: 0.03,
            weighted: rng.random_bool(0.5),
        };
        Case {
            spec: StepSpec {
                model,
                loss,
                regularizer,
                entity_dropout: pick(rng, &[0.0, 0.3]),
                relation_dropout: pick(rng, &[0.0, 0.2]),
                candidate_dropout: 0.0,
                relation_weight: 0.0,
                matmul_precision: MatmulPrecision::F32,
            },
            objective,
            optimizer,
            dtype: Dtype::F32,
            entities: pick(rng, &[7, 61, 130]),
            relations: pick(rng, &[1, 5]),
            dim: pick(rng, dims),
            shards: pick(rng, &[1, 3]),
            relation_shards: 1,
            batch: pick(rng, &[1, 13, 40]),
            negatives: Negatives {
                count: pick(rng, &[1, 3, 34]),
                chunk: pick(rng, &[1, 4, 16]),
                filtered: rng.random_bool(0.5),
            },
            seed,
        }
    }

    pub fn sampler(&self) -> Sampler {
        let rng = &mut stream(self.seed, Purpose::Init, [0, 1]);
        let entity = |rng: &mut Stream| rng.random_range(0..self.entities as u32);
        let facts: Vec<Triple> = (0..self.batch * 2)
            .map(|_| Triple {
                head: entity(rng),
                relation: rng.random_range(0..self.relations as u32),
                tail: entity(rng),
            })
            .collect();
        let rule = QueryRule {
            relations: self.relations as u32,
            reciprocal: rng.random_bool(0.3),
        };
        let mut sampler = Sampler::new(
            facts,
            self.entities as u32,
            rule,
            self.objective,
            self.batch,
        );
        sampler.negatives = self.negatives;
        sampler.sides = pick(rng, &[Sides::Both, Sides::Alternate, Sides::Bernoulli]);
        sampler.weighted_penalty = self.spec.regularizer.weighted;
        sampler.frequency_weights = rng.random_bool(0.5);
        sampler.predict_relations = self.spec.relation_weight > 0.0;
        sampler.core_rows = self.spec.model.core_rows(self.dim);
        sampler.seed = self.seed;
        sampler
    }

    pub fn table(&self, name: &'static str, rows: usize, width: usize, shards: usize) -> TableSpec {
        TableSpec {
            name,
            width,
            layout: layout(rows, shards, usize::MAX),
            optimizer: self.optimizer,
            dtype: self.dtype,
        }
    }

    pub fn relation_table(&self, sampler: &Sampler) -> TableSpec {
        let rows = sampler.rule.relation_rows();
        let (rows, width) = cores::relation_shape(self.spec.model, rows, self.dim);
        self.table("relations", rows, width, self.relation_shards)
    }

    /// Runs two steps on the device and in the oracle. Returns the worst number of roundings.
    pub fn run(&self, engine: &mut Backend) -> f64 {
        let sampler = self.sampler();
        let rng = &mut stream(self.seed, Purpose::Init, [0, 2]);
        // More shards than asked for, if the bindings are small.
        let most = engine.most_rows(self.dim);
        let layout = layout(self.entities, self.shards, most);
        let spec = TableSpec {
            layout,
            ..self.table("entities", self.entities, self.dim, 1)
        };
        let mut entities = Pair::new(engine, rng, &spec);
        let spec = self.relation_table(&sampler);
        let mut relations = Pair::new(engine, rng, &spec);

        let mut scratch = sampler.scratch();
        let order = sampler.order(1);
        let mut worst = 0.0f64;
        for step in 0..sampler.steps().min(2) {
            let plan = sampler.plan(&order, step, &mut scratch);
            worst = worst.max(self.check_step(engine, &plan, &mut entities, &mut relations));
        }
        worst
    }

    pub fn check_step(
        &self,
        engine: &mut Backend,
        plan: &Plan,
        entities: &mut Pair,
        relations: &mut Pair,
    ) -> f64 {
        let step = OptimizerStep::new(self.optimizer, 0.1, u64::from(plan.step) + 1);
        let start = [entities.read(engine), relations.read(engine)];
        let run = |engine: &mut Backend, entities: &mut Pair, relations: &mut Pair, whole| {
            let (spec, tables) = (&self.spec, [&entities.device, &relations.device]);
            if whole {
                engine.step(spec, step, plan, tables[0], tables[1]).unwrap();
            } else {
                engine.gradients(spec, plan, tables[0], tables[1]).unwrap();
                engine.update(step, plan, tables[0], tables[1]).unwrap();
            }
            let loss = engine.take_loss().unwrap();
            let after = [entities.read(engine), relations.read(engine)];
            // Next time, nonsense is in every buffer between the stages.
            engine.poison().unwrap();
            (loss, after)
        };
        let (loss, after) = run(engine, entities, relations, false);
        entities.rewind(engine, &start[0]);
        relations.rewind(engine, &start[1]);
        // In one call, which may take other ways to the same bits.
        let (loss_again, after_again) = run(engine, entities, relations, true);
        assert_eq!(loss.to_bits(), loss_again.to_bits(), "{self:?}");
        let bits = |tables: &[[Vec<f32>; 3]; 2]| {
            tables
                .iter()
                .flatten()
                .flatten()
                .map(|x| x.to_bits())
                .collect::<Vec<_>>()
        };
        assert!(
            bits(&after) == bits(&after_again),
            "another run gave other bits: {self:?}"
        );

        let wanted = oracle::step(&self.spec, plan, &entities.oracle, &relations.oracle);
        let off = (loss - wanted.loss).abs() / (f64::from(f32::EPSILON) * wanted.loss_size);
        assert!(
            off < ROUNDINGS,
            "{self:?}: loss {loss} instead of {}: {off} roundings",
            wanted.loss
        );

        let mut worst = off;
        let all: Vec<u32> = (0..self.entities as u32).collect();
        let touched = match self.objective {
            Objective::Negatives => &plan.entities.ids,
            _ => &all,
        };
        let tables = [
            ("entities", entities, touched, &wanted.entities),
            (
                "relations",
                relations,
                &plan.relations.ids,
                &wanted.relations,
            ),
        ];
        for ((name, pair, rows, gradients), found) in tables.into_iter().zip(&after) {
            let before = pair.oracle.clone();
            pair.oracle.update(step, rows, gradients);
            let columns = Columns {
                values: &found[0],
                first: &found[1],
                second: &found[2],
            };
            let compared = compare(
                name,
                &columns,
                &pair.oracle,
                &before,
                step,
                gradients,
                ROUNDINGS,
            );
            match compared {
                Ok(roundings) => worst = worst.max(roundings),
                Err(what) => panic!("{what}\n{self:?}"),
            }
            // Errors must not pile up from step to step.
            let [values, first, second] = found
                .clone()
                .map(|c| c.into_iter().map(f64::from).collect());
            pair.oracle = oracle::Table {
                width: before.width,
                dtype: before.dtype,
                values,
                first,
                second,
            };
        }
        worst
    }
}

/// A plain problem to be varied.
pub fn plain(model: Model, objective: Objective) -> Case {
    Case {
        spec: StepSpec {
            model,
            loss: Loss::new(LossKind::Softmax),
            regularizer: Regularizer::NONE,
            entity_dropout: 0.0,
            relation_dropout: 0.0,
            candidate_dropout: 0.0,
            relation_weight: 0.0,
            matmul_precision: MatmulPrecision::F32,
        },
        objective,
        optimizer: OptimizerKind::Adagrad,
        dtype: Dtype::F32,
        entities: 40,
        relations: 3,
        dim: 12,
        shards: 1,
        relation_shards: 1,
        batch: 10,
        negatives: Negatives {
            count: 3,
            chunk: 1,
            filtered: false,
        },
        seed: 5,
    }
}
