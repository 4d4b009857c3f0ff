//! The GPU's stages against the `f64` oracle.

mod oracle;

use oracle::Columns;
use rand::RngExt;
use shardloom::dataset::Triple;
use shardloom::device::{GpuOptions, testing};
use shardloom::kernel::gpu::{Engine, Table};
use shardloom::kernel::{
    Column, KernelError, RankBatch, RankCounts, RankQuery, ShardLayout, StepSpec, TableSpec,
};
use shardloom::loss::{Loss, LossKind};
use shardloom::model::Model;
use shardloom::optim::{OptimizerKind, OptimizerStep, Regularizer, RegularizerKind};
use shardloom::rng::{Purpose, Stream, stream};
use shardloom::sampler::{Negatives, Objective, Plan, QueryRule, Sampler, Sides};

const LOSSES: [LossKind; 4] = [
    LossKind::Softmax,
    LossKind::Bce,
    LossKind::Margin,
    LossKind::SelfAdversarial,
];
const OPTIMIZERS: [OptimizerKind; 4] = [
    OptimizerKind::Sgd,
    OptimizerKind::Adagrad,
    OptimizerKind::RowAdagrad,
    OptimizerKind::Adam,
];
const REGULARIZERS: [RegularizerKind; 5] = [
    RegularizerKind::None,
    RegularizerKind::N3,
    RegularizerKind::L1,
    RegularizerKind::L2,
    RegularizerKind::L3,
];

/// Roundings of a gradient's size that are forgiven.
const ROUNDINGS: f64 = 4.0;

fn pick<T: Copy>(rng: &mut Stream, from: &[T]) -> T {
    from[rng.random_range(0..from.len())]
}

fn values(rng: &mut Stream, n: usize, low: f32, high: f32) -> Vec<f32> {
    (0..n).map(|_| rng.random_range(low..high)).collect()
}

/// A table on the device and in the oracle, states included.
struct Pair {
    device: Table,
    oracle: oracle::Table,
}

impl Pair {
    fn new(engine: &Engine, rng: &mut Stream, spec: &TableSpec) -> Pair {
        let rows = spec.layout.rows();
        let initial = values(rng, rows * spec.width, -1.0, 1.0);
        let mut filled = 0;
        let mut device = engine
            .create_table(spec, &mut |first, part| {
                part.copy_from_slice(&initial[first * spec.width..][..part.len()]);
                filled += part.len();
            })
            .unwrap();
        assert_eq!(filled, initial.len());
        let mut states = [Column::First, Column::Second].map(|column| {
            let state = engine.read(&device, column).unwrap();
            assert_eq!(state.len(), rows * column.width(spec));
            assert!(state.iter().all(|&s| s == 0.0));
            let state = values(rng, state.len(), 0.1, 1.0);
            engine.write(&mut device, column, &state).unwrap();
            state.into_iter().map(f64::from).collect::<Vec<_>>()
        });
        let oracle = oracle::Table {
            width: spec.width,
            values: initial.into_iter().map(f64::from).collect(),
            first: std::mem::take(&mut states[0]),
            second: std::mem::take(&mut states[1]),
        };
        Pair { device, oracle }
    }

    fn read(&self, engine: &Engine) -> [Vec<f32>; 3] {
        [Column::Values, Column::First, Column::Second]
            .map(|c| engine.read(&self.device, c).unwrap())
    }

    fn rewind(&mut self, engine: &Engine, to: &[Vec<f32>; 3]) {
        for (column, data) in [Column::Values, Column::First, Column::Second]
            .into_iter()
            .zip(to)
        {
            engine.write(&mut self.device, column, data).unwrap();
        }
    }
}

#[derive(Debug)]
struct Case {
    spec: StepSpec,
    objective: Objective,
    optimizer: OptimizerKind,
    entities: usize,
    relations: usize,
    dim: usize,
    shards: usize,
    batch: usize,
    negatives: Negatives,
    seed: u64,
}

