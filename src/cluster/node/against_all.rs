//! A node's share of steps against all entities: queries travel, rows of entities stay.
//!
//! Each node scores the queries of all nodes against the entity shards that it holds first, and computes the lanes that
//! it was given ([`executor::part`](crate::executor::part)). To the shards, a lane is a worker, and so is each entity
//! shard: the gradients of its rows as candidates are its own push. Sums depend on lanes and shards, not on nodes.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::group::Rank;
use super::unfinished::{Unfinished, failed, lost, unfinished};
use super::{Router, StepPush};
use crate::cluster::messages::Task;
use crate::coordinator::Vote;
use crate::executor::part::{HeldPart, LaneResult, LaneStep, PartStep, StepResult, lanes};
use crate::ids::{ShardId, Step, TableName, WorkerId};
use crate::kernel::{Backend, LaneRows, StepSpec, Table};
use crate::sampler::{PartPlan, PartRows, PartialPlan, Plan, PlanError, PlanId};
use crate::server::{Caller, HeldShards, PushedPart, PushedRows, RowMap};

/// Worker that pushes the gradients of an entity shard's rows as candidates.
pub(super) fn shard_worker(lanes: u32, shard: usize) -> WorkerId {
    WorkerId(lanes + shard as u32)
}

/// Arguments of [`AgainstAll::new`].
#[derive(Debug)]
pub struct Setup {
    /// Worker of this node.
    pub(super) me: WorkerId,
    /// Number of lanes of a step.
    pub(super) lanes: u32,
    /// Shards of this node.
    pub(super) held: HeldShards,
    /// The node's rank among the nodes.
    pub(super) rank: Rank,
}

/// An entity shard that this node scores.
#[derive(Debug)]
pub(super) struct ScoredShard {
    pub shard: ShardId,
    /// Storage rows of the shard.
    pub rows: Arc<PartRows>,
    /// The shard's rows, where the shard keeps them.
    pub table: Table,
}

/// Engines of a node, which are kept from generation to generation.
#[derive(Debug)]
pub(super) struct Engines {
    /// Engine of which others are made.
    template: Backend,
    shards: Vec<Backend>,
    lanes: Vec<Backend>,
}

impl Engines {
    /// Makes engines on the device of one.
    pub fn new(template: Backend) -> Engines {
        Engines {
            template,
            shards: Vec::new(),
            lanes: Vec::new(),
        }
    }

    /// Makes engines for as many shards and lanes.
    fn room(&mut self, shards: usize, lanes: usize) -> Result<(), Unfinished> {
        for (engines, count) in [(&mut self.shards, shards), (&mut self.lanes, lanes)] {
            while engines.len() < count {
                engines.push(self.template.another().map_err(lost)?);
            }
        }
        Ok(())
    }

    /// Engine for rankings.
    pub fn ranking(&mut self) -> &mut Backend {
        &mut self.template
    }
}

/// A node's share of steps and rankings against all entities, in one generation.
#[derive(Debug)]
pub(super) struct AgainstAll {
    pub setup: Setup,
    pub router: Router,
    pub spec: StepSpec,
    /// Entity shards that this node scores, ascending.
    pub shards: Vec<ScoredShard>,
    /// Rank that scores each entity shard.
    ranks: Vec<usize>,
    /// Plan of the last step, in storage rows.
    plan: Option<(PlanId, Arc<PartialPlan>)>,
    /// All relations, as of a number of steps: for rankings.
    pub relations: Option<(u64, Table)>,
}

/// Rows of entities and of relations that a lane reads.
type Rows = [Vec<f32>; 2];

