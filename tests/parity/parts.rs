//! Steps and rankings on parts of the entity table, against the oracle and against the engine with the whole table.

use std::ops::Range;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rand::RngExt;
use rand::seq::SliceRandom;
use shardloom::collective::{Call, Collective, local};
use shardloom::executor::part::{self, PartStep, StepResult};
use shardloom::ids::Generation;
use shardloom::kernel::{Backend, Column, LaneRows, StepSpec, Table, TableName, TableSpec};
use shardloom::loss::LossKind;
use shardloom::model::Model;
use shardloom::optim::OptimizerKind;
use shardloom::rng::{Purpose, Stream, stream};
use shardloom::sampler::{Objective, PartPlan, PartRows, Plan};

use crate::case::{Case, LOSSES, Pair, ROUNDINGS, layout, pick};
use crate::oracle;

const OBJECTIVES: [Objective; 2] = [Objective::OneVsAll, Objective::KVsAll];
const TIMEOUT: Duration = Duration::from_secs(60);

/// Processes of a group.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Hosting {
    /// Each rank has a thread.
    Threads,
    /// One thread has all ranks, and one core.
    OneThread,
}

/// The entity table, cut.
struct Parts {
    /// Rows of each rank's part.
    rows: Vec<Arc<PartRows>>,
    width: usize,
    /// Values of each rank's part, and its shards.
    values: Vec<(Vec<f32>, usize)>,
    spec: TableSpec,
}

impl Parts {
    /// Gives every row to some rank, in any order.
    fn cut(rng: &mut Stream, world: usize, spec: &TableSpec, values: &[f32]) -> Parts {
        let (rows, width) = (spec.layout.rows(), spec.width);
        let mut names: Vec<u32> = (0..rows as u32).collect();
        if rng.random_bool(0.5) {
            names.shuffle(rng);
        }
        let mut ends = vec![0, rows];
        ends.extend((1..world).map(|_| rng.random_range(0..=rows)));
        ends.sort_unstable();
        let rows: Vec<_> = (ends.windows(2))
            .map(|ends| Arc::new(PartRows::new(names[ends[0]..ends[1]].to_vec())))
            .collect();
        let values = rows.iter().map(|part| {
            let rows = part.rows().iter();
            let row = |&row: &u32| &values[row as usize * width..][..width];
            (rows.flat_map(row).copied().collect(), pick(rng, &[1, 3]))
        });
        Parts {
            values: values.collect(),
            rows,
            width,
            spec: spec.clone(),
        }
    }

    fn largest(&self) -> usize {
        self.rows.iter().map(|rows| rows.len()).max().unwrap()
    }

    /// The table of a rank's part.
    fn table(&self, engine: &Backend, rank: usize) -> Table {
        let (values, shards) = &self.values[rank];
        let spec = TableSpec {
            layout: layout(values.len() / self.width, *shards, usize::MAX),
            ..self.spec.clone()
        };
        let table = engine.create_table(&spec, &mut |first, out| {
            out.copy_from_slice(&values[first * self.width..][..out.len()]);
        });
        table.unwrap()
    }
}

/// What a rank has made: its results, and the gradients of its part.
#[derive(Clone, Debug, PartialEq)]
struct Made {
    result: StepResult,
    dense: Vec<f32>,
}

/// A step, cut.
struct Cut<'a> {
    spec: &'a StepSpec,
    plan: &'a Plan,
    lanes: Vec<Range<usize>>,
    parts: Parts,
    /// Tables of entities and relations, row-major.
    entities: &'a [f32],
    relations: &'a [f32],
    relation_width: usize,
}