impl Case {
    /// A small problem with odd sizes; what is not given is drawn.
    fn draw(
        model: Model,
        objective: Objective,
        kind: LossKind,
        optimizer: OptimizerKind,
        seed: u64,
    ) -> Case {
        let rng = &mut stream(seed, Purpose::Init, [0, 0]);
        let real = model.values_per_lane() == 1;
        let dims: &[usize] = if real {
            &[1, 6, 10, 33, 50, 64]
        } else {
            &[2, 6, 10, 50, 64]
        };
        let loss = Loss {
            kind,
            margin: pick(rng, &[0.0, 1.0, 4.0]),
            temperature: pick(rng, &[0.5, 1.0]),
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
            },
            objective,
            optimizer,
            entities: pick(rng, &[7, 61, 130]),
            relations: pick(rng, &[1, 5]),
            dim: pick(rng, dims),
            shards: pick(rng, &[1, 3]),
            batch: pick(rng, &[1, 13, 40]),
            negatives: Negatives {
                count: pick(rng, &[1, 3, 34]),
                chunk: pick(rng, &[1, 4, 16]),
                filtered: rng.random_bool(0.5),
            },
            seed,
        }
    }

    fn sampler(&self) -> Sampler {
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
        sampler.seed = self.seed;
        sampler
    }

    fn table(&self, name: &'static str, rows: usize, width: usize, shards: usize) -> TableSpec {
        TableSpec {
            name,
            width,
            layout: ShardLayout::new(rows, shards, usize::MAX),
            optimizer: self.optimizer,
        }
    }

    /// Runs two steps on the device and in the oracle. Returns the worst number of roundings.
    fn run(&self, engine: &mut Engine) -> f64 {
        let sampler = self.sampler();
        let rng = &mut stream(self.seed, Purpose::Init, [0, 2]);
        let model = self.spec.model;
        let relation_rows = sampler.rule.relation_rows();
        // More shards than asked for, if the bindings are small.
        let most = engine.most_rows(self.dim);
        let layout = ShardLayout::new(self.entities, self.shards, most);
        let spec = TableSpec {
            layout,
            ..self.table("entities", self.entities, self.dim, 1)
        };
        let mut entities = Pair::new(engine, rng, &spec);
        let spec = self.table(
            "relations",
            relation_rows,
            model.relation_width(self.dim),
            1,
        );
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

    fn check_step(
        &self,
        engine: &mut Engine,
        plan: &Plan,
        entities: &mut Pair,
        relations: &mut Pair,
    ) -> f64 {
        let step = OptimizerStep::new(self.optimizer, 0.1, u64::from(plan.step) + 1);
        let start = [entities.read(engine), relations.read(engine)];
        let run = |engine: &mut Engine, entities: &mut Pair, relations: &mut Pair| {
            engine
                .gradients(&self.spec, plan, &entities.device, &relations.device)
                .unwrap();
            engine
                .update(step, plan, &mut entities.device, &mut relations.device)
                .unwrap();
            let loss = engine.take_loss().unwrap();
            let after = [entities.read(engine), relations.read(engine)];
            // Next time, nonsense is in every buffer between the stages.
            engine.poison().unwrap();
            (loss, after)
        };
        let (loss, after) = run(engine, entities, relations);
        entities.rewind(engine, &start[0]);
        relations.rewind(engine, &start[1]);
        let (loss_again, after_again) = run(engine, entities, relations);
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
            let compared = oracle::compare(
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
                values,
                first,
                second,
            };
        }
        worst
    }
}

fn steps_match_the_oracle(objective: Objective) {
    let Some(gpu) = testing::gpu() else { return };
    let mut engine = Engine::new(gpu).unwrap();
    let mut worst = 0.0f64;
    let mut seed = objective as u64 * 1000;
    for &model in Model::ALL {
        for loss in LOSSES {
            for optimizer in OPTIMIZERS {
                seed += 1;
                let case = Case::draw(model, objective, loss, optimizer, seed);
                worst = worst.max(case.run(&mut engine));
            }
        }
    }
    println!("{objective:?}: at most {worst:.2} roundings");
}

