//! The choice of routes; that routes give the same gradients; and, on demand, that fast ones are fast.

use std::time::{Duration, Instant};

use rand::RngExt;

use super::*;
use crate::dataset::Triple;
use crate::kernel::engine::{PushEngine, StepEngine, TableEngine};
use crate::kernel::{Places, ShardLayout};
use crate::loss::Loss;
use crate::model::Model;
use crate::optim::{OptimizerKind, OptimizerStep, Regularizer};
use crate::rng::{Purpose, stream};
use crate::sampler::{Negatives, Objective, QueryRule, Sampler};

/// Runs a step in one way.
type Run<'a> = dyn FnMut(&mut Engine, &Case) + 'a;

/// A step on random tables.
struct Case {
    spec: StepSpec,
    plan: Plan,
    entities: Table,
    relations: Table,
}

struct Size {
    entities: usize,
    width: usize,
    queries: usize,
    negatives: usize,
}

const SMALL: Size = Size {
    entities: 300,
    width: 24,
    queries: 40,
    negatives: 8,
};

impl Case {
    fn new(model: Model, objective: Objective, size: &Size) -> Case {
        let rng = &mut stream(3, Purpose::Init, [0, 0]);
        let facts = (0..size.queries / 2)
            .map(|_| Triple {
                head: rng.random_range(0..size.entities as u32),
                relation: rng.random_range(0..3),
                tail: rng.random_range(0..size.entities as u32),
            })
            .collect();
        let rule = QueryRule {
            relations: 3,
            reciprocal: false,
        };
        let (rows, batch) = (size.entities as u32, size.queries / 2);
        let mut sampler = Sampler::new(facts, rows, rule, objective, batch);
        sampler.negatives = Negatives {
            count: size.negatives,
            chunk: 1,
            filtered: false,
        };
        let plan = sampler.plan(&sampler.order(1), 0, &mut sampler.scratch());
        let mut table = |name, rows, width| {
            let spec = TableSpec {
                name,
                width,
                layout: ShardLayout::new(rows, 1, rows),
                optimizer: OptimizerKind::Adagrad,
                dtype: Dtype::F32,
            };
            Table::new(&spec, &mut |_, out| {
                out.fill_with(|| rng.random_range(-0.5f32..0.5));
            })
        };
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
            plan,
            entities: table("entities", size.entities, size.width),
            relations: table("relations", 3, model.relation_width(size.width)),
        }
    }

    fn route(&self, output: Output) -> Route {
        Route::choose(&self.spec, &self.plan, &self.entities.spec, output)
    }

    /// Gradients of entities by a route.
    fn gradients(&self, engine: &mut Engine, route: Route) -> Vec<f32> {
        let Case {
            spec,
            plan,
            entities,
            relations,
        } = self;
        engine.gradients_by(route, spec, plan, entities, relations);
        engine
            .gradients_of(plan, crate::ids::TableName::Entities, entities, 0)
            .to_vec()
    }

    /// The shortest time of some runs.
    /// Shortest times of two routes, run in turn so that other programs disturb both alike.
    fn times(&self, mut routes: [&mut Run<'_>; 2]) -> [Duration; 2] {
        let mut engines = [Engine::new(), Engine::new()];
        let mut shortest = [Duration::MAX; 2];
        for _ in 0..30 {
            for (i, route) in routes.iter_mut().enumerate() {
                let start = Instant::now();
                route(&mut engines[i], self);
                shortest[i] = shortest[i].min(start.elapsed());
            }
        }
        shortest
    }
}

#[test]
fn routes_are_those_of_the_table() {
    let by_query = |fused_update| Route::SampledByQuery { fused_update };
    let by_row = |fused_update| Route::SampledByRow { fused_update };
    let mut case = Case::new(Model::DistMult, Objective::Negatives, &SMALL);
    assert_eq!(case.route(Output::Gradients), by_query(false));
    assert_eq!(case.route(Output::Update), by_query(true));
    case.spec.candidate_dropout = 0.5;
    assert_eq!(case.route(Output::Update), by_row(false));
    let case = Case::new(Model::RotatE, Objective::Negatives, &SMALL);
    assert_eq!(case.route(Output::Update), by_row(true));
    let wide = Size {
        width: 8192,
        ..SMALL
    };
    let case = Case::new(Model::DistMult, Objective::Negatives, &wide);
    assert_eq!(case.route(Output::Update), by_row(true));

    let mut case = Case::new(Model::DistMult, Objective::OneVsAll, &SMALL);
    for output in [Output::Gradients, Output::Update] {
        assert_eq!(case.route(output), Route::AllSoftmax(Tiles::Simd));
    }
    case.spec.matmul_precision = MatmulPrecision::Bf16x3;
    let tiles = MatrixUnit::get().map_or(Tiles::Simd, Tiles::Amx);
    assert_eq!(case.route(Output::Gradients), Route::AllSoftmax(tiles));
    case.spec.loss.smoothing = 0.1;
    assert_eq!(case.route(Output::Gradients), Route::All);
    case.spec.loss = Loss::new(LossKind::Bce);
    assert_eq!(case.route(Output::Gradients), Route::All);
    let case = Case::new(Model::TransEL1, Objective::OneVsAll, &SMALL);
    assert_eq!(case.route(Output::Gradients), Route::All);
}

