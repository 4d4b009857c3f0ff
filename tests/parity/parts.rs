//! Steps and rankings on parts of the entity table, against the oracle and against the engine with the whole table.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use rand::RngExt;
use rand::seq::SliceRandom;
use shardloom::collective::{
    BoxFuture, Buffer, Buffers, Call, Collective, CollectiveError, Reduce, local,
};
use shardloom::executor::part::{
    self, HeldPart, LaneResult, LaneStep, PartError, PartRanking, PartStep, RankedPart,
};
use shardloom::ids::Generation;
use shardloom::kernel::{
    Backend, Column, Dtype, LaneRows, RankBatch, RankCounts, RankQuery, StepSpec, Table, TableName,
    TableSpec,
};
use shardloom::loss::LossKind;
use shardloom::model::Model;
use shardloom::optim::OptimizerKind;
use shardloom::rng::{Purpose, Stream, stream};
use shardloom::sampler::{Objective, PartPlan, PartRows, Plan};

use crate::case::{Case, LOSSES, Pair, ROUNDINGS, layout, pick, values};
use crate::cores::relation_shape;
use crate::ranks::draw_ranking;
use crate::{backends, halves, oracle};

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
    /// Rows of each part.
    rows: Vec<Arc<PartRows>>,
    width: usize,
    /// Values of each part, and its number of shards.
    values: Vec<(Vec<f32>, usize)>,
    spec: TableSpec,
}

/// Lanes and parts of each rank.
#[derive(Clone, Debug)]
struct Ranks {
    /// Lanes of each rank.
    lanes: Vec<Range<usize>>,
    /// Rank of each part.
    parts: Vec<usize>,
}

impl Ranks {
    /// Gives lanes and parts to `world` ranks; some may have none.
    fn draw(rng: &mut Stream, world: usize, lanes: usize, parts: usize) -> Ranks {
        let mut ends = vec![0, lanes];
        ends.extend((1..world).map(|_| rng.random_range(0..=lanes)));
        ends.sort_unstable();
        Ranks {
            lanes: ends.windows(2).map(|ends| ends[0]..ends[1]).collect(),
            parts: (0..parts).map(|_| rng.random_range(0..world)).collect(),
        }
    }

    /// As many ranks as lanes and as parts, with one of each.
    fn one_of_each(world: usize) -> Ranks {
        Ranks {
            lanes: (0..world).map(|rank| rank..rank + 1).collect(),
            parts: (0..world).collect(),
        }
    }

    fn parts_of(&self, rank: usize) -> impl Iterator<Item = usize> {
        let parts = self.parts.iter().enumerate();
        parts.filter_map(move |(part, of)| (*of == rank).then_some(part))
    }
}