/// A plain problem to be varied.
fn plain(model: Model, objective: Objective) -> Case {
    Case {
        spec: StepSpec {
            model,
            loss: Loss::new(LossKind::Softmax),
            regularizer: Regularizer::NONE,
            entity_dropout: 0.0,
            relation_dropout: 0.0,
        },
        objective,
        optimizer: OptimizerKind::Adagrad,
        entities: 40,
        relations: 3,
        dim: 12,
        shards: 1,
        batch: 10,
        negatives: Negatives {
            count: 3,
            chunk: 1,
            filtered: false,
        },
        seed: 5,
    }
}

#[test]
fn small_bindings_make_shards_and_tiles() {
    // 6144 values a binding: a table of 300 × 30 takes two shards, 80 queries take four tiles.
    let options = GpuOptions::with_binding_limit(24 << 10);
    let Some(gpu) = testing::gpu_with(&options) else {
        return;
    };
    let mut engine = Engine::new(gpu).unwrap();
    assert_eq!(engine.most_rows(30), 204);
    assert_eq!(engine.most_rows(6145), 0);
    for &model in Model::ALL {
        for objective in [Objective::Negatives, Objective::OneVsAll, Objective::KVsAll] {
            let case = Case {
                entities: 300,
                dim: 30,
                batch: 40,
                ..plain(model, objective)
            };
            case.run(&mut engine);
        }
    }
    let spec = plain(Model::DistMult, Objective::OneVsAll).table("entities", 205, 30, 1);
    let error = engine
        .create_table(&spec, &mut |_, _| ())
        .unwrap_err()
        .to_string();
    assert!(error.contains("shard 0 of entities"), "{error}");
}

#[test]
fn sums_over_many_rows_are_cut_in_slices() {
    let Some(gpu) = testing::gpu() else { return };
    let mut engine = Engine::new(gpu).unwrap();
    for model in [Model::DistMult, Model::RotatE] {
        let case = Case {
            entities: 2500,
            dim: 10,
            ..plain(model, Objective::OneVsAll)
        };
        case.run(&mut engine);
    }
}

#[test]
fn lines_of_workgroups_fold() {
    let Some(gpu) = testing::gpu() else { return };
    let mut engine = Engine::new(gpu).unwrap();
    // More than 65,535 queries (a workgroup each in `loss`) and touched rows (in `update`).
    let case = Case {
        optimizer: OptimizerKind::RowAdagrad,
        entities: 90_000,
        dim: 2,
        batch: 36_000,
        negatives: Negatives {
            count: 1,
            chunk: 1,
            filtered: false,
        },
        ..plain(Model::ComplEx, Objective::Negatives)
    };
    case.run(&mut engine);
}

#[test]
fn losses_are_kept_for_many_steps() {
    let Some(gpu) = testing::gpu() else { return };
    let mut engine = Engine::new(gpu).unwrap();
    assert_eq!(engine.take_loss().unwrap(), 0.0);
    let case = Case {
        optimizer: OptimizerKind::Sgd,
        dim: 2,
        batch: 2,
        ..plain(Model::DistMult, Objective::Negatives)
    };
    let sampler = case.sampler();
    let rng = &mut stream(1, Purpose::Init, [0, 0]);
    let mut entities = Pair::new(&engine, rng, &case.table("entities", 40, 2, 1));
    let mut relations = Pair::new(
        &engine,
        rng,
        &case.table("relations", sampler.rule.relation_rows(), 2, 1),
    );
    let plan = sampler.plan(&sampler.order(1), 0, &mut sampler.scratch());
    let still = OptimizerStep {
        kind: OptimizerKind::Sgd,
        rate: 0.0,
    };
    let mut steps = |engine: &mut Engine, n: usize| {
        for _ in 0..n {
            engine
                .gradients(&case.spec, &plan, &entities.device, &relations.device)
                .unwrap();
            engine
                .update(still, &plan, &mut entities.device, &mut relations.device)
                .unwrap();
        }
        engine.take_loss().unwrap()
    };
    let one = steps(&mut engine, 1);
    assert!(one > 0.0);
    assert_eq!(steps(&mut engine, 1500), 1500.0 * one);
    assert_eq!(engine.take_loss().unwrap(), 0.0);
}

