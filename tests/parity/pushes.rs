//! Pushed gradients, from one worker or averaged over several, against the oracle.

use rand::RngExt;
use shardloom::kernel::{
    Backend, Dtype, GradientRows, KernelError, Places, Push, ShardLayout, StepSpec, TableName,
    TableSpec,
};
use shardloom::model::Model;
use shardloom::optim::{OptimizerKind, OptimizerStep};
use shardloom::rng::{Purpose, Stream, stream};
use shardloom::sampler::Objective;

use crate::backends;
use crate::case::{OPTIMIZERS, Pair, ROUNDINGS, pick, plain, values};
use crate::compare::{Columns, compare};
use crate::oracle::Gradients;

/// One worker's push: places (all rows if none), gradients, weight.
struct Pushed {
    places: Option<Vec<u32>>,
    gradients: Vec<f32>,
    weight: f32,
}

impl Pushed {
    fn draw(rng: &mut Stream, rows: usize, width: usize, all: bool, weight: f32) -> Pushed {
        let places = (!all).then(|| {
            let n = rng.random_range(0..rows * 2);
            (0..n)
                .map(|_| rng.random_range(0..rows as u32))
                .collect::<Vec<_>>()
        });
        let count = places.as_ref().map_or(rows, Vec::len);
        Pushed {
            gradients: values(rng, count * width, -1.0, 1.0),
            places,
            weight,
        }
    }

    fn places(&self) -> Places<'_> {
        self.places.as_deref().map_or(Places::All, Places::Listed)
    }
}

/// What the oracle makes of pushes to the shard that starts with row `first`.
fn gathered(
    pushes: &[Pushed],
    rows: usize,
    first: usize,
    layout_rows: usize,
    width: usize,
) -> (Vec<u32>, Gradients) {
    let mut sum = Gradients {
        width,
        values: vec![0.0; layout_rows * width],
        sizes: vec![0.0; layout_rows],
    };
    let mut touched = Vec::new();
    for push in pushes {
        let all: Vec<u32> = (0..rows as u32).collect();
        let places = push.places.as_ref().unwrap_or(&all);
        for (&place, row) in places.iter().zip(push.gradients.chunks_exact(width)) {
            let at = first + place as usize;
            touched.push(at as u32);
            for (s, &g) in sum.values[at * width..].iter_mut().zip(row) {
                *s += f64::from(push.weight) * f64::from(g);
            }
            sum.sizes[at] += f64::from(push.weight);
        }
    }
    touched.sort_unstable();
    touched.dedup();
    (touched, sum)
}

pub fn check(
    engine: &Backend,
    rng: &mut Stream,
    kind: OptimizerKind,
    workers: usize,
    seed: u64,
    dtype: Dtype,
) -> f64 {
    let width = pick(rng, &[1, 3, 4, 33, 64]);
    let spec = TableSpec {
        name: "entities",
        width,
        layout: ShardLayout::new(rng.random_range(1..90), rng.random_range(1..4), usize::MAX),
        optimizer: kind,
        dtype,
    };
    let mut pair = Pair::new(engine, rng, &spec);
    let start = pair.read(engine);
    let shard = rng.random_range(0..spec.layout.shards());
    let range = spec.layout.range(shard);
    let pushes: Vec<Pushed> = (0..workers)
        .map(|w| {
            let all = seed.is_multiple_of(3) || (seed % 3 == 1 && w % 2 == 0);
            let weight = if workers == 1 {
                1.0
            } else {
                rng.random_range(0.0..1.0)
            };
            Pushed::draw(rng, range.len(), width, all, weight)
        })
        .collect();
    let step = OptimizerStep::new(kind, 0.1, 1 + seed);
    let mut old = None;
    let mut run = |pair: &Pair| {
        let rows: Vec<GradientRows> = (pushes.iter())
            .map(|push| engine.upload(&push.gradients, old.take()).unwrap())
            .collect();
        let parts: Vec<Push> = (pushes.iter().zip(&rows))
            .map(|(push, gradients)| Push {
                places: push.places(),
                gradients,
                weight: push.weight,
            })
            .collect();
        engine.push(step, &pair.device, shard, &parts).unwrap();
        // What was used once is room for the next.
        old = rows.into_iter().next();
        pair.read(engine)
    };
    let found = run(&pair);
    pair.rewind(engine, &start);
    assert!(found == run(&pair), "another run gave other bits");
    if let [push] = &pushes[..] {
        pair.rewind(engine, &start);
        engine
            .push_rows(step, &pair.device, shard, push.places(), &push.gradients)
            .unwrap();
        assert!(found == pair.read(engine), "push_rows differs from push");
    }

    let (touched, sum) = gathered(&pushes, range.len(), range.start, spec.layout.rows(), width);
    let before = pair.oracle.clone();
    pair.oracle.update(step, &touched, &sum);
    let columns = Columns {
        values: &found[0],
        first: &found[1],
        second: &found[2],
    };
    compare(
        "entities",
        &columns,
        &pair.oracle,
        &before,
        step,
        &sum,
        ROUNDINGS,
    )
    .unwrap_or_else(|what| panic!("{what}\n{kind:?}, {workers} workers, seed {seed}"))
}

