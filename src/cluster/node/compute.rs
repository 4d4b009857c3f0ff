//! The thread of a node that computes parts of steps.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Instant;

use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::against_all::{AgainstAll, Engines, Setup};
use super::{Node, NodeError, RankSource, RouteError, Router, StepPush};
use crate::cluster::messages::{Done, LanePart, RankTask, Ranked, Task, ToLeader};
use crate::coordinator::{Failure, Vote};
use crate::executor::PulledRows;
use crate::ids::{Generation, LayoutVersion, Step, TableName, WorkerId};
use crate::kernel::{Backend, StepSpec};
use crate::sampler::{Plan, PlanError, PlanId, PlanSource, Planner};
use crate::server::{Caller, ServerError};

/// Work for the thread.
#[derive(Debug)]
pub(super) enum Work {
    /// The holders of shards have changed.
    Configure {
        /// Generation of the holders.
        generation: Generation,
        /// Connections to them.
        router: Router,
        /// Arguments of steps and rankings against all entities.
        setup: Box<Setup>,
    },
    /// Compute a part of a step.
    Start(Task),
    /// Rank facts.
    Rank(RankTask),
}

/// Results for the leader.
#[derive(Clone, Debug)]
pub(super) struct Computed {
    out: mpsc::Sender<ToLeader>,
}

impl Computed {
    pub fn new(out: mpsc::Sender<ToLeader>) -> Computed {
        Computed { out }
    }

    fn send(&self, message: ToLeader) {
        // The session may be over.
        let _ = self.out.blocking_send(message);
    }
}

/// Reason why a part was not computed.
#[derive(Debug)]
pub(super) enum Unfinished {
    /// The part is not wanted any more: the nodes have changed.
    Superseded(String),
    /// Another node cannot be reached.
    Unreachable(WorkerId, String),
    /// The node cannot go on.
    Failed(Failure),
}

impl Unfinished {
    /// The reason as a failure of the node.
    fn into_failure(self) -> Failure {
        match self {
            Unfinished::Failed(failure) => failure,
            Unfinished::Superseded(message) | Unfinished::Unreachable(_, message) => {
                Failure::Other { message }
            }
        }
    }
}

/// Starts the thread, which ends when the sender of `work` is dropped.
///
/// # Errors
/// [`NodeError::Server`] if the engine cannot be opened again, or there is no thread.
pub(super) fn compute(
    node: &Node,
    worker: WorkerId,
    work: Receiver<Work>,
    computed: Computed,
) -> Result<(), NodeError> {
    let engine = node.engine.another()?;
    let engines = Engines::new(node.engine.another()?);
    let options = node.options.clone();
    let runtime = Handle::current();
    let panicked = computed.clone();
    let run = move || {
        let mut computer = Computer {
            engine: Some(engine),
            spec: options.spec,
            source: options.source,
            runtime,
            rows: None,
            router: None,
            plan: None,
            values: Vec::new(),
            queries_travel: options.against_all,
            ranking: options.ranking,
            against_all: None,
            engines,
        };
        let threads = options.threads;
        let pool = threads.map(|threads| ThreadPoolBuilder::new().num_threads(threads).build());
        match pool.transpose() {
            Ok(pool) => computer.work(pool.as_ref(), &work, &computed),
            Err(error) => {
                let message = format!("no threads: {error}");
                computed.send(ToLeader::Failed(Failure::Other { message }));
            }
        }
    };
    let guarded = move || {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
            let message = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            panicked.send(ToLeader::Failed(Failure::Panicked { message }));
        }
    };
    let started = thread::Builder::new()
        .name(worker.to_string())
        .spawn(guarded);
    match started {
        Ok(_) => Ok(()),
        Err(error) => {
            tracing::error!(%error, "no thread");
            Err(NodeError::Server(ServerError::Stopped))
        }
    }
}

struct Computer {
    /// The engine, until the copies of rows take it.
    engine: Option<Backend>,
    spec: StepSpec,
    source: Arc<dyn PlanSource>,
    runtime: Handle,
    rows: Option<PulledRows>,
    router: Option<(Generation, Router)>,
    /// Last plan made: lanes of one node share the plan of their step.
    plan: Option<(PlanId, Arc<Plan>)>,
    values: Vec<f32>,
    /// True if steps are against all entities: queries travel, and no rows are pulled into copies.
    queries_travel: bool,
    /// Source of the facts to rank.
    ranking: Option<Arc<dyn RankSource>>,
    /// Steps and rankings against all entities, in the present generation.
    against_all: Option<AgainstAll>,
    engines: Engines,
}