#[test]
fn calls_between_gradients_and_update_keep_their_order() {
    let Some(gpu) = testing::gpu() else { return };
    let mut engine = Engine::new(gpu).unwrap();
    let case = Case {
        optimizer: OptimizerKind::Sgd,
        ..plain(Model::DistMult, Objective::Negatives)
    };
    let sampler = case.sampler();
    let rng = &mut stream(1, Purpose::Init, [0, 0]);
    let mut entities = Pair::new(&engine, rng, &case.table("entities", 40, 12, 2));
    let mut relations = Pair::new(
        &engine,
        rng,
        &case.table("relations", sampler.rule.relation_rows(), 12, 1),
    );
    let plan = sampler.plan(&sampler.order(1), 0, &mut sampler.scratch());
    let wanted = oracle::step(&case.spec, &plan, &entities.oracle, &relations.oracle);

    let step = OptimizerStep {
        kind: OptimizerKind::Sgd,
        rate: 1.0,
    };
    engine
        .gradients(&case.spec, &plan, &entities.device, &relations.device)
        .unwrap();
    engine
        .write(&mut entities.device, Column::Values, &[0.0; 40 * 12])
        .unwrap();
    engine
        .update(step, &plan, &mut entities.device, &mut relations.device)
        .unwrap();
    let found = engine.read(&entities.device, Column::Values).unwrap();
    for (found, gradient) in found.into_iter().zip(&wanted.entities.values) {
        assert!(
            (f64::from(found) + gradient).abs() < 1e-6,
            "{found} {gradient}"
        );
    }
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let Some(gpu) = testing::gpu() else { return };
    let mut engine = Engine::new(gpu).unwrap();
    let case = plain(Model::RotatE, Objective::Negatives);
    let sampler = case.sampler();
    let plan = sampler.plan(&sampler.order(1), 0, &mut sampler.scratch());
    let table = |rows, width| {
        engine
            .create_table(&case.table("entities", rows, width, 1), &mut |_, _| ())
            .unwrap()
    };
    let (odd, small, mut right) = (table(40, 11), table(5, 12), table(40, 12));
    let relations = table(6, 6);
    let shape = |result: Result<(), KernelError>| {
        assert!(
            matches!(result, Err(KernelError::Shape { .. })),
            "{result:?}"
        )
    };
    let row = |result: Result<(), KernelError>| {
        assert!(matches!(result, Err(KernelError::Row { .. })), "{result:?}")
    };
    shape(engine.gradients(&case.spec, &plan, &odd, &relations));
    shape(engine.gradients(&case.spec, &plan, &right, &right));
    row(engine.gradients(&case.spec, &plan, &small, &relations));
    shape(engine.write(&mut right, Column::Values, &[0.0; 7]));
    shape(engine.write(&mut right, Column::Second, &[0.0; 7]));
    engine.write(&mut right, Column::Second, &[]).unwrap();

    let query = RankQuery {
        entity: 39,
        relation: 5,
        inverse: 0,
        target: 39,
    };
    let wrong = [
        RankQuery {
            entity: 40,
            ..query
        },
        RankQuery {
            relation: 6,
            ..query
        },
        RankQuery {
            target: u32::MAX,
            ..query
        },
    ];
    for query in wrong {
        row(engine
            .scores(case.spec.model, &[query], &right, &relations)
            .map(drop));
        row(engine
            .score_pairs(case.spec.model, &[query], &right, &relations)
            .map(drop));
        let batch = RankBatch {
            queries: vec![query],
            offsets: vec![0, 0],
            known: vec![],
        };
        row(engine
            .rank(case.spec.model, &batch, &right, &relations)
            .map(drop));
    }
    let batch = RankBatch {
        queries: vec![query],
        offsets: vec![0, 1],
        known: vec![40],
    };
    row(engine
        .rank(case.spec.model, &batch, &right, &relations)
        .map(drop));
    let none = RankBatch {
        queries: vec![],
        offsets: vec![0],
        known: vec![],
    };
    assert!(
        engine
            .rank(case.spec.model, &none, &right, &relations)
            .unwrap()
            .is_empty()
    );
    assert!(
        engine
            .scores(case.spec.model, &[], &right, &relations)
            .unwrap()
            .is_empty()
    );
}

