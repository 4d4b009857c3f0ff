//! A node's share of steps against all entities: queries travel, rows of entities stay.
//!
//! Each node scores the queries of all nodes against the entity shards that it holds first, and computes the lanes that
//! it was given ([`executor::part`](crate::executor::part)). To the shards, a lane is a worker, and so is each entity
//! shard: the gradients of its rows as candidates are its own push. Sums depend on lanes and shards, not on nodes.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;

use super::compute::{Unfinished, failed, lost, unfinished};
use super::group::{Forming, NotFormed};
use super::{Router, StepPush};
use crate::cluster::messages::{Configuration, Task};
use crate::collective::{Call, CollectiveError};
use crate::coordinator::Vote;
use crate::executor::part::{
    HeldPart, LaneResult, LaneStep, PartError, PartStep, StepResult, lanes,
};
use crate::ids::{Generation, ShardId, Step, TableName, WorkerId};
use crate::kernel::{Backend, LaneRows, StepSpec, Table};
use crate::net::collective::Member;
use crate::sampler::{PartPlan, PartRows, PartialPlan, Plan, PlanError, PlanId};
use crate::server::{Caller, HeldShards, PushedPart, PushedRows, RowMap};

/// Longest wait for a new configuration after the group has failed: a node that is gone has ended its generation by
/// then.
const GRACE: Duration = Duration::from_secs(2);

/// Arguments of [`AgainstAll::new`].
#[derive(Debug)]
pub struct Setup {
    /// Worker of this node.
    pub me: WorkerId,
    /// Nodes of the generation, in the order of their ranks.
    pub nodes: Vec<WorkerId>,
    /// Number of lanes of a step.
    pub lanes: u32,
    /// Shards of this node.
    pub held: HeldShards,
    /// The group of the nodes.
    pub forming: Forming,
    /// Next call of the group.
    pub call: Call,
    /// Latest generation that the leader has announced.
    pub announced: watch::Receiver<Generation>,
}

impl Setup {
    /// Arguments for a configuration.
    pub fn new(
        me: WorkerId,
        configuration: &Configuration,
        held: HeldShards,
        forming: Forming,
        announced: watch::Receiver<Generation>,
    ) -> Setup {
        let group = super::group::number(configuration.epoch, configuration.generation);
        Setup {
            me,
            nodes: configuration.nodes.iter().map(|node| node.worker).collect(),
            lanes: configuration.lanes,
            held,
            forming,
            call: Call::new(group, 0, configuration.timeout()),
            announced,
        }
    }
}

/// Worker that pushes the gradients of an entity shard's rows as candidates.
pub(super) fn shard_worker(lanes: u32, shard: usize) -> WorkerId {
    WorkerId(lanes + shard as u32)
}

/// An entity shard that this node scores.
#[derive(Debug)]
struct ScoredShard {
    shard: ShardId,
    rows: Arc<PartRows>,
    table: Table,
    engine: Backend,
}

/// A node's share of steps against all entities, in one generation.
#[derive(Debug)]
pub(super) struct AgainstAll {
    generation: Generation,
    setup: Setup,
    router: Router,
    spec: StepSpec,
    shards: Vec<ScoredShard>,
    /// Rank that scores each entity shard.
    ranks: Vec<usize>,
    /// Engines of the lanes.
    lanes: Vec<Backend>,
    member: Option<Member>,
    /// Plan of the last step, in storage rows.
    plan: Option<(PlanId, Arc<PartialPlan>)>,
}

/// Rows of entities and of relations that a lane reads.
type Rows = [Vec<f32>; 2];

/// Reason why a step ended early.
enum Stopped {
    /// The arithmetic failed, or the generation is over.
    Unfinished(Unfinished),
    /// The group failed, because of a node if one is known.
    Broken(Option<WorkerId>, String),
}

