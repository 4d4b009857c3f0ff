//! Times of steps on parts of the entity table, on demand.

use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use rand::RngExt;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::{HeldPart, LaneStep, PartStep, lanes};
use crate::collective::{Call, Collective, local};
use crate::dataset::Triple;
use crate::ids::Generation;
use crate::kernel::{
    Backend, Dtype, LaneRows, MatmulPrecision, ShardLayout, StepSpec, Table, TableSpec,
};
use crate::loss::{Loss, LossKind};
use crate::model::Model;
use crate::optim::{OptimizerKind, Regularizer, RegularizerKind};
use crate::rng::{Purpose, stream};
use crate::sampler::{Objective, PartPlan, PartRows, Plan, QueryRule, Sampler};

/// Entities and values of their rows, relations and queries of a step: those of FB15k-237 with ComplEx.
const ENTITIES: usize = 14_541;
const WIDTH: usize = 200;
const RELATIONS: usize = 474;
const QUERIES: usize = 1000;
const REPEATS: usize = 25;

fn table(engine: &Backend, name: &'static str, rows: &[f32]) -> Table {
    let count = rows.len() / WIDTH;
    let spec = TableSpec {
        name,
        width: WIDTH,
        layout: ShardLayout::new(count, 1, count),
        optimizer: OptimizerKind::Adagrad,
        dtype: Dtype::F32,
    };
    let fill = &mut |first: usize, out: &mut [f32]| {
        out.copy_from_slice(&rows[first * WIDTH..][..out.len()]);
    };
    engine.create_table(&spec, fill).unwrap()
}

fn pool(threads: usize) -> ThreadPool {
    (ThreadPoolBuilder::new().num_threads(threads).build()).unwrap()
}

/// Times of some runs of `work` on each of some threads, all at once: from the start of the first to the end of the
/// last.
fn times(workers: Vec<Box<dyn FnMut() + Send + '_>>) -> Vec<Duration> {
    let barrier = &Barrier::new(workers.len());
    std::thread::scope(|scope| {
        let threads: Vec<_> = workers
            .into_iter()
            .map(|mut work| {
                scope.spawn(move || {
                    let mut times = Vec::new();
                    for _ in 0..REPEATS {
                        barrier.wait();
                        let start = Instant::now();
                        work();
                        barrier.wait();
                        times.push(start.elapsed());
                    }
                    times
                })
            })
            .collect();
        let times: Vec<Vec<Duration>> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        (0..REPEATS)
            .map(|i| times.iter().map(|times| times[i]).max().unwrap_or_default())
            .collect()
    })
}

fn shortest(times: Vec<Duration>) -> Duration {
    times.into_iter().min().unwrap_or_default()
}