/// Drives futures on this thread until all have ended.
async fn together<F: Future + Unpin>(futures: Vec<F>) -> Vec<F::Output> {
    let mut ended: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    let mut futures: Vec<Option<F>> = futures.into_iter().map(Some).collect();
    std::future::poll_fn(|context| {
        for (future, ended) in futures.iter_mut().zip(&mut ended) {
            let poll = future.as_mut().map(|f| std::pin::Pin::new(f).poll(context));
            if let Some(Poll::Ready(output)) = poll {
                (*future, *ended) = (None, Some(output));
            }
        }
        match futures.iter().all(Option::is_none) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    ended.into_iter().flatten().collect()
}

fn rows_of(table: &[f32], width: usize, ids: &[u32]) -> Vec<f32> {
    let row = |&id: &u32| &table[id as usize * width..][..width];
    ids.iter().flat_map(row).copied().collect()
}

impl Cut<'_> {
    async fn rank(&self, collective: Arc<dyn Collective>) -> Made {
        let rank = collective.rank();
        let mut engine = Backend::cpu();
        let table = self.parts.table(&engine, rank);
        let lane = self.plan.lane(self.lanes[rank].clone());
        let all = self.entities.len() / self.parts.width;
        let rows = self.parts.rows[rank].clone();
        let plan = PartPlan::new(self.plan, rows, all, self.lanes[rank].clone()).unwrap();
        let entities = rows_of(self.entities, self.parts.width, &lane.entities.ids);
        let relations = rows_of(self.relations, self.relation_width, &lane.relations.ids);
        let step = PartStep {
            spec: self.spec,
            plan: &plan,
            lanes: &self.lanes,
            lane: &lane,
            lane_rows: LaneRows {
                entities: &entities,
                relations: &relations,
            },
            part: &table,
            largest_part: self.parts.largest(),
        };
        let call = Call::new(Generation(3), 7, TIMEOUT);
        let result = step.run(&mut engine, &*collective, call).await.unwrap();
        let mut dense = Vec::new();
        for shard in 0..table.spec().layout.shards() {
            let name = TableName::Entities;
            (engine.read_gradients(self.plan, name, &table, shard, &mut dense)).unwrap();
        }
        Made { result, dense }
    }

    fn run(
        &self,
        hosting: Hosting,
        wrap: impl Fn(local::Local) -> Arc<dyn Collective>,
    ) -> Vec<Made> {
        let ranks = local::Group::new(Generation(3), self.lanes.len()).members();
        let ranks = ranks.into_iter().map(wrap).collect::<Vec<_>>();
        let runtime = || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_time().build().unwrap()
        };
        match hosting {
            Hosting::Threads => std::thread::scope(|scope| {
                let threads: Vec<_> = ranks
                    .into_iter()
                    .map(|rank| scope.spawn(|| runtime().block_on(self.rank(rank))))
                    .collect();
                threads.into_iter().map(|t| t.join().unwrap()).collect()
            }),
            Hosting::OneThread => {
                let pool = rayon::ThreadPoolBuilder::new()
                    .num_threads(1)
                    .build()
                    .unwrap();
                pool.install(|| {
                    let ranks = ranks.into_iter().map(|rank| Box::pin(self.rank(rank)));
                    runtime().block_on(together(ranks.collect()))
                })
            }
        }
    }

    /// Adds up what the ranks have made: loss, gradients of entities and of relations.
    fn sums(&self, made: &[Made]) -> (f64, [Vec<f64>; 2]) {
        let mut sums = [self.entities, self.relations].map(|table| vec![0.0; table.len()]);
        let [entities, relations] = &mut sums;
        let add = |sums: &mut [f64], width: usize, ids: &[u32], rows: &[f32]| {
            assert_eq!(rows.len(), ids.len() * width);
            for (row, &id) in rows.chunks(width).zip(ids) {
                let own = &mut sums[id as usize * width..][..width];
                own.iter_mut()
                    .zip(row)
                    .for_each(|(sum, &x)| *sum += f64::from(x));
            }
        };
        for ((made, lane), rows) in made.iter().zip(&self.lanes).zip(&self.parts.rows) {
            add(entities, self.parts.width, rows.rows(), &made.dense);
            let lane = self.plan.lane(lane.clone());
            if lane.queries.is_empty() {
                continue;
            }
            let own = &made.result.lane;
            add(
                entities,
                self.parts.width,
                &lane.entities.ids,
                &own.entities,
            );
            add(
                relations,
                self.relation_width,
                &lane.relations.ids,
                &own.relations,
            );
        }
        (made.iter().map(|made| made.result.loss).sum(), sums)
    }
}

fn bits(made: &[Made]) -> Vec<u64> {
    let each = made.iter().flat_map(|made| {
        let rows = [
            &made.dense,
            &made.result.lane.entities,
            &made.result.lane.relations,
        ];
        let values = rows.into_iter().flatten().map(|x| u64::from(x.to_bits()));
        values
            .chain([made.result.loss.to_bits()])
            .collect::<Vec<_>>()
    });
    each.collect()
}