impl AgainstAll {
    /// Prepares for the steps of a generation, with the engines of the generation before.
    pub fn new(
        generation: Generation,
        setup: Setup,
        router: Router,
        spec: StepSpec,
        template: &Backend,
        before: Option<AgainstAll>,
    ) -> Result<AgainstAll, Unfinished> {
        let (of_shards, of_lanes) = before.map_or((Vec::new(), Vec::new()), |before| {
            let engines = before.shards.into_iter().map(|scored| scored.engine);
            (engines.collect(), before.lanes)
        });
        let mut engines: Vec<Backend> = of_shards;
        let map = router.map();
        let (mut shards, mut ranks) = (Vec::new(), Vec::new());
        for shard in map.shards().filter(|id| id.table == TableName::Entities) {
            let holder = router.holders(shard).first().copied();
            let rank = setup.nodes.iter().position(|node| Some(*node) == holder);
            let rank = rank.ok_or_else(|| failed(format!("nobody holds {shard}")))?;
            ranks.push(rank);
            if holder != Some(setup.me) {
                continue;
            }
            let engine = match engines.pop() {
                Some(engine) => engine,
                None => template.another().map_err(lost)?,
            };
            let range = map.range(shard);
            shards.push(ScoredShard {
                shard,
                rows: Arc::new(PartRows::new(
                    (range.start as u32..range.end as u32).collect(),
                )),
                table: setup.held.shard_table(shard).map_err(failed)?,
                engine,
            });
        }
        Ok(AgainstAll {
            generation,
            setup,
            router,
            spec,
            shards,
            ranks,
            lanes: of_lanes,
            member: None,
            plan: None,
        })
    }

    /// Computes the node's share of a step, and stages its gradients at the holders. Returns the losses of its lanes
    /// and shards, times the number of the step's queries.
    pub fn task(
        &mut self,
        task: &Task,
        plan: &Arc<PartialPlan>,
        template: &Backend,
        runtime: &Handle,
    ) -> Result<(Vote, Vec<(u32, f64)>), Unfinished> {
        let map = Arc::clone(self.router.map());
        let stored = self.stored(task.plan, plan, &map);
        let plan = &stored.plan;
        let mut lane_plans = Vec::with_capacity(task.parts.len());
        for part in &task.parts {
            let (queries, found) = (part.queries.clone(), plan.queries.len());
            if queries.start > queries.end || queries.end > found {
                return Err(failed(PlanError::NoQueries { queries, found }));
            }
            lane_plans.push(plan.lane(queries));
        }
        while self.lanes.len() < lane_plans.len() {
            self.lanes.push(template.another().map_err(lost)?);
        }
        let rows = self.pull(task, &lane_plans, runtime)?;
        let found = self.compute(task, plan, &lane_plans, &rows, runtime)?;

        let n = plan.queries.len();
        let mut losses = Vec::new();
        let mut pushes = Vec::new();
        for ((part, lane), result) in task.parts.iter().zip(&lane_plans).zip(found.lanes) {
            losses.push((part.lane, result.loss * n as f64));
            pushes.push(StepPush {
                caller: self.caller(task, WorkerId(part.lane)),
                samples: lane.queries.len() as f32,
                squares: squares(&result),
                parts: lane_parts(&map, lane, &result),
            });
        }
        let mut of_shards = Vec::new();
        for (scored, loss) in self.shards.iter_mut().zip(found.losses) {
            let worker = shard_worker(self.setup.lanes, scored.shard.shard);
            losses.push((worker.0, loss * n as f64));
            if n == 0 {
                of_shards.push((worker, scored.shard, None, 0.0));
                continue;
            }
            let server = self.setup.held.server();
            let (engine, table) = (&mut scored.engine, &scored.table);
            let old = server.reuse(engine);
            let gradients = engine.keep_gradients(plan, TableName::Entities, table, 0, old);
            let gradients = gradients.map_err(lost)?;
            let squares = engine.square_sum(&gradients).map_err(lost)?;
            of_shards.push((worker, scored.shard, Some(gradients), squares));
        }
        let all = losses.iter().map(|(_, loss)| loss);
        let squares = pushes.iter().map(|push| &push.squares);
        let squares = squares.chain(of_shards.iter().map(|(.., squares)| squares));
        if !all.clone().chain(squares.clone()).all(|x| x.is_finite()) {
            let (loss, squares) = (all.sum::<f64>(), squares.sum::<f64>());
            let what = format!("loss {loss}, sum of squared gradients {squares}");
            return Ok((Vote::NotFinite { what }, losses));
        }

        let mut requests = Vec::new();
        for push in pushes {
            requests.push(self.router.push(runtime, push).map_err(unfinished)?);
        }
        for (worker, shard, gradients, squares) in of_shards {
            let caller = self.caller(task, worker);
            let part = match gradients {
                Some(gradients) => PushedPart {
                    shard,
                    places: None,
                    gradients: PushedRows::OnDevice(gradients),
                },
                None => empty(shard),
            };
            let pushed = self.router.push_shard(runtime, caller, squares, part);
            requests.push(pushed.map_err(unfinished)?);
        }
        for mut request in requests {
            let ended = async {
                while request.next().await?.is_some() {}
                Ok(())
            };
            runtime.block_on(ended).map_err(unfinished)?;
        }
        Ok((Vote::Ready, losses))
    }