impl Computer {
    fn work(&mut self, pool: Option<&ThreadPool>, work: &Receiver<Work>, computed: &Computed) {
        let source = Arc::clone(&self.source);
        let mut planner = source.planner();
        while let Ok(work) = work.recv() {
            let task = match work {
                Work::Configure {
                    generation,
                    router,
                    setup,
                } => {
                    // The streams of the group before end first.
                    self.against_all = None;
                    match AgainstAll::new(*setup, router.clone(), self.spec) {
                        Ok(all) => self.against_all = Some(all),
                        Err(unfinished) => {
                            computed.send(ToLeader::Failed(unfinished.into_failure()));
                            return;
                        }
                    }
                    self.router = Some((generation, router));
                    continue;
                }
                Work::Rank(task) => {
                    let ranked = match pool {
                        Some(pool) => pool.install(|| self.rank(&task)),
                        None => self.rank(&task),
                    };
                    for message in ranked {
                        computed.send(message);
                    }
                    continue;
                }
                Work::Start(task) => task,
            };
            let start = Instant::now();
            let done = match pool {
                Some(pool) => pool.install(|| self.task(&task, &mut *planner)),
                None => self.task(&task, &mut *planner),
            };
            let message = match done {
                Ok((vote, losses)) => ToLeader::Done(Done {
                    generation: task.generation,
                    step: task.step,
                    vote,
                    losses,
                    queries: task.parts.iter().map(|part| part.queries.len()).sum(),
                    seconds: start.elapsed().as_secs_f64(),
                }),
                Err(Unfinished::Superseded(reason)) => {
                    tracing::debug!(generation = %task.generation, step = %task.step, reason, "not wanted any more");
                    continue;
                }
                Err(Unfinished::Unreachable(worker, reason)) => {
                    ToLeader::Unreachable { worker, reason }
                }
                Err(Unfinished::Failed(failure)) => {
                    computed.send(ToLeader::Failed(failure));
                    return;
                }
            };
            computed.send(message);
        }
    }

    fn task(
        &mut self,
        task: &Task,
        planner: &mut dyn Planner,
    ) -> Result<(Vote, Vec<(u32, f64)>), Unfinished> {
        let router = match &self.router {
            Some((generation, router)) if *generation == task.generation => router.clone(),
            // The configuration of the generation failed, and another follows.
            _ => return Err(Unfinished::Superseded("not configured".to_owned())),
        };
        if self.queries_travel {
            let plan = self.whole_plan(task.plan, planner)?;
            let all = self.against_all.as_mut();
            let all = all.ok_or_else(|| failed("there are no shards"))?;
            return all.task(task, &plan, &mut self.engines, &self.runtime);
        }
        let mut losses = Vec::with_capacity(task.parts.len());
        for part in &task.parts {
            let plan = self.plan(part, planner)?;
            match self.part(task, part, &router, plan)? {
                (Vote::Ready, loss) => losses.push((part.lane, loss * part.queries.len() as f64)),
                (vote, _) => return Ok((vote, losses)),
            }
        }
        Ok((Vote::Ready, losses))
    }

    /// Ranks facts together with the other nodes. Returns messages for the leader: nothing if another node tells the
    /// leader the counts, or if this node is not of the generation.
    fn rank(&mut self, task: &RankTask) -> Vec<ToLeader> {
        let all = self.against_all.as_mut();
        let Some(all) = all.filter(|all| all.setup.rank.generation() == task.generation) else {
            return Vec::new();
        };
        let batch = self.ranking.as_ref();
        let batch = batch.and_then(|source| source.batch(task.facts.clone()));
        let ranked = batch
            .ok_or_else(|| failed(format!("there are no facts {:?}", task.facts)))
            .and_then(|batch| all.rank(task, &batch, self.engines.ranking(), &self.runtime));
        let told = |counts| {
            ToLeader::Ranked(Ranked {
                generation: task.generation,
                facts: task.facts.clone(),
                counts,
            })
        };
        match ranked {
            Ok(counts) if all.setup.rank.leads() => vec![told(Some(counts))],
            Ok(_) => Vec::new(),
            Err(Unfinished::Superseded(reason)) => {
                tracing::debug!(generation = %task.generation, reason, "not ranked");
                vec![told(None)]
            }
            Err(Unfinished::Unreachable(worker, reason)) => {
                vec![told(None), ToLeader::Unreachable { worker, reason }]
            }
            Err(Unfinished::Failed(failure)) => vec![told(None), ToLeader::Failed(failure)],
        }
    }