#[test]
fn averages_match_the_oracle() {
    for engine in backends() {
        let mut worst = 0.0f64;
        for seed in 0..12 {
            let rng = &mut stream(seed, Purpose::Init, [7, 7]);
            for kind in OPTIMIZERS {
                for workers in [1, 2, 3, 8] {
                    worst = worst.max(check(&engine, rng, kind, workers, seed, Dtype::F32));
                }
            }
        }
        println!("{engine}: at most {worst:.2} roundings");
    }
}

#[test]
fn what_does_not_fit_changes_nothing() {
    for engine in backends() {
        let spec = TableSpec {
            name: "entities",
            width: 3,
            layout: ShardLayout::new(10, 2, usize::MAX),
            optimizer: OptimizerKind::Adagrad,
            dtype: Dtype::F32,
        };
        let rng = &mut stream(1, Purpose::Init, [0, 0]);
        let pair = Pair::new(&engine, rng, &spec);
        let before = pair.read(&engine);
        let step = OptimizerStep::new(OptimizerKind::Adagrad, 0.1, 1);
        let push = |places, values: &[f32]| {
            let gradients = &engine.upload(values, None).unwrap();
            let push = Push {
                places,
                gradients,
                weight: 1.0,
            };
            let listed = engine.push_rows(step, &pair.device, 1, places, values);
            assert_eq!(
                listed.unwrap_err().to_string(),
                engine
                    .push(step, &pair.device, 1, &[push])
                    .unwrap_err()
                    .to_string()
            );
            // Nor beside a good one.
            engine
                .push(step, &pair.device, 1, &[push, push])
                .unwrap_err()
        };
        let error = push(Places::Listed(&[0, 5]), &[0.0; 6]);
        assert!(
            matches!(
                error,
                KernelError::Row {
                    row: 5,
                    rows: 5,
                    ..
                }
            ),
            "{error}"
        );
        let error = push(Places::Listed(&[0, 4]), &[0.0; 5]);
        assert!(
            matches!(
                error,
                KernelError::Shape {
                    expected: 6,
                    found: 5,
                    ..
                }
            ),
            "{error}"
        );
        let error = push(Places::All, &[0.0; 3]);
        assert!(
            matches!(error, KernelError::Shape { expected: 15, .. }),
            "{error}"
        );
        let foreign = match engine {
            Backend::Cpu(_) => None,
            Backend::Gpu(_) => Some(GradientRows::from(vec![0.0; 3])),
        };
        if let Some(gradients) = &foreign {
            let push = Push {
                places: Places::Listed(&[0]),
                gradients,
                weight: 1.0,
            };
            let error = engine.push(step, &pair.device, 1, &[push]).unwrap_err();
            assert!(matches!(error, KernelError::ForeignRows { .. }), "{error}");
        }
        assert!(before == pair.read(&engine));
    }
}