impl Parts {
    /// Gives every row to some part, in any order.
    fn cut(rng: &mut Stream, parts: usize, spec: &TableSpec, values: &[f32]) -> Parts {
        let (rows, width) = (spec.layout.rows(), spec.width);
        let mut names: Vec<u32> = (0..rows as u32).collect();
        if rng.random_bool(0.5) {
            names.shuffle(rng);
        }
        let mut ends = vec![0, rows];
        ends.extend((1..parts).map(|_| rng.random_range(0..=rows)));
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

    /// The table of a part.
    fn table(&self, engine: &Backend, part: usize) -> Table {
        let (values, shards) = &self.values[part];
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

/// Results of a rank, or of all ranks in the order of lanes and parts.
#[derive(Clone, Debug, Default)]
struct Made {
    lanes: Vec<LaneResult>,
    /// Number, loss and gradients of each part.
    parts: Vec<(usize, f64, Vec<f32>)>,
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
    async fn rank(
        &self,
        engine: &mut Backend,
        ranks: &Ranks,
        collective: Arc<dyn Collective>,
    ) -> Made {
        let rank = collective.rank();
        // Nonsense in every buffer between the stages.
        let engines = |count: usize| -> Vec<Backend> {
            let another = |_| {
                let mut engine = engine.another().unwrap();
                engine.poison().unwrap();
                engine
            };
            (0..count).map(another).collect()
        };
        let all = self.entities.len() / self.parts.width;
        let leads = part::lanes(self.plan.queries.len(), 1, ranks.parts.len());
        let numbers: Vec<usize> = ranks.parts_of(rank).collect();
        let tables: Vec<Table> = numbers
            .iter()
            .map(|&part| self.parts.table(engine, part))
            .collect();
        let plans: Vec<PartPlan> = numbers
            .iter()
            .map(|&part| {
                let rows = self.parts.rows[part].clone();
                PartPlan::new(self.plan, rows, all, leads[part].clone()).unwrap()
            })
            .collect();
        let lanes = &self.lanes[ranks.lanes[rank].clone()];
        let lane_plans: Vec<Plan> = lanes
            .iter()
            .map(|lane| self.plan.lane(lane.clone()))
            .collect();
        let rows: Vec<[Vec<f32>; 2]> = lane_plans
            .iter()
            .map(|lane| {
                [
                    rows_of(self.entities, self.parts.width, &lane.entities.ids),
                    rows_of(self.relations, self.relation_width, &lane.relations.ids),
                ]
            })
            .collect();
        let (mut of_lanes, mut of_parts) = (engines(lanes.len()), engines(numbers.len()));
        let mut lane_steps: Vec<LaneStep<'_>> = lane_plans
            .iter()
            .zip(&rows)
            .zip(&mut of_lanes)
            .map(|((plan, [entities, relations]), engine)| LaneStep {
                plan,
                rows: LaneRows {
                    entities,
                    relations,
                },
                engine,
            })
            .collect();
        let mut held: Vec<HeldPart<'_>> = plans
            .iter()
            .zip(&tables)
            .zip(&mut of_parts)
            .map(|((plan, table), engine)| HeldPart {
                plan,
                table,
                engine,
            })
            .collect();
        let step = PartStep {
            spec: self.spec,
            queries: self.plan.queries.len(),
            first: lanes.first().map_or(0, |lane| lane.start),
            width: self.parts.width,
            ranks: &ranks.parts,
            largest_part: self.parts.largest(),
        };
        let call = Call::new(Generation(3), 7, TIMEOUT);
        let made = step.run(&mut lane_steps, &mut held, &*collective, call);
        let made = made.await.unwrap();
        let parts = numbers.into_iter().zip(made.losses).zip(&tables);
        let parts = parts.zip(&of_parts).map(|(((part, loss), table), engine)| {
            let mut dense = Vec::new();
            for shard in 0..table.spec().layout.shards() {
                let name = TableName::Entities;
                (engine.read_gradients(self.plan, name, table, shard, &mut dense)).unwrap();
            }
            (part, loss, dense)
        });
        Made {
            lanes: made.lanes,
            parts: parts.collect(),
        }
    }

    /// Runs all ranks.
    fn run(
        &self,
        engine: &mut Backend,
        ranks: &Ranks,
        hosting: Hosting,
        wrap: impl Fn(local::Local) -> Arc<dyn Collective>,
    ) -> Made {
        let members = local::Group::new(Generation(3), ranks.lanes.len()).members();
        let mut engines: Vec<Backend> = members.iter().map(|_| engine.another().unwrap()).collect();
        let members: Vec<_> = members.into_iter().map(wrap).zip(&mut engines).collect();
        let runtime = || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_time().build().unwrap()
        };
        let made: Vec<Made> = match hosting {
            Hosting::Threads => std::thread::scope(|scope| {
                let threads: Vec<_> = members
                    .into_iter()
                    .map(|(rank, engine)| {
                        scope.spawn(|| runtime().block_on(self.rank(engine, ranks, rank)))
                    })
                    .collect();
                threads.into_iter().map(|t| t.join().unwrap()).collect()
            }),
            Hosting::OneThread => {
                let pool = rayon::ThreadPoolBuilder::new()
                    .num_threads(1)
                    .build()
                    .unwrap();
                pool.install(|| {
                    let members = members.into_iter();
                    let members =
                        members.map(|(rank, engine)| Box::pin(self.rank(engine, ranks, rank)));
                    runtime().block_on(together(members.collect()))
                })
            }
        };
        let mut all = Made::default();
        for made in made {
            all.lanes.extend(made.lanes);
            all.parts.extend(made.parts);
        }
        all.parts.sort_by_key(|(part, ..)| *part);
        all
    }

    /// Adds up what the ranks have made: loss, gradients of entities and of relations.
    fn sums(&self, made: &Made) -> (f64, [Vec<f64>; 2]) {
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
        let mut loss = 0.0;
        for ((_, own, dense), rows) in made.parts.iter().zip(&self.parts.rows) {
            add(entities, self.parts.width, rows.rows(), dense);
            loss += own;
        }
        for (own, lane) in made.lanes.iter().zip(&self.lanes) {
            let lane = self.plan.lane(lane.clone());
            if lane.queries.is_empty() {
                continue;
            }
            loss += own.loss;
            let own = &own.gradients;
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
        (loss, sums)
    }
}

fn bits(made: &Made) -> Vec<u64> {
    let bits = |rows: &[f32]| -> Vec<u64> { rows.iter().map(|x| u64::from(x.to_bits())).collect() };
    let mut all = Vec::new();
    for lane in &made.lanes {
        all.extend(bits(&lane.gradients.entities));
        all.extend(bits(&lane.gradients.relations));
        all.push(lane.loss.to_bits());
    }
    for (_, loss, dense) in &made.parts {
        all.extend(bits(dense));
        all.push(loss.to_bits());
    }
    all
}

/// Compares a step on parts with the oracle and with the step on the whole table. Returns the worst number of
/// roundings.
fn check(engine: &mut Backend, case: &Case, world: usize) -> f64 {
    let rng = &mut stream(case.seed, Purpose::Init, [0, 21]);
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
    let (lanes, parts) = (rng.random_range(1..=4), rng.random_range(1..=5));
    let cut = Cut {
        spec: &case.spec,
        plan: &plan,
        lanes: part::lanes(plan.queries.len(), plan.unit(), lanes),
        parts: Parts::cut(rng, parts, entities.device.spec(), &values[0]),
        entities: &values[0],
        relations: &values[1],
        relation_width: relations.device.spec().width,
    };
    let ranks = Ranks::draw(rng, world, lanes, parts);
    let made = cut.run(engine, &ranks, Hosting::Threads, |rank| Arc::new(rank));
    let (world, hosting) = (rng.random_range(1..=4), Hosting::OneThread);
    let others = Ranks::draw(rng, world, lanes, parts);
    let again = cut.run(engine, &others, hosting, |rank| Arc::new(rank));
    assert!(
        bits(&made) == bits(&again),
        "other bits on ranks {others:?}: {ranks:?}, {case:?}"
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
    for engine in &mut backends() {
        let (mut worst, mut seed) = (0.0f64, 60_000);
        for &model in Model::ALL {
            for objective in OBJECTIVES {
                for kind in LOSSES {
                    seed += 1;
                    let (case, world) = draw(model, objective, kind, seed);
                    worst = worst.max(check(engine, &case, world));
                }
            }
        }
        println!("{engine}: at most {worst:.2} roundings");
    }
}

/// Wide enough for the route of matrix products, with several blocks of entities and several tiles of queries.
#[test]
fn softmax_tiles_on_parts_match_the_oracle() {
    for (i, model) in [Model::ComplEx, Model::DistMult, Model::TransEL2]
        .into_iter()
        .enumerate()
    {
        let seed = 61_000 + i as u64;
        let (mut case, _) = draw(model, Objective::KVsAll, LossKind::Softmax, seed);
        (case.entities, case.dim, case.batch) = (700, 8, 300);
        case.spec.loss.smoothing = 0.0;
        for engine in &mut backends() {
            for world in [1, 3] {
                check(engine, &case, world);
            }
        }
    }
}

/// A group's member that counts the bytes for other ranks.
struct Counting {
    inner: local::Local,
    bytes: Arc<AtomicU64>,
}

impl Counting {
    fn count(&self, values: usize) {
        self.bytes.fetch_add(4 * values as u64, Ordering::Relaxed);
    }
}

impl Collective for Counting {
    fn rank(&self) -> usize {
        self.inner.rank()
    }

    fn world(&self) -> usize {
        self.inner.world()
    }

    fn generation(&self) -> Generation {
        self.inner.generation()
    }

    fn all_reduce_buffer(
        &self,
        call: Call,
        values: Buffer,
        reduce: Reduce,
    ) -> BoxFuture<'_, Result<Buffer, CollectiveError>> {
        // By a reduce-scatter and an all-gather.
        self.count(2 * values.len() * (self.world() - 1) / self.world());
        self.inner.all_reduce_buffer(call, values, reduce)
    }

    fn all_gather_buffer(
        &self,
        call: Call,
        values: Buffer,
    ) -> BoxFuture<'_, Result<Buffers, CollectiveError>> {
        self.count(values.len() * (self.world() - 1));
        self.inner.all_gather_buffer(call, values)
    }

    fn reduce_scatter_buffer(
        &self,
        call: Call,
        values: Buffer,
        reduce: Reduce,
    ) -> BoxFuture<'_, Result<Buffer, CollectiveError>> {
        self.count(values.len() * (self.world() - 1) / self.world());
        self.inner.reduce_scatter_buffer(call, values, reduce)
    }

    fn all_to_all_buffers(
        &self,
        call: Call,
        parts: Buffers,
    ) -> BoxFuture<'_, Result<Buffers, CollectiveError>> {
        let Buffers::U32(sums) = &parts else {
            panic!("steps on few parts send sums of 32 bits");
        };
        let others = sums
            .iter()
            .enumerate()
            .filter(|(rank, _)| *rank != self.rank());
        self.count(others.map(|(_, part)| part.len()).sum());
        self.inner.all_to_all_buffers(call, parts)
    }