    /// Plan of a step.
    fn whole_plan(
        &mut self,
        id: PlanId,
        planner: &mut dyn Planner,
    ) -> Result<Arc<Plan>, Unfinished> {
        if let Some((last, plan)) = &self.plan
            && *last == id
        {
            return Ok(Arc::clone(plan));
        }
        let plan = Arc::new(planner.plan(id).map_err(failed)?);
        self.plan = Some((id, Arc::clone(&plan)));
        Ok(plan)
    }

    /// Part of the plan of a step.
    fn plan(&mut self, part: &LanePart, planner: &mut dyn Planner) -> Result<Plan, Unfinished> {
        let plan = self.whole_plan(part.plan, planner)?;
        let (queries, found) = (part.queries.clone(), plan.queries.len());
        if queries.start > queries.end || queries.end > found {
            return Err(failed(PlanError::NoQueries { queries, found }));
        }
        Ok(plan.slice(queries))
    }

    /// Computes one lane: pulls its rows, computes its gradients, and stages them at the holders.
    fn part(
        &mut self,
        task: &Task,
        part: &LanePart,
        router: &Router,
        plan: Plan,
    ) -> Result<(Vote, f64), Unfinished> {
        let caller = Caller {
            // To the shards, each lane of a step is a worker of its own.
            worker: WorkerId(part.lane),
            generation: task.generation,
            step: Step(task.first),
            layout: router.layout(),
        };
        let samples = plan.queries.len() as f32;
        let values = std::mem::take(&mut self.values);
        let runtime = self.runtime.clone();
        let rows = self.rows(router.layout(), router)?;
        let prepared = rows.prepare(plan);
        let mut values = values;
        for table in TableName::ALL {
            let needed = rows.needed(&prepared, table);
            let pulled = router.pull(caller, table, &needed, &mut values);
            runtime.block_on(pulled).map_err(unfinished)?;
            rows.fill(&prepared, table, &values).map_err(lost)?;
        }
        let (loss, squares) = rows.gradients(&prepared).map_err(lost)?;
        if !(squares.is_finite() && loss.is_finite()) {
            let what = format!("loss {loss}, sum of squared gradients {squares}");
            return Ok((Vote::NotFinite { what }, loss));
        }
        let push = StepPush {
            caller,
            samples,
            squares,
            parts: rows.parts(&prepared).map_err(lost)?,
        };
        runtime.block_on(router.push(push)).map_err(unfinished)?;
        self.values = values;
        Ok((Vote::Ready, loss))
    }

    /// Copies of rows for a layout.
    fn rows(
        &mut self,
        layout: LayoutVersion,
        router: &Router,
    ) -> Result<&mut PulledRows, Unfinished> {
        let rows = match self.rows.take() {
            Some(rows) if rows.layout() == layout => rows,
            old => {
                let engine = match old {
                    Some(old) => Some(old.into_engine()),
                    None => self.engine.take(),
                };
                let engine = engine.ok_or_else(|| failed("there is no engine"))?;
                PulledRows::new(engine, router.map(), self.spec).map_err(lost)?
            }
        };
        Ok(self.rows.insert(rows))
    }
}

pub(super) fn failed(error: impl ToString) -> Unfinished {
    Unfinished::Failed(Failure::Other {
        message: error.to_string(),
    })
}

pub(super) fn lost(error: crate::kernel::KernelError) -> Unfinished {
    Unfinished::Failed(Failure::DeviceLost {
        message: error.to_string(),
    })
}

pub(super) fn unfinished(RouteError { worker, error }: RouteError) -> Unfinished {
    match error {
        ServerError::Generation { .. }
        | ServerError::UnknownWorker { .. }
        | ServerError::Reconfigured { .. }
        | ServerError::LayoutChanged
        | ServerError::Late { .. }
        | ServerError::PastStep { .. }
        | ServerError::NotReached { .. }
        | ServerError::Unled { .. }
        | ServerError::Stopped => Unfinished::Superseded(error.to_string()),
        error if error.is_lost() => Unfinished::Unreachable(worker, error.to_string()),
        ServerError::Kernel(error) => Unfinished::Failed(Failure::DeviceLost {
            message: error.to_string(),
        }),
        error => failed(error),
    }
}