/// Compares a step on parts with the oracle and with the step on the whole table. Returns the worst number of
/// roundings.
fn check(case: &Case, world: usize) -> f64 {
    let rng = &mut stream(case.seed, Purpose::Init, [0, 21]);
    let engine = &mut Backend::cpu();
    let sampler = case.sampler();
    let entities = Pair::new(
        engine,
        rng,
        &case.table("entities", case.entities, case.dim, 1),
    );
    let relations = Pair::new(engine, rng, &case.relation_table(&sampler));
    let plan = sampler.plan(&sampler.order(1), 0, &mut sampler.scratch());
    let values =
        [&entities, &relations].map(|pair| engine.read(&pair.device, Column::Values).unwrap());
    let cut = Cut {
        spec: &case.spec,
        plan: &plan,
        lanes: part::lanes(plan.queries.len(), plan.unit(), world),
        parts: Parts::cut(rng, world, entities.device.spec(), &values[0]),
        entities: &values[0],
        relations: &values[1],
        relation_width: relations.device.spec().width,
    };
    let made = cut.run(Hosting::Threads, |rank| Arc::new(rank));
    let again = cut.run(Hosting::OneThread, |rank| Arc::new(rank));
    assert!(
        bits(&made) == bits(&again),
        "other bits on one thread: {case:?}"
    );
    let (loss, found) = cut.sums(&made);

    let wanted = oracle::step(&case.spec, &plan, &entities.oracle, &relations.oracle);
    let epsilon = f64::from(f32::EPSILON);
    let off = (loss - wanted.loss).abs() / (epsilon * wanted.loss_size);
    assert!(
        off < ROUNDINGS,
        "loss {loss}, not {}: {case:?}",
        wanted.loss
    );
    let (spec, tables) = (&case.spec, [&entities.device, &relations.device]);
    engine.gradients(spec, &plan, tables[0], tables[1]).unwrap();
    let whole_loss = engine.take_loss().unwrap();
    assert!(
        (loss - whole_loss).abs() < 2.0 * ROUNDINGS * epsilon * wanted.loss_size,
        "{case:?}"
    );

    let mut worst = off;
    let wanted = [&wanted.entities, &wanted.relations];
    for (i, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        let name = [TableName::Entities, TableName::Relations][i];
        let whole = whole_gradients(engine, &plan, name, tables[i]);
        for (at, ((found, wanted_value), whole)) in
            found.iter().zip(&wanted.values).zip(whole).enumerate()
        {
            let size = wanted.sizes[at / wanted.width];
            let off = (found - wanted_value).abs();
            let allowed = ROUNDINGS * epsilon * size;
            assert!(
                off <= allowed,
                "{name:?} value {at}: {found}, not {wanted_value}: world {world}, {case:?}"
            );
            assert!(
                (found - whole).abs() <= 2.0 * allowed,
                "{name:?} value {at}: {found}, whole {whole}: {case:?}"
            );
            if size > 0.0 {
                worst = worst.max(off / (epsilon * size));
            }
        }
    }
    worst
}

/// Gradients of all rows of a table, of the last step on the whole table.
fn whole_gradients(engine: &Backend, plan: &Plan, name: TableName, table: &Table) -> Vec<f64> {
    let width = table.spec().width;
    let mut rows = Vec::new();
    for shard in 0..table.spec().layout.shards() {
        (engine.read_gradients(plan, name, table, shard, &mut rows)).unwrap();
    }
    let mut all = vec![0.0; table.spec().layout.rows() * width];
    let ids: Vec<u32> = match name {
        TableName::Entities => (0..table.spec().layout.rows() as u32).collect(),
        TableName::Relations => plan.relations.ids.clone(),
    };
    for (row, id) in rows.chunks(width).zip(ids) {
        let out = &mut all[id as usize * width..][..width];
        out.iter_mut()
            .zip(row)
            .for_each(|(out, &x)| *out = f64::from(x));
    }
    all
}

fn draw(model: Model, objective: Objective, kind: LossKind, seed: u64) -> (Case, usize) {
    let rng = &mut stream(seed, Purpose::Init, [0, 20]);
    let mut case = Case::draw(model, objective, kind, OptimizerKind::Sgd, seed);
    case.spec.candidate_dropout = pick(rng, &[0.0, 0.0, 0.4]);
    if kind == LossKind::Softmax {
        // Half of the cases take the route of matrix products.
        case.spec.loss.smoothing = pick(rng, &[0.0, 0.1]);
        if model.predicts_relations() {
            case.spec.relation_weight = pick(rng, &[0.0, 1.0]);
        }
    }
    (case, rng.random_range(1..=4))
}

#[test]
fn steps_on_parts_match_the_oracle() {
    let (mut worst, mut seed) = (0.0f64, 60_000);
    for &model in Model::ALL {
        for objective in OBJECTIVES {
            for kind in LOSSES {
                seed += 1;
                let (case, world) = draw(model, objective, kind, seed);
                worst = worst.max(check(&case, world));
            }
        }
    }
    println!("at most {worst:.2} roundings");
}