    /// The plan of a step in storage rows.
    fn stored(&mut self, id: PlanId, plan: &Arc<PartialPlan>, map: &RowMap) -> Arc<PartialPlan> {
        let entities = TableName::Entities;
        match &self.plan {
            _ if map.is_identity(entities) => Arc::clone(plan),
            Some((last, stored)) if *last == id => Arc::clone(stored),
            _ => {
                let stored = Arc::new(PartialPlan {
                    plan: plan.plan.clone().renamed(|row| map.storage(entities, row)),
                    others: Vec::new(),
                });
                self.plan = Some((id, Arc::clone(&stored)));
                stored
            }
        }
    }

    fn caller(&self, task: &Task, worker: WorkerId) -> Caller {
        Caller {
            worker,
            generation: task.generation,
            step: Step(task.first),
            layout: self.router.layout(),
        }
    }

    /// Pulls the rows of all lanes at once; waits until the shards of this node have made the step before.
    fn pull(&self, task: &Task, lanes: &[Plan], runtime: &Handle) -> Result<Vec<Rows>, Unfinished> {
        let map = self.router.map();
        let caller = self.caller(task, WorkerId(0));
        let mut rows: Vec<Rows> = lanes.iter().map(|_| Rows::default()).collect();
        for table in TableName::ALL {
            let ids = |lane: &Plan| match table {
                TableName::Entities => lane.entities.ids.clone(),
                TableName::Relations => lane.relations.ids.clone(),
            };
            let mut all: Vec<u32> = lanes.iter().flat_map(ids).collect();
            all.sort_unstable();
            all.dedup();
            let named: Vec<u32> = all.iter().map(|&row| map.row(table, row)).collect();
            let mut values = Vec::new();
            let values_out = &mut values;
            let pulled = async {
                self.router.begin(self.setup.me, caller).await?;
                match named.is_empty() {
                    true => Ok(()),
                    false => {
                        self.router
                            .pull_rows(caller, table, &named, values_out)
                            .await
                    }
                }
            };
            runtime.block_on(pulled).map_err(unfinished)?;
            let width = map.width(table);
            for (lane, rows) in lanes.iter().zip(&mut rows) {
                let mut first = 0;
                for id in ids(lane) {
                    // Rows of a lane ascend.
                    first += all[first..].partition_point(|&row| row < id);
                    rows[table as usize].extend_from_slice(&values[first * width..][..width]);
                }
            }
        }
        Ok(rows)
    }