#[test]
#[ignore = "takes an idle machine"]
fn steps_on_parts_are_fast() {
    let rng = &mut stream(3, Purpose::Init, [0, 0]);
    let facts: Vec<Triple> = (0..QUERIES / 2)
        .map(|_| Triple {
            head: rng.random_range(0..ENTITIES as u32),
            relation: rng.random_range(0..RELATIONS as u32 / 2),
            tail: rng.random_range(0..ENTITIES as u32),
        })
        .collect();
    let rule = QueryRule {
        relations: RELATIONS as u32 / 2,
        reciprocal: true,
    };
    let objective = Objective::OneVsAll;
    let sampler = Sampler::new(facts, ENTITIES as u32, rule, objective, QUERIES / 2);
    let plan = sampler.plan(&sampler.order(1), 0, &mut sampler.scratch());
    assert_eq!(plan.queries.len(), QUERIES);
    let spec = StepSpec {
        model: Model::ComplEx,
        loss: Loss::new(LossKind::Softmax),
        regularizer: Regularizer {
            kind: RegularizerKind::N3,
            entity: 0.05,
            relation: 0.05,
            weighted: true,
        },
        entity_dropout: 0.0,
        relation_dropout: 0.0,
        candidate_dropout: 0.0,
        relation_weight: 0.0,
        matmul_precision: MatmulPrecision::Bf16x3,
    };
    let mut values = |rows: usize| -> Vec<f32> {
        let each = std::iter::repeat_with(|| rng.random_range(-0.3f32..0.3));
        each.take(rows * WIDTH).collect()
    };
    let (entities, relations) = (values(ENTITIES), values(RELATIONS));

    let of_slices = |world: usize, threads: usize| {
        let engine = Backend::cpu();
        let tables = [
            table(&engine, "entities", &entities),
            table(&engine, "relations", &relations),
        ];
        let slices: Vec<Plan> = lanes(QUERIES, plan.unit(), world)
            .into_iter()
            .map(|lane| plan.slice(lane))
            .collect();
        let (tables, spec) = (&tables, &spec);
        let workers = slices.iter().map(|slice| {
            let (mut engine, pool) = (Backend::cpu(), pool(threads));
            Box::new(move || {
                pool.install(|| {
                    engine
                        .gradients(spec, slice, &tables[0], &tables[1])
                        .unwrap()
                });
            }) as Box<dyn FnMut() + Send>
        });
        shortest(times(workers.collect()))
    };
    let of_parts = |world: usize, threads: usize| {
        let lanes = &lanes(QUERIES, plan.unit(), world);
        let (spec, plan, entities, relations) = (&spec, &plan, &entities[..], &relations[..]);
        let workers = local::group(world).into_iter().map(|collective| {
            let rank = collective.rank();
            let ([mut engine, mut of_part], pool) =
                ([Backend::cpu(), Backend::cpu()], pool(threads));
            let held: Vec<u32> = (0..ENTITIES as u32)
                .filter(|row| *row as usize % world == rank)
                .collect();
            let row = |&id: &u32| &entities[id as usize * WIDTH..][..WIDTH];
            let part = table(
                &engine,
                "entities",
                &held.iter().map(row).collect::<Vec<_>>().concat(),
            );
            let rows = Arc::new(PartRows::new(held));
            let lane = plan.lane(lanes[rank].clone());
            let rows_of = |table: &[f32], ids: &[u32]| -> Vec<f32> {
                let row = |&id: &u32| &table[id as usize * WIDTH..][..WIDTH];
                ids.iter().flat_map(row).copied().collect()
            };
            let mut call = Call::new(Generation(0), 0, Duration::from_secs(60));
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .unwrap();
            Box::new(move || {
                // What a rank does anew for each step, the pull of the lane's rows included.
                let own = rows_of(entities, &lane.entities.ids);
                let own_relations = rows_of(relations, &lane.relations.ids);
                let held = PartPlan::new(plan, rows.clone(), ENTITIES, lanes[rank].clone());
                let step = PartStep {
                    spec,
                    queries: QUERIES,
                    first: lanes[rank].start,
                    width: WIDTH,
                    ranks: &(0..world).collect::<Vec<_>>(),
                    largest_part: ENTITIES.div_ceil(world),
                };
                let lanes = &mut [LaneStep {
                    plan: &lane,
                    rows: LaneRows {
                        entities: &own,
                        relations: &own_relations,
                    },
                    engine: &mut engine,
                }];
                let held = &mut [HeldPart {
                    plan: &held.unwrap(),
                    table: &part,
                    engine: &mut of_part,
                }];
                let made =
                    pool.install(|| runtime.block_on(step.run(lanes, held, &collective, call)));
                call = made.unwrap().next;
            }) as Box<dyn FnMut() + Send>
        });
        shortest(times(workers.collect()))
    };
    // In turn, so that other programs disturb both alike.
    for (world, threads, least) in [(1, 2, 0.9), (2, 1, 0.9), (1, 1, 0.9)] {
        let mut shortest = [Duration::MAX; 2];
        for _ in 0..2 {
            shortest[0] = shortest[0].min(of_slices(world, threads));
            shortest[1] = shortest[1].min(of_parts(world, threads));
        }
        let [slices, parts] = shortest;
        let ratio = slices.as_secs_f64() / parts.as_secs_f64();
        println!(
            "{world} × {threads} threads: slices {slices:.2?}, parts {parts:.2?}, ratio {ratio:.3}"
        );
        assert!(ratio >= least, "{world} × {threads} threads: {ratio}");
    }
}
