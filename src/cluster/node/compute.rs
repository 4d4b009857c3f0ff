//! The thread of a node that computes parts of steps.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, watch};

use super::against_all::{AgainstAll, Engines, Setup};
use super::lanes::Prepared;
use super::unfinished::{Unfinished, failed};
use super::{Node, NodeError, RankSource, Router};
use crate::cluster::messages::{Done, RankTask, Ranked, Task, ToLeader};
use crate::coordinator::{Failure, Vote};
use crate::executor::PulledRows;
use crate::ids::{Generation, WorkerId};
use crate::kernel::{Backend, StepSpec};
use crate::sampler::{PartialPlan, PlanId, PlanSource, Planner};
use crate::server::ServerError;

/// Work of a session.
#[derive(Debug)]
pub enum Work {
    /// The holders of shards have changed.
    Configure {
        /// Generation of the holders.
        generation: Generation,
        /// Connections to them.
        router: Router,
        /// Arguments of steps and rankings against all entities; `None` where there are none.
        against_all: Option<Box<Setup>>,
    },
    /// Compute a part of a step.
    Start(Task),
    /// Rank facts.
    Rank(RankTask),
}

/// Computes the parts of steps of a node's sessions.
pub trait Computing: fmt::Debug + Send + Sync {
    /// Starts to compute for a worker, and returns at once. The work ends when `work` does; results go to `out`. A step
    /// of a generation before the one that is `announced` is not wanted any more.
    fn start(
        &self,
        worker: WorkerId,
        work: mpsc::UnboundedReceiver<Work>,
        announced: watch::Receiver<Generation>,
        out: mpsc::Sender<ToLeader>,
    );
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

/// Starts the thread, which ends when the sender of `work` is dropped.
///
/// # Errors
/// [`NodeError::Server`] if the engine cannot be opened again, or there is no thread.
pub(super) fn compute(
    node: &Node,
    worker: WorkerId,
    mut work: mpsc::UnboundedReceiver<Work>,
    announced: watch::Receiver<Generation>,
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
            announced,
            rows: None,
            router: None,
            plan: None,
            next: VecDeque::new(),
            queries_travel: options.against_all,
            ranking: options.ranking,
            against_all: None,
            engines,
        };
        let threads = options.threads;
        let pool = threads.map(|threads| ThreadPoolBuilder::new().num_threads(threads).build());
        match pool.transpose() {
            Ok(pool) => computer.work(pool.as_ref(), &mut work, &computed),
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

/// State of the thread.
pub(super) struct Computer {
    /// The engine, until the copies of rows take it.
    pub(super) engine: Option<Backend>,
    pub(super) spec: StepSpec,
    pub(super) source: Arc<dyn PlanSource>,
    pub(super) runtime: Handle,
    /// Latest generation that the leader has announced.
    pub(super) announced: watch::Receiver<Generation>,
    pub(super) rows: Option<PulledRows>,
    router: Option<(Generation, Router)>,
    /// Last plan made, with its queries: lanes of one node share the plan of their step.
    plan: Option<(PlanId, Range<usize>, Arc<PartialPlan>)>,
    /// Lanes that are expected next, in order.
    pub(super) next: VecDeque<Prepared>,
    /// True if steps are against all entities: queries travel, and no rows are pulled into copies.
    queries_travel: bool,
    /// Source of the facts to rank.
    ranking: Option<Arc<dyn RankSource>>,
    /// Steps and rankings against all entities, in the present generation.
    against_all: Option<AgainstAll>,
    engines: Engines,
}

impl Computer {
    fn work(
        &mut self,
        pool: Option<&ThreadPool>,
        work: &mut mpsc::UnboundedReceiver<Work>,
        computed: &Computed,
    ) {
        let source = Arc::clone(&self.source);
        let mut planner = source.planner();
        let mut last = None;
        loop {
            let received = match (work.try_recv(), last.take()) {
                (Ok(received), _) => received,
                (Err(TryRecvError::Disconnected), _) => return,
                (Err(TryRecvError::Empty), Some(task)) => {
                    // While other nodes finish the step.
                    match pool {
                        Some(pool) => pool.install(|| self.prepare_ahead(&task, &mut *planner)),
                        None => self.prepare_ahead(&task, &mut *planner),
                    }
                    continue;
                }
                (Err(TryRecvError::Empty), None) => match work.blocking_recv() {
                    Some(received) => received,
                    None => return,
                },
            };
            let task = match received {
                Work::Configure {
                    generation,
                    router,
                    against_all,
                } => {
                    // The streams of the group before end first.
                    self.against_all = None;
                    let prepared = against_all
                        .map(|setup| AgainstAll::new(*setup, router.clone(), self.spec))
                        .transpose();
                    match prepared {
                        Ok(all) => self.against_all = all,
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
                    let generation = task.generation;
                    ToLeader::Unreachable {
                        generation,
                        worker,
                        reason,
                    }
                }
                Err(Unfinished::Failed(failure)) => {
                    computed.send(ToLeader::Failed(failure));
                    return;
                }
            };
            computed.send(message);
            last = Some(task);
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
            let plan = self.plan(task.plan, 0..usize::MAX, planner)?;
            let all = self.against_all.as_mut();
            let all = all.ok_or_else(|| failed("there are no shards"))?;
            return all.task(task, &plan, &mut self.engines, &self.runtime);
        }
        self.lanes(task, &router, planner)
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
                let generation = task.generation;
                let unreachable = ToLeader::Unreachable {
                    generation,
                    worker,
                    reason,
                };
                vec![told(None), unreachable]
            }
            Err(Unfinished::Failed(failure)) => vec![told(None), ToLeader::Failed(failure)],
        }
    }

    /// Prepares lanes of the steps after a task's. A failure is left to the lane's turn.
    fn prepare_ahead(&mut self, task: &Task, planner: &mut dyn Planner) {
        if self.queries_travel {
            let next = PlanId {
                step: task.plan.step + 1,
                ..task.plan
            };
            if next.step < self.source.steps() {
                // An error is told when the step's turn comes.
                let _ = self.plan(next, 0..usize::MAX, planner);
            }
            return;
        }
        self.prepare_lanes(task, planner);
    }

    /// Plan of a step for some of its queries.
    pub(super) fn plan(
        &mut self,
        id: PlanId,
        queries: Range<usize>,
        planner: &mut dyn Planner,
    ) -> Result<Arc<PartialPlan>, Unfinished> {
        if let Some((made, within, plan)) = &self.plan
            && *made == id
            && within.start <= queries.start
            && queries.end <= within.end
        {
            return Ok(Arc::clone(plan));
        }
        let plan = planner.plan_within(id, queries.clone()).map_err(failed)?;
        let plan = Arc::new(plan);
        self.plan = Some((id, queries, Arc::clone(&plan)));
        Ok(plan)
    }
}