    fn broadcast_buffer(
        &self,
        call: Call,
        root: usize,
        values: Buffer,
    ) -> BoxFuture<'_, Result<Buffer, CollectiveError>> {
        self.inner.broadcast_buffer(call, root, values)
    }

    fn barrier(&self, call: Call) -> BoxFuture<'_, Result<(), CollectiveError>> {
        self.inner.barrier(call)
    }

    fn abort(&self, next: Generation) -> BoxFuture<'_, ()> {
        self.inner.abort(next)
    }
}

/// As many bytes as the documentation of `executor::part` derives, for each loss and group.
#[test]
fn steps_send_the_bytes_that_are_derived() {
    for (kind, rounds) in [
        (LossKind::Bce, 0),
        (LossKind::Softmax, 1),
        (LossKind::SelfAdversarial, 1),
        (LossKind::Margin, 2),
    ] {
        for world in 1..=4 {
            let mut case = Case::draw(
                Model::ComplEx,
                Objective::OneVsAll,
                kind,
                OptimizerKind::Sgd,
                9,
            );
            (case.entities, case.dim, case.batch) = (300, 8, 25);
            let rng = &mut stream(1, Purpose::Init, [0, 22]);
            let sampler = case.sampler();
            let plan = sampler.plan(&sampler.order(1), 0, &mut sampler.scratch());
            let engine = &mut Backend::cpu();
            let entities = Pair::new(engine, rng, &case.table("entities", 300, 8, 1));
            let relations = Pair::new(engine, rng, &case.relation_table(&sampler));
            let values = [&entities, &relations]
                .map(|pair| engine.read(&pair.device, Column::Values).unwrap());
            let cut = Cut {
                spec: &case.spec,
                plan: &plan,
                lanes: part::lanes(plan.queries.len(), plan.unit(), world),
                parts: Parts::cut(rng, world, entities.device.spec(), &values[0]),
                entities: &values[0],
                relations: &values[1],
                relation_width: 8,
            };
            let counted = Arc::new(AtomicU64::new(0));
            let ranks = Ranks::one_of_each(world);
            cut.run(engine, &ranks, Hosting::Threads, |inner| {
                let bytes = Arc::clone(&counted);
                Arc::new(Counting { inner, bytes })
            });
            let (n, w) = (plan.queries.len() as u64, world as u64);
            let derived = (w - 1) * n * (8 * 8 + 8 * w * rounds + 4 * w);
            assert_eq!(
                counted.load(Ordering::Relaxed),
                derived,
                "{kind:?}, world {world}"
            );
        }
    }
}