impl AgainstAll {
    /// Prepares for the steps of a generation.
    ///
    /// # Errors
    /// [`Unfinished::Failed`] if a shard has no holder among the nodes, or the device is lost.
    pub fn new(setup: Setup, router: Router, spec: StepSpec) -> Result<AgainstAll, Unfinished> {
        let (mut shards, mut ranks) = (Vec::new(), Vec::new());
        let map = router.map();
        for shard in map.shards().filter(|id| id.table == TableName::Entities) {
            let holder = router.holders(shard).first().copied();
            let mut nodes = setup.rank.nodes().iter();
            let rank = nodes.position(|node| Some(*node) == holder);
            ranks.push(rank.ok_or_else(|| failed(format!("nobody holds {shard}")))?);
            if holder == Some(setup.me) {
                let range = map.range(shard);
                let rows = (range.start as u32..range.end as u32).collect();
                shards.push(ScoredShard {
                    shard,
                    rows: Arc::new(PartRows::new(rows)),
                    table: setup.held.shard_table(shard).map_err(failed)?,
                });
            }
        }
        Ok(AgainstAll {
            setup,
            router,
            spec,
            shards,
            ranks,
            plan: None,
            relations: None,
        })
    }

    /// Computes the node's share of a step, and stages its gradients at the holders. Returns the losses of its lanes
    /// and shards, times the number of the step's queries.
    pub fn task(
        &mut self,
        task: &Task,
        plan: &Arc<PartialPlan>,
        engines: &mut Engines,
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
        engines.room(self.shards.len(), lane_plans.len())?;
        let rows = self.pull(task, &lane_plans, runtime)?;
        let found = self.compute(task, plan, &lane_plans, &rows, engines, runtime)?;

        let n = plan.queries.len();
        let mut losses = Vec::new();
        let mut pushes = Vec::new();
        for ((part, lane), result) in task.parts.iter().zip(&lane_plans).zip(found.lanes) {
            losses.push((part.lane, result.loss * n as f64));
            pushes.push(StepPush {
                caller: self.caller(task.first, WorkerId(part.lane)),
                samples: lane.queries.len() as f32,
                squares: squares(&result),
                parts: lane_parts(&map, lane, &result),
            });
        }
        let mut of_shards = Vec::new();
        let shards = self.shards.iter().zip(&mut engines.shards);
        for ((scored, engine), loss) in shards.zip(found.losses) {
            let worker = shard_worker(self.setup.lanes, scored.shard.shard);
            losses.push((worker.0, loss * n as f64));
            if n == 0 {
                of_shards.push((worker, scored.shard, None, 0.0));
                continue;
            }
            let server = self.setup.held.server();
            let (entities, old) = (TableName::Entities, server.reuse(engine));
            let gradients = engine.keep_gradients(plan, entities, &scored.table, 0, old);
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
            let caller = self.caller(task.first, worker);
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
            self.setup.rank.wait(runtime, ended)?;
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

    /// Caller of requests to the shards that have made a number of steps.
    pub fn caller(&self, steps: u64, worker: WorkerId) -> Caller {
        Caller {
            worker,
            generation: self.setup.rank.generation(),
            step: Step(steps),
            layout: self.router.layout(),
        }
    }

    /// Pulls the rows of all lanes at once; waits until the shards of this node have made the step before.
    fn pull(&self, task: &Task, lanes: &[Plan], runtime: &Handle) -> Result<Vec<Rows>, Unfinished> {
        let map = self.router.map();
        let caller = self.caller(task.first, WorkerId(0));
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
            let begun = self.router.begin(self.setup.me, caller);
            self.setup.rank.wait(runtime, begun)?;
            if !named.is_empty() {
                let pulled = self.router.pull_rows(caller, table, &named, &mut values);
                self.setup.rank.wait(runtime, pulled)?;
            }
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
        engines: &mut Engines,
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
        let Engines {
            shards: of_shards,
            lanes: of_lanes,
            ..
        } = engines;
        let mut lane_steps: Vec<LaneStep<'_>> = (lane_plans.iter().zip(rows).zip(of_lanes))
            .map(|((plan, [entities, relations]), engine)| LaneStep {
                plan,
                rows: LaneRows {
                    entities,
                    relations,
                },
                engine,
            })
            .collect();
        let mut held: Vec<HeldPart<'_>> = (plans.iter().zip(&self.shards).zip(of_shards))
            .map(|((plan, scored), engine)| HeldPart {
                plan,
                table: &scored.table,
                engine,
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
        self.setup.rank.run(runtime, async |member, call| {
            let made = step.run(&mut lane_steps, &mut held, member, call).await?;
            let next = made.next;
            Ok((made, next))
        })
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