/// Tables of whole numbers below 4: their scores by product and by sum are exact.
fn whole_numbers(
    engine: &Engine,
    rng: &mut Stream,
    rows: usize,
    width: usize,
    shards: usize,
) -> (Table, Vec<f32>) {
    let spec = TableSpec {
        name: "entities",
        width,
        layout: ShardLayout::new(rows, shards, usize::MAX),
        optimizer: OptimizerKind::Sgd,
    };
    let data: Vec<f32> = (0..rows * width)
        .map(|_| rng.random_range(-3i32..=3) as f32)
        .collect();
    let table = engine.create_table(&spec, &mut |first, part| {
        part.copy_from_slice(&data[first * width..][..part.len()]);
    });
    (table.unwrap(), data)
}

/// Counts by the definition, from a row of scores.
fn count(scores: &[f32], target: u32, known: &[u32]) -> RankCounts {
    let limit = scores[target as usize];
    let mut counts = RankCounts::default();
    for (e, &s) in (0..).zip(scores) {
        if e != target && !known.contains(&e) {
            counts.better += u32::from(s.is_nan() || limit.is_nan() || s > limit);
            counts.equal += u32::from(s == limit);
        }
    }
    counts
}

fn draw_ranking(rng: &mut Stream, queries: usize, entities: usize, relations: usize) -> RankBatch {
    let mut batch = RankBatch {
        offsets: vec![0],
        ..RankBatch::default()
    };
    for _ in 0..queries {
        let row = |rng: &mut Stream, rows: usize| rng.random_range(0..rows as u32);
        let query = RankQuery {
            entity: row(rng, entities),
            relation: row(rng, relations),
            inverse: rng.random_range(0..2),
            target: row(rng, entities),
        };
        let share = pick(rng, &[0.0, 0.02, 0.5]);
        let known: Vec<u32> = (0..entities as u32)
            .filter(|&e| e != query.target && rng.random_bool(share))
            .collect();
        batch.queries.push(query);
        batch.known.extend(known);
        batch.offsets.push(batch.known.len() as u32);
    }
    batch
}