#[test]
fn routes_give_the_same_gradients() {
    let sampled = [
        Route::SampledByQuery {
            fused_update: false,
        },
        Route::SampledByRow {
            fused_update: false,
        },
    ];
    let mut all = vec![Route::All, Route::AllSoftmax(Tiles::Simd)];
    let units = [Some(MatrixUnit::emulated()), MatrixUnit::get()];
    all.extend((units.into_iter().flatten()).map(|unit| Route::AllSoftmax(Tiles::Amx(unit))));
    for (objective, routes) in [
        (Objective::Negatives, &sampled[..]),
        (Objective::OneVsAll, &all),
        (Objective::KVsAll, &all),
    ] {
        let case = Case::new(Model::DistMult, objective, &SMALL);
        let mut engine = Engine::new();
        let wanted = case.gradients(&mut engine, routes[0]);
        let largest = wanted.iter().fold(0.0f32, |top, x| top.max(x.abs()));
        assert!(largest > 0.0);
        for &route in &routes[1..] {
            engine.poison().expect("on a CPU");
            let found = case.gradients(&mut engine, route);
            assert_eq!(found.len(), wanted.len());
            for (found, wanted) in found.iter().zip(&wanted) {
                let off = (found - wanted).abs();
                assert!(off <= 1e-4 * largest, "{route:?}: {found} {wanted}");
            }
        }
    }
}

/// The routes that are there for speed alone. Run it on an idle machine:
/// `cargo test --release --lib fast_routes -- --ignored`.
#[test]
#[ignore = "measures time"]
fn fast_routes_are_faster_than_plain_ones() {
    let faster = |name: &str, least: f64, [fast, plain]: [Duration; 2]| {
        let ratio = plain.as_secs_f64() / fast.as_secs_f64();
        println!("{name}: {ratio:.2} times as fast");
        assert!(ratio > least, "{name}: {fast:?}, plain {plain:?}");
    };
    let gradients = |route| {
        move |engine: &mut Engine, case: &Case| {
            engine.gradients_by(
                route,
                &case.spec,
                &case.plan,
                &case.entities,
                &case.relations,
            );
        }
    };
    let softmax = Size {
        entities: 14_541,
        width: 100,
        queries: 512,
        negatives: 1,
    };
    let case = Case::new(Model::DistMult, Objective::OneVsAll, &softmax);
    let mut simd = gradients(Route::AllSoftmax(Tiles::Simd));
    let times = case.times([&mut simd, &mut gradients(Route::All)]);
    faster("softmax in SIMD tiles", 1.1, times);
    if let Some(unit) = MatrixUnit::get() {
        let mut amx = gradients(Route::AllSoftmax(Tiles::Amx(unit)));
        faster(
            "softmax in AMX tiles",
            1.1,
            case.times([&mut amx, &mut simd]),
        );
    }
    let narrow = Size {
        entities: 14_541,
        width: 100,
        queries: 2048,
        negatives: 64,
    };
    let case = Case::new(Model::TransEL1, Objective::Negatives, &narrow);
    let [mut by_query, mut by_row] = [
        Route::SampledByQuery {
            fused_update: false,
        },
        Route::SampledByRow {
            fused_update: false,
        },
    ]
    .map(gradients);
    faster(
        "by query, narrow rows",
        1.05,
        case.times([&mut by_query, &mut by_row]),
    );
    let step = OptimizerStep::new(OptimizerKind::Adagrad, 0.01, 1);
    let (entities, relations) = (&case.entities, &case.relations);
    let mut fused = |engine: &mut Engine, case: &Case| {
        let updated = engine.step(&case.spec, step, &case.plan, entities, relations);
        updated.expect("tables of the plan");
    };
    let mut apart = |engine: &mut Engine, case: &Case| {
        let computed = engine.gradients(&case.spec, &case.plan, entities, relations);
        computed.expect("tables of the plan");
        let updated = engine.update(step, &case.plan, entities, relations);
        updated.expect("tables of the plan");
    };
    // Where the caches hold a step's gradients, little is gained.
    faster("fused update", 0.95, case.times([&mut fused, &mut apart]));
}

/// Halves cost two conversions of every value; without vectors an update takes ten times as long as of
/// `f32`, and once did. Run by the same command as the test of routes.
#[test]
#[ignore = "measures time"]
fn fast_routes_update_halves_with_vectors() {
    const ROWS: usize = 50_000;
    const WIDTH: usize = 128;
    let engine = Engine::new();
    let places: Vec<u32> = (0..ROWS as u32).step_by(2).collect();
    let gradients = vec![1e-3; places.len() * WIDTH];
    let time = |dtype| {
        let spec = TableSpec {
            name: "entities",
            width: WIDTH,
            layout: ShardLayout::from_sizes(&[ROWS]),
            optimizer: OptimizerKind::Sgd,
            dtype,
        };
        let table = engine.create_table(&spec, &mut |_, rows| rows.fill(0.5));
        let table = table.expect("memory");
        let step = OptimizerStep::new(OptimizerKind::Sgd, 0.01, 1);
        let shortest = (0..10).map(|_| {
            let start = Instant::now();
            let pushed = engine.push_rows(step, &table, 0, Places::Listed(&places), &gradients);
            pushed.expect("rows of the table");
            start.elapsed()
        });
        shortest.min().unwrap_or_default()
    };
    let (halves, full) = (time(Dtype::F16 { stochastic: false }), time(Dtype::F32));
    println!("halves {halves:?}, f32 {full:?}");
    assert!(halves < 5 * full, "halves take {halves:?}, f32 {full:?}");
}