/// Ranks of queries by a group whose ranks have parts of the table.
fn ranks_on_parts(
    engine: &Backend,
    model: Model,
    batch: &RankBatch,
    parts: &Parts,
    ranks: &Ranks,
    tables: [&[f32]; 2],
    relation_width: usize,
) -> Vec<Vec<RankCounts>> {
    let world = ranks.lanes.len();
    let lanes = &part::lanes(batch.queries.len(), 1, world);
    let rank = |collective: local::Local| {
        let engine = &mut engine.another().unwrap();
        let rank = collective.rank();
        let lane = &batch.queries[lanes[rank].clone()];
        let small = |name, width: usize, ids: &[u32], values: &[f32]| {
            let values = rows_of(values, width, ids);
            let spec = TableSpec {
                name,
                width,
                layout: layout(ids.len(), 1, usize::MAX),
                optimizer: OptimizerKind::Sgd,
                dtype: Dtype::F32,
            };
            let table = engine.create_table(&spec, &mut |first, out| {
                out.copy_from_slice(&values[first * width..][..out.len()]);
            });
            table.unwrap()
        };
        // Heads in the order of queries; all relations, of which some models have a core.
        let heads: Vec<u32> = lane.iter().map(|query| query.entity).collect();
        let all: Vec<u32> = (0..(tables[1].len() / relation_width) as u32).collect();
        let (entities, relations) = (
            small("entities", parts.width, &heads, tables[0]),
            small("relations", relation_width, &all, tables[1]),
        );
        let lane: Vec<RankQuery> = (0..)
            .zip(lane)
            .map(|(entity, query)| RankQuery { entity, ..*query })
            .collect();
        let held: Vec<(Table, &PartRows)> = ranks
            .parts_of(rank)
            .map(|part| (parts.table(engine, part), &*parts.rows[part]))
            .collect();
        let held = held.iter().map(|(table, rows)| RankedPart { table, rows });
        let ranking = PartRanking {
            model,
            batch,
            lanes,
            lane: &lane,
            entities: &entities,
            relations: &relations,
            parts: &held.collect::<Vec<_>>(),
        };
        let call = Call::new(Generation(0), 0, TIMEOUT);
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().build().unwrap();
        let (counts, next) = runtime
            .block_on(ranking.run(engine, &collective, call))
            .unwrap();
        assert_eq!(next.sequence, 3);
        counts
    };
    std::thread::scope(|scope| {
        let members = local::group(world).into_iter();
        let threads: Vec<_> = members
            .map(|collective| scope.spawn(|| rank(collective)))
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    })
}