#[test]
fn rankings_match_a_naive_count() {
    let Some(gpu) = testing::gpu() else { return };
    let mut engine = Engine::new(gpu).unwrap();
    let sizes = [
        (1, 1, 1),
        (5, 3, 2),
        (63, 65, 1),
        (130, 70, 3),
        (700, 129, 2),
        (2, 200, 1),
    ];
    for &model in Model::ALL {
        for (i, (entities, queries, shards)) in sizes.into_iter().enumerate() {
            let rng = &mut stream(i as u64, Purpose::Init, [7, 7]);
            let dim = pick(rng, &[2, 6, 16, 34, 50]);
            let (mut entity_table, mut rows) = whole_numbers(&engine, rng, entities, dim, shards);
            let (relation_table, relation_rows) =
                whole_numbers(&engine, rng, 4, model.relation_width(dim), 1);
            // Copies of rows, far from their originals, and rows that are not numbers.
            for copy in 0..entities / 3 {
                let (to, original) = (rng.random_range(0..entities), copy % entities);
                rows.copy_within(original * dim..(original + 1) * dim, to * dim);
            }
            if entities > 60 {
                rows[17 * dim + 1] = f32::NAN;
                rows[40 * dim] = f32::INFINITY;
            }
            engine
                .write(&mut entity_table, Column::Values, &rows)
                .unwrap();

            let batch = draw_ranking(rng, queries, entities, 4);
            let scores = engine
                .scores(model, &batch.queries, &entity_table, &relation_table)
                .unwrap();
            let pairs = engine
                .score_pairs(model, &batch.queries, &entity_table, &relation_table)
                .unwrap();
            engine.poison().unwrap();
            let counts = engine
                .rank(model, &batch, &entity_table, &relation_table)
                .unwrap();
            for (q, query) in batch.queries.iter().enumerate() {
                let scores = &scores[q * entities..][..entities];
                let name = format!("{model} {entities}×{dim} query {q} of {queries}");
                let target = scores[query.target as usize];
                assert!(
                    pairs[q] == target || pairs[q].is_nan() && target.is_nan(),
                    "{name}: {} {target}",
                    pairs[q]
                );
                assert_eq!(
                    counts[q],
                    count(scores, query.target, batch.known_of(q)),
                    "{name}"
                );
                for (e, &score) in scores.iter().enumerate() {
                    let row = |table: &[f32], row: usize, width: usize| -> Vec<f64> {
                        table[row * width..][..width]
                            .iter()
                            .map(|&x| f64::from(x))
                            .collect()
                    };
                    let mut vector = vec![0.0; dim];
                    let relation = row(
                        &relation_rows,
                        query.relation as usize,
                        model.relation_width(dim),
                    );
                    model.query(
                        &row(&rows, query.entity as usize, dim),
                        &relation,
                        query.inverse == 1,
                        &mut vector,
                    );
                    let wanted = model.score(&vector, &row(&rows, e, dim));
                    let exact = matches!(model, Model::DistMult | Model::ComplEx | Model::TransEL1);
                    let allowed = if exact {
                        0.0
                    } else {
                        1e-5 * (1.0 + wanted.abs())
                    };
                    let close =
                        f64::from(score) == wanted || (f64::from(score) - wanted).abs() <= allowed;
                    assert!(
                        close || score.is_nan() && wanted.is_nan(),
                        "{name} entity {e}: {score} {wanted}"
                    );
                }
            }
        }
    }
}

#[test]
fn equal_rows_tie_exactly() {
    let Some(gpu) = testing::gpu() else { return };
    let mut engine = Engine::new(gpu).unwrap();
    for &model in Model::ALL {
        for shards in [1, 3] {
            let (entities, dim) = (333, 22);
            let rng = &mut stream(9, Purpose::Init, [shards as u64, 0]);
            let row = values(rng, dim, -1.0, 1.0);
            let (mut table, _) = whole_numbers(&engine, rng, entities, dim, shards);
            engine
                .write(&mut table, Column::Values, &row.repeat(entities))
                .unwrap();
            let (mut relations, _) = whole_numbers(&engine, rng, 2, model.relation_width(dim), 1);
            let relation_rows = values(rng, 2 * model.relation_width(dim), -1.0, 1.0);
            engine
                .write(&mut relations, Column::Values, &relation_rows)
                .unwrap();
            let batch = draw_ranking(rng, 77, entities, 2);
            let counts = engine.rank(model, &batch, &table, &relations).unwrap();
            for (q, found) in counts.into_iter().enumerate() {
                let equal = (entities - 1 - batch.known_of(q).len()) as u32;
                assert_eq!(found, RankCounts { better: 0, equal }, "{model} query {q}");
            }
        }
    }
}

#[test]
fn one_vs_all_steps_match_the_oracle() {
    steps_match_the_oracle(Objective::OneVsAll);
}

#[test]
fn k_vs_all_steps_match_the_oracle() {
    steps_match_the_oracle(Objective::KVsAll);
}

#[test]
fn sampled_steps_match_the_oracle() {
    steps_match_the_oracle(Objective::Negatives);
}