/// Gradients of a step, kept and pushed, do what an update does.
#[test]
fn a_steps_own_gradients_can_be_pushed() {
    for mut engine in backends() {
        for objective in [Objective::Negatives, Objective::OneVsAll] {
            let case = plain(Model::ComplEx, objective);
            let case = crate::case::Case { shards: 3, ..case };
            let sampler = case.sampler();
            let rng = &mut stream(3, Purpose::Init, [0, 0]);
            let relations = sampler.rule.relation_rows();
            let mut tables = [
                Pair::new(&engine, rng, &case.table("entities", 40, 12, 3)),
                Pair::new(&engine, rng, &case.table("relations", relations, 12, 1)),
            ];
            let start = tables.each_ref().map(|pair| pair.read(&engine));
            let plan = sampler.plan(&sampler.order(1), 0, &mut sampler.scratch());
            let step = OptimizerStep::new(case.optimizer, 0.1, 1);
            let StepSpec { .. } = case.spec;
            let [entities, relations] = tables.each_ref().map(|pair| &pair.device);
            engine
                .gradients(&case.spec, &plan, entities, relations)
                .unwrap();
            let squares = engine
                .gradient_square_sum(&plan, entities, relations)
                .unwrap();
            engine.update(step, &plan, entities, relations).unwrap();
            let wanted = tables.each_ref().map(|pair| pair.read(&engine));

            for (pair, start) in tables.iter_mut().zip(&start) {
                pair.rewind(&engine, start);
            }
            let [entities, relations] = tables.each_ref().map(|pair| &pair.device);
            engine
                .gradients(&case.spec, &plan, entities, relations)
                .unwrap();
            let mut kept = Vec::new();
            let mut read = Vec::new();
            for (name, table, rows) in [
                (TableName::Entities, entities, &plan.entities),
                (TableName::Relations, relations, &plan.relations),
            ] {
                let layout = table.spec().layout.clone();
                for shard in 0..layout.shards() {
                    let gradients = engine
                        .keep_gradients(&plan, name, table, shard, None)
                        .unwrap();
                    let before = read.len();
                    engine
                        .read_gradients(&plan, name, table, shard, &mut read)
                        .unwrap();
                    assert_eq!(read.len() - before, gradients.len());
                    let all = name == TableName::Entities && objective == Objective::OneVsAll;
                    let first = layout.range(shard).start as u32;
                    let places: Vec<u32> = rows.ids[layout.stretch(shard, &rows.ids)]
                        .iter()
                        .map(|row| row - first)
                        .collect();
                    kept.push((table, shard, (!all).then_some(places), gradients));
                }
            }
            let sum: f64 = read.iter().map(|&g| f64::from(g) * f64::from(g)).sum();
            assert!((squares - sum).abs() <= 1e-5 * sum, "{squares} {sum}");
            for (table, shard, places, gradients) in &kept {
                let push = Push {
                    places: places.as_deref().map_or(Places::All, Places::Listed),
                    gradients,
                    weight: 1.0,
                };
                engine.push(step, table, *shard, &[push]).unwrap();
            }
            let found = tables.each_ref().map(|pair| pair.read(&engine));
            assert!(found == wanted, "{engine} {objective:?}");
        }
    }
}

#[test]
fn rows_are_read_and_written_in_any_order() {
    for engine in backends() {
        for (width, shards) in [(3, 1), (4, 3), (64, 4)] {
            let spec = TableSpec {
                name: "entities",
                width,
                layout: ShardLayout::new(50, shards, usize::MAX),
                optimizer: OptimizerKind::Sgd,
                dtype: Dtype::F32,
            };
            let rng = &mut stream(9, Purpose::Init, [0, 0]);
            let pair = Pair::new(&engine, rng, &spec);
            let mut all = pair.read(&engine)[0].clone();
            let ids = [49, 0, 17, 30, 3];
            let new = values(rng, ids.len() * width, -1.0, 1.0);
            engine.write_rows(&pair.device, &ids, &new).unwrap();
            for (&id, row) in ids.iter().zip(new.chunks(width)) {
                all[id as usize * width..][..width].copy_from_slice(row);
            }
            assert!(pair.read(&engine)[0] == all);
            let mut found = vec![f32::NAN; 7];
            engine.read_rows(&pair.device, &ids, &mut found).unwrap();
            assert!(found == new);
            let mut read = Vec::new();
            for shard in 0..spec.layout.shards() {
                engine.read_shard(&pair.device, shard, &mut found).unwrap();
                read.extend_from_slice(&found);
            }
            assert!(read == all);
            for error in [
                engine.write_rows(&pair.device, &[50], &new[..width]),
                engine.write_rows(&pair.device, &[1], &new[..1 + width]),
                engine.read_rows(&pair.device, &[50], &mut found),
            ] {
                error.unwrap_err();
            }
            assert!(pair.read(&engine)[0] == all);
        }
    }
}