    /// Computes lanes and shards together with all other nodes.
    fn compute(
        &mut self,
        task: &Task,
        plan: &Plan,
        lane_plans: &[Plan],
        rows: &[Rows],
        runtime: &Handle,
    ) -> Result<StepResult, Unfinished> {
        let map = self.router.map();
        let entities = map.rows(TableName::Entities);
        let leads = lanes(plan.queries.len(), 1, self.ranks.len());
        let mut plans = Vec::with_capacity(self.shards.len());
        for scored in &self.shards {
            let lead = leads[scored.shard.shard].clone();
            let part = PartPlan::new(plan, Arc::clone(&scored.rows), entities, lead);
            plans.push(part.ok_or_else(|| failed("candidates are not all entities"))?);
        }
        let engines = self.lanes.iter_mut();
        let mut lane_steps: Vec<LaneStep<'_>> = (lane_plans.iter().zip(rows).zip(engines))
            .map(|((plan, [entities, relations]), engine)| LaneStep {
                plan,
                rows: LaneRows {
                    entities,
                    relations,
                },
                engine,
            })
            .collect();
        let mut held: Vec<HeldPart<'_>> = (plans.iter().zip(&mut self.shards))
            .map(|(plan, scored)| HeldPart {
                plan,
                table: &scored.table,
                engine: &mut scored.engine,
            })
            .collect();
        let step = PartStep {
            spec: &self.spec,
            queries: plan.queries.len(),
            first: task.parts.first().map_or(0, |part| part.queries.start),
            width: map.width(TableName::Entities),
            ranks: &self.ranks,
            largest_part: map.shard_layout(TableName::Entities).most_rows(),
        };
        let Setup {
            forming,
            nodes,
            call,
            announced,
            ..
        } = &mut self.setup;
        let (member, generation) = (&mut self.member, self.generation);
        let work = async {
            let member = match member {
                Some(member) => member,
                None => {
                    let formed = forming.member().await;
                    let broken = |error: NotFormed| Stopped::Broken(error.worker, error.reason);
                    member.insert(formed.map_err(broken)?)
                }
            };
            let made = step.run(&mut lane_steps, &mut held, member, *call);
            made.await.map_err(|error| stopped(error, nodes))
        };
        let made = runtime.block_on(async {
            let (first, then) = (over(announced, generation), announced.clone());
            let stopped = tokio::select! {
                biased;
                () = first => Stopped::Unfinished(superseded("the nodes have changed")),
                made = work => match made {
                    Ok(made) => return Ok(made),
                    Err(stopped) => stopped,
                },
            };
            match stopped {
                Stopped::Unfinished(unfinished) => Err(unfinished),
                Stopped::Broken(worker, reason) => {
                    // A node that is gone, or that has left the group for the next generation, is no news to the leader.
                    let settled = timeout(GRACE, over(&then, generation)).await;
                    Err(match worker {
                        Some(worker) if settled.is_err() => Unfinished::Unreachable(worker, reason),
                        _ => superseded(&reason),
                    })
                }
            }
        })?;
        *call = made.next;
        Ok(made)
    }
}

/// Waits until the leader has announced a later generation, or the session has ended.
pub(super) fn over(
    announced: &watch::Receiver<Generation>,
    generation: Generation,
) -> impl Future<Output = ()> + use<> {
    let mut announced = announced.clone();
    async move {
        // An error means that the session has ended.
        let _ = announced.wait_for(|latest| *latest > generation).await;
    }
}

fn superseded(reason: &str) -> Unfinished {
    Unfinished::Superseded(reason.to_owned())
}

fn stopped(error: PartError, nodes: &[WorkerId]) -> Stopped {
    match error {
        PartError::Kernel(error) => Stopped::Unfinished(lost(error)),
        PartError::Collective(error) => {
            let worker = match &error {
                CollectiveError::RanksLost { ranks, .. } => {
                    ranks.first().and_then(|&rank| nodes.get(rank)).copied()
                }
                _ => None,
            };
            Stopped::Broken(worker, error.to_string())
        }
        error => Stopped::Unfinished(failed(error)),
    }
}

/// Σ g² over the gradients of a lane.
fn squares(lane: &LaneResult) -> f64 {
    let values = lane
        .gradients
        .entities
        .iter()
        .chain(&lane.gradients.relations);
    values.map(|&g| f64::from(g) * f64::from(g)).sum()
}

/// Part of a push without rows.
fn empty(shard: ShardId) -> PushedPart {
    PushedPart {
        shard,
        places: Some(Vec::new()),
        gradients: PushedRows::Values(Vec::new()),
    }
}

/// Cuts the gradients of a lane by shard.
fn lane_parts(map: &RowMap, lane: &Plan, result: &LaneResult) -> Vec<PushedPart> {
    let parts = map.shards().map(|shard| {
        let (ids, values) = match shard.table {
            TableName::Entities => (&lane.entities.ids, &result.gradients.entities),
            TableName::Relations => (&lane.relations.ids, &result.gradients.relations),
        };
        if values.is_empty() {
            return empty(shard);
        }
        let (layout, width) = (map.shard_layout(shard.table), map.width(shard.table));
        let rows = layout.stretch(shard.shard, ids);
        let first = layout.range(shard.shard).start as u32;
        let values = &values[rows.start * width..rows.end * width];
        PushedPart {
            shard,
            places: Some(ids[rows].iter().map(|row| row - first).collect()),
            gradients: PushedRows::Values(values.to_vec()),
        }
    });
    parts.collect()
}
