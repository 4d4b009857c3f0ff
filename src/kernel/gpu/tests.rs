//! Tests of what `tests/` cannot see; `tests/parity` compares the engine with an oracle.

use rand::RngExt;

use super::*;
use crate::dataset::Triple;
use crate::device::testing;
use crate::kernel::engine::{RankEngine, TableEngine};
use crate::kernel::measure::Timed;
use crate::kernel::{
    Column, Dtype, MatmulPrecision, RankBatch, RankCounts, RankQuery, ShardLayout, TableSpec,
};
use crate::loss::{Loss, LossKind};
use crate::model::Model;
use crate::optim::{OptimizerKind, Regularizer};
use crate::rng::{Purpose, Stream, stream};
use crate::sampler::{Objective, QueryRule, Sampler};

/// All results that an engine gives in one step and one ranking.
#[derive(Debug, PartialEq)]
struct Found {
    values: Vec<f32>,
    loss: f64,
    counts: Vec<RankCounts>,
}

fn run(
    engine: &mut Engine,
    model: Model,
    (entities, width, facts): (usize, usize, usize),
) -> Found {
    let rng = &mut stream(3, Purpose::Init, [0, 0]);
    let row = |rng: &mut Stream| rng.random_range(0..entities as u32);
    let facts: Vec<Triple> = (0..facts)
        .map(|_| Triple {
            head: row(rng),
            relation: rng.random_range(0..3),
            tail: row(rng),
        })
        .collect();
    let queries = (0..facts.len()).map(|_| RankQuery {
        entity: row(rng),
        relation: rng.random_range(0..3),
        inverse: rng.random_range(0..2),
        target: row(rng),
    });
    let batch = RankBatch {
        queries: queries.collect(),
        offsets: vec![0; facts.len() + 1],
        known: vec![],
    };
    let mut table = |name, rows, width, shards| {
        let layout = ShardLayout::new(rows, shards, usize::MAX);
        let spec = TableSpec {
            name,
            width,
            layout,
            optimizer: OptimizerKind::Sgd,
            dtype: Dtype::F32,
        };
        let fill = &mut |_, values: &mut [f32]| values.fill_with(|| rng.random_range(-1.0..1.0));
        engine.create_table(&spec, fill).unwrap()
    };
    let (core, relation_width) = match model.core_rows(width) {
        0 => (0, model.relation_width(width)),
        core => (core, 7),
    };
    let relations = table("relations", 3 + core, relation_width, 1);
    let entities_table = table("entities", entities, width, 2);

    let rule = QueryRule {
        relations: 3,
        reciprocal: false,
    };
    let size = facts.len();
    let mut sampler = Sampler::new(facts, entities as u32, rule, Objective::OneVsAll, size);
    sampler.core_rows = core;
    let plan = sampler.plan(&sampler.order(1), 0, &mut sampler.scratch());
    let spec = StepSpec {
        model,
        loss: Loss::new(LossKind::Softmax),
        regularizer: Regularizer::NONE,
        entity_dropout: 0.0,
        relation_dropout: 0.0,
        candidate_dropout: 0.0,
        relation_weight: 0.0,
        matmul_precision: MatmulPrecision::F32,
    };
    let step = OptimizerStep {
        kind: OptimizerKind::Sgd,
        rate: 1.0,
        salt: 0,
    };
    engine
        .gradients(&spec, &plan, &entities_table, &relations)
        .unwrap();
    engine
        .update(step, &plan, &entities_table, &relations)
        .unwrap();
    let counts = engine
        .rank(model, &batch, &entities_table, &relations)
        .unwrap();
    let layout = &entities_table.spec().layout;
    let mut values = vec![0.0; layout.rows() * entities_table.spec().width];
    let column = Column::Values;
    engine
        .read_part(&entities_table, column, 0..layout.rows(), &mut values)
        .unwrap();
    Found {
        values,
        loss: engine.take_loss().unwrap(),
        counts,
    }
}

/// Tiles only cut the work up: every sum has the same order in both.
#[test]
fn wide_tiles_find_what_narrow_ones_do() {
    let Some(gpu) = testing::gpu() else { return };
    let mut narrow = Engine::new(gpu.clone()).unwrap();
    let mut wide = Engine::new(gpu).unwrap();
    unlocked(&mut narrow.recorder).busy = u64::MAX;
    unlocked(&mut wide.recorder).busy = 0;
    for &model in Model::ALL {
        for (entities, width, facts) in [(260, 100, 41), (500, 258, 66)] {
            let width = (width as usize).next_multiple_of(model.values_per_lane());
            let size = (entities, width, facts);
            let (a, b) = (run(&mut narrow, model, size), run(&mut wide, model, size));
            assert_eq!(a.counts, b.counts, "{model} {size:?}");
            assert!(a == b, "{model} {size:?}: loss {} and {}", a.loss, b.loss);
        }
    }
}

#[test]
fn taking_times_changes_nothing() {
    let Some(gpu) = testing::gpu().filter(|gpu| gpu.description().timestamps) else {
        return;
    };
    let mut engine = Engine::new(gpu).unwrap();
    let size = (260, 100, 41);
    let plain = run(&mut engine, Model::ComplEx, size);
    for (timed, expected) in [
        (Timed::Passes, &["pass", "clear"][..]),
        (
            Timed::Stages,
            &["pull", "score_all", "loss", "update", "clear", "rank_count"],
        ),
    ] {
        assert!(engine.start_clock(timed).unwrap());
        assert!(run(&mut engine, Model::ComplEx, size) == plain);
        let times = engine.stop_clock().unwrap();
        for name in expected {
            let found = times.iter().find(|time| time.stage == *name).unwrap();
            assert!(found.runs > 0 && found.seconds >= 0.0, "{found:?}");
        }
        assert_eq!(times.len() == 2, timed == Timed::Passes);
        let all: f64 = times.iter().map(|time| time.seconds).sum();
        assert!(all > 0.0 && all.is_finite());
    }
    assert!(run(&mut engine, Model::ComplEx, size) == plain);
    assert_eq!(engine.stop_clock().unwrap(), []);
}

/// More spans than a query set has room for.
#[test]
fn many_times_are_taken() {
    let Some(gpu) = testing::gpu().filter(|gpu| gpu.description().timestamps) else {
        return;
    };
    let engine = Engine::new(gpu.clone()).unwrap();
    let buffer = gpu.storage("zeros", 64).unwrap();
    for fills in [5000, 3] {
        engine.start_clock(Timed::Stages).unwrap();
        for _ in 0..fills {
            engine.recorder().clear(&buffer).unwrap();
        }
        let times = engine.stop_clock().unwrap();
        assert_eq!((times.len(), times[0].runs), (1, fills));
    }
}