/// Filtered ranks on parts are those of the engine with the whole table: with ties, scores that are not numbers,
/// and rows of binary16.
#[test]
fn ranks_on_parts_are_those_of_the_whole_table() {
    for engine in &mut backends() {
        let mut seed = 0;
        for &model in Model::ALL {
            for (entities, queries) in [(1, 1), (63, 65), (700, 129), (90, 2)] {
                for dtype in [Dtype::F32, halves::NEAREST] {
                    seed += 1;
                    let rng = &mut stream(seed, Purpose::Init, [0, 23]);
                    let dim =
                        pick(rng, &[2usize, 6, 16, 34]).next_multiple_of(model.values_per_lane());
                    let (relation_rows, relation_width) = relation_shape(model, 4, dim);
                    let mut rows = values(rng, entities * dim, -1.0, 1.0);
                    for to in 0..entities / 3 {
                        let from = rng.random_range(0..entities);
                        rows.copy_within(from * dim..(from + 1) * dim, to * dim);
                    }
                    if entities > 60 {
                        rows[17 * dim + 1] = f32::NAN;
                    }
                    let relations = values(rng, relation_rows * relation_width, -1.0, 1.0);
                    let table = |name, width: usize, values: &[f32], dtype| {
                        let spec = TableSpec {
                            name,
                            width,
                            layout: layout(values.len() / width, 1, usize::MAX),
                            optimizer: OptimizerKind::Sgd,
                            dtype,
                        };
                        let fill = &mut |first: usize, out: &mut [f32]| {
                            out.copy_from_slice(&values[first * width..][..out.len()]);
                        };
                        engine.create_table(&spec, fill).unwrap()
                    };
                    let whole = table("entities", dim, &rows, dtype);
                    let relation_table = table("relations", relation_width, &relations, Dtype::F32);
                    let rows = engine.read(&whole, Column::Values).unwrap();
                    let batch = draw_ranking(rng, queries, entities, 4);
                    let wanted = (engine.rank(model, &batch, &whole, &relation_table)).unwrap();
                    let world = rng.random_range(1..=4);
                    let count = rng.random_range(1..=5);
                    let parts = Parts::cut(rng, count, whole.spec(), &rows);
                    let ranks = Ranks::draw(rng, world, world, count);
                    let tables = [&rows[..], &relations[..]];
                    for counts in ranks_on_parts(
                        engine,
                        model,
                        &batch,
                        &parts,
                        &ranks,
                        tables,
                        relation_width,
                    ) {
                        assert!(
                            counts == wanted,
                            "{model}, {entities} × {dim}, world {world}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn lanes_and_parts_that_do_not_fit_are_refused() {
    let case = crate::case::plain(Model::DistMult, Objective::OneVsAll);
    let sampler = case.sampler();
    let plan = sampler.plan(&sampler.order(1), 0, &mut sampler.scratch());
    let n = plan.queries.len();
    let engines = &mut [Backend::cpu(), Backend::cpu()];
    let rng = &mut stream(1, Purpose::Init, [0, 24]);
    let table = Pair::new(&engines[0], rng, &case.table("entities", 40, 12, 1)).device;
    let rows = Arc::new(PartRows::new((0..40).collect()));
    let part = PartPlan::new(&plan, rows, 40, 0..n).unwrap();
    let run = |queries: usize, first: usize, held: usize, engines: &mut [Backend; 2]| {
        let step = PartStep {
            spec: &case.spec,
            queries,
            first,
            width: 12,
            ranks: &[0],
            largest_part: 40,
        };
        let lane = plan.lane(0..n);
        let entities = vec![0.5; 12 * lane.entities.len()];
        let relations = vec![0.5; 12 * lane.relations.len()];
        let [of_lane, of_part] = engines;
        let lanes = &mut [LaneStep {
            plan: &lane,
            rows: LaneRows {
                entities: &entities,
                relations: &relations,
            },
            engine: of_lane,
        }];
        let parts = &mut [HeldPart {
            plan: &part,
            table: &table,
            engine: of_part,
        }];
        let rank = local::group(1).remove(0);
        let call = Call::new(Generation(0), 0, TIMEOUT);
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().build().unwrap();
        runtime.block_on(step.run(lanes, &mut parts[..held], &rank, call))
    };
    run(n, 0, 1, engines).unwrap();
    let refused = run(n + 1, 0, 1, engines);
    assert!(
        matches!(refused, Err(PartError::Queries { .. })),
        "{refused:?}"
    );
    let refused = run(n, 1, 1, engines);
    assert!(
        matches!(refused, Err(PartError::Queries { .. })),
        "{refused:?}"
    );
    let refused = run(n, 0, 0, engines);
    assert!(
        matches!(refused, Err(PartError::Parts { .. })),
        "{refused:?}"
    );
}
