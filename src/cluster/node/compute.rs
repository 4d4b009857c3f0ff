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
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

use super::against_all::{AgainstAll, Engines, Setup};
use super::ahead::{all, missing, of_others, untouched};
use super::router::{Answered, Requests, Wanted};
use super::unfinished::{Unfinished, failed, lost, unfinished};
use super::{Node, NodeError, RankSource, Router, StepPush};
use crate::cluster::messages::{Done, LanePart, RankTask, Ranked, Task, ToLeader};
use crate::coordinator::{Failure, Vote};
use crate::executor::{PulledPlan, PulledRows};
use crate::ids::{Generation, LayoutVersion, Step, WorkerId};
use crate::kernel::{Backend, StepSpec};
use crate::sampler::{PartialPlan, PlanError, PlanId, PlanSource, Planner};
use crate::server::{Caller, ServerError};

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
    /// Starts to compute for a worker, and returns at once. The work ends when `work` does; results go to `out`.
    fn start(
        &self,
        worker: WorkerId,
        work: mpsc::UnboundedReceiver<Work>,
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

/// Most lanes that are prepared before their turn: one whose rows are requested while the lane before it is computed, and
/// one that is prepared while other nodes finish the step.
const AHEAD: usize = 2;

struct Computer {
    /// The engine, until the copies of rows take it.
    engine: Option<Backend>,
    spec: StepSpec,
    source: Arc<dyn PlanSource>,
    runtime: Handle,
    rows: Option<PulledRows>,
    router: Option<(Generation, Router)>,
    /// Last plan made, with its queries: lanes of one node share the plan of their step.
    plan: Option<(PlanId, Range<usize>, Arc<PartialPlan>)>,
    /// Lanes that are expected next, in order.
    next: VecDeque<Prepared>,
    /// True if steps are against all entities: queries travel, and no rows are pulled into copies.
    queries_travel: bool,
    /// Source of the facts to rank.
    ranking: Option<Arc<dyn RankSource>>,
    /// Steps and rankings against all entities, in the present generation.
    against_all: Option<AgainstAll>,
    engines: Engines,
}

/// Lane of a step, before it is computed.
#[derive(Debug)]
struct Prepared {
    part: LanePart,
    /// Layout by which the plan was prepared.
    layout: LayoutVersion,
    plan: PulledPlan,
    /// Plan of the lane's step.
    of: Arc<PartialPlan>,
    /// Rows that were requested ahead.
    early: Option<Early>,
}

/// Rows that were requested before the lane's turn.
#[derive(Debug)]
struct Early {
    generation: Generation,
    /// Step of the shards for which the values are valid.
    step: u64,
    wanted: Vec<Wanted>,
    requests: Requests<Answered>,
}

/// Place of a lane in the order in which a node computes them.
#[derive(Clone, Debug)]
struct Turn {
    /// Number of the lane among those of the node.
    number: usize,
    plan: PlanId,
    /// Step of the shards, from 0.
    step: u64,
}

impl Turn {
    /// The lane, if the node has the same lanes in all steps.
    fn part(&self, parts: &[LanePart]) -> LanePart {
        LanePart {
            plan: self.plan,
            ..parts[self.number].clone()
        }
    }
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
                    ToLeader::Unreachable { worker, reason }
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
        self.rows(&router)?;
        let mut losses = Vec::with_capacity(task.parts.len());
        let (mut pushes, mut vote) = (Vec::new(), Vote::Ready);
        for (number, part) in task.parts.iter().enumerate() {
            let turn = Turn {
                number,
                plan: part.plan,
                step: task.first,
            };
            let layout = router.layout();
            let matches = |next: &Prepared| next.part == *part && next.layout == layout;
            let lane = match self.next.pop_front().filter(matches) {
                Some(lane) => lane,
                None => {
                    self.next.clear();
                    self.prepare(part, span(&task.parts), planner)?
                }
            };
            let (voted, loss) = self.lane(task, &turn, lane, &router, planner, &mut pushes)?;
            vote = voted;
            if vote != Vote::Ready {
                break;
            }
            losses.push((part.lane, loss * part.queries.len() as f64));
        }
        // Also after a vote against the step: a push that comes late would be staged for the step's repetition.
        for mut push in pushes {
            let ended = async {
                while push.next().await?.is_some() {}
                Ok(())
            };
            self.runtime.block_on(ended).map_err(unfinished)?;
        }
        Ok((vote, losses))
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

    /// Turn after another, if the node has the same lanes in the step after it.
    fn after(&self, turn: &Turn, parts: &[LanePart]) -> Option<Turn> {
        if turn.number + 1 < parts.len() {
            return Some(Turn {
                number: turn.number + 1,
                ..turn.clone()
            });
        }
        let plan = PlanId {
            step: turn.plan.step + 1,
            ..turn.plan
        };
        if plan.step >= self.source.steps() {
            return None;
        }
        let queries = |plan| self.source.size(plan).ok().map(|size| size.queries);
        let same = queries(plan)? == queries(turn.plan)?;
        same.then_some(Turn {
            number: 0,
            plan,
            step: turn.step + 1,
        })
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
        let Some(last) = task.parts.last() else {
            return;
        };
        let mut turn = Turn {
            number: task.parts.len() - 1,
            plan: last.plan,
            step: task.first,
        };
        for ahead in 0..AHEAD {
            let Some(next) = self.after(&turn, &task.parts) else {
                return;
            };
            if ahead == self.next.len() {
                let part = next.part(&task.parts);
                match self.prepare(&part, span(&task.parts), planner) {
                    Ok(lane) => self.next.push_back(lane),
                    Err(_) => return,
                }
            }
            turn = next;
        }
    }

    /// Plan of a step for some of its queries.
    fn plan(
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

    /// Prepares a lane for the copies of rows. `span` has the queries of all lanes of the step that this node computes.
    fn prepare(
        &mut self,
        part: &LanePart,
        span: Range<usize>,
        planner: &mut dyn Planner,
    ) -> Result<Prepared, Unfinished> {
        let of = self.plan(part.plan, span, planner)?;
        let (queries, found) = (part.queries.clone(), of.plan.queries.len());
        if queries.start > queries.end || queries.end > found {
            return Err(failed(PlanError::NoQueries { queries, found }));
        }
        let rows = self.copies()?;
        Ok(Prepared {
            part: part.clone(),
            layout: rows.layout(),
            plan: rows.prepare(of.plan.slice(queries)),
            of,
            early: None,
        })
    }

    /// Computes one lane: pulls its rows, computes its gradients, and sends them to the holders. Meanwhile, prepares the
    /// lane that is expected next, and requests such of its rows as do not change before its turn.
    fn lane(
        &mut self,
        task: &Task,
        turn: &Turn,
        lane: Prepared,
        router: &Router,
        planner: &mut dyn Planner,
        pushes: &mut Vec<Requests<()>>,
    ) -> Result<(Vote, f64), Unfinished> {
        let caller = Caller {
            // To the shards, each lane of a step is a worker of its own.
            worker: WorkerId(lane.part.lane),
            generation: task.generation,
            step: Step(task.first),
            layout: router.layout(),
        };
        let runtime = self.runtime.clone();
        let (plan, samples) = (lane.plan, lane.part.queries.len() as f32);
        let shards = plan.shards();
        let mut wanted = all(shards);
        if let Some(early) = lane.early
            && (early.generation, early.step) == (task.generation, task.first)
        {
            let missing = missing(shards, &early.wanted);
            if self.fill(&plan, router, early.requests).is_ok() {
                wanted = missing;
            }
        }
        let pulls = router.pulls(shards, wanted);
        let (requests, own) = router.send(&runtime, caller, pulls).map_err(unfinished)?;
        for pull in own {
            let answered = runtime.block_on(router.pull(caller, pull));
            self.fill_answer(&plan, router, answered.map_err(unfinished)?)?;
        }
        // While other nodes answer.
        let after = self.after(turn, &task.parts);
        if let (Some(after), true) = (&after, self.next.is_empty()) {
            let part = after.part(&task.parts);
            // A failure is left to the lane's turn.
            let next = self.prepare(&part, span(&task.parts), planner);
            self.next.extend(next);
        }
        self.fill(&plan, router, requests)?;
        if let (Some(after), Some(next)) = (after, self.next.front_mut())
            && next.part == after.part(&task.parts)
        {
            let shards = next.plan.shards();
            let wanted = match after.step == task.first {
                true => of_others(router, all(shards)),
                false => of_others(router, untouched(shards, &lane.of, router.map())),
            };
            let pulls = router.pulls(shards, wanted.clone());
            if !pulls.is_empty() {
                let (requests, _) = router.send(&runtime, caller, pulls).map_err(unfinished)?;
                next.early = Some(Early {
                    generation: task.generation,
                    step: after.step,
                    wanted,
                    requests,
                });
            }
        }
        let rows = self.copies()?;
        let (loss, squares) = rows.gradients(&plan).map_err(lost)?;
        if !(squares.is_finite() && loss.is_finite()) {
            let what = format!("loss {loss}, sum of squared gradients {squares}");
            return Ok((Vote::NotFinite { what }, loss));
        }
        let push = StepPush {
            caller,
            samples,
            squares,
            parts: rows.parts(&plan).map_err(lost)?,
        };
        pushes.push(router.push(&runtime, push).map_err(unfinished)?);
        Ok((Vote::Ready, loss))
    }

    /// Copies the answers to requests as they come.
    fn fill(
        &mut self,
        plan: &PulledPlan,
        router: &Router,
        mut requests: Requests<Answered>,
    ) -> Result<(), Unfinished> {
        let runtime = self.runtime.clone();
        while let Some(answered) = runtime.block_on(requests.next()).map_err(unfinished)? {
            self.fill_answer(plan, router, answered)?;
        }
        Ok(())
    }

    fn fill_answer(
        &mut self,
        plan: &PulledPlan,
        router: &Router,
        answered: Answered,
    ) -> Result<(), Unfinished> {
        let rows = self.copies()?;
        let mut values = &answered.values[..];
        for Wanted { shard, positions } in &answered.wanted {
            let wanted = &plan.shards()[*shard];
            let width = router.map().width(wanted.shard.table);
            let count = positions.as_ref().map_or(wanted.rows.len(), Vec::len);
            let (now, later) = values.split_at((count * width).min(values.len()));
            rows.fill(plan, *shard, positions.as_deref(), now)
                .map_err(lost)?;
            values = later;
        }
        router.give_back(answered.values);
        Ok(())
    }

    fn copies(&mut self) -> Result<&mut PulledRows, Unfinished> {
        let rows = self.rows.as_mut();
        rows.ok_or_else(|| failed("there are no copies of rows"))
    }

    /// Makes room for copies of rows by the router's layout, if it is not there.
    fn rows(&mut self, router: &Router) -> Result<(), Unfinished> {
        let engine = match self.rows.take() {
            Some(rows) if rows.layout() == router.layout() => {
                self.rows = Some(rows);
                return Ok(());
            }
            Some(old) => Some(old.into_engine()),
            None => self.engine.take(),
        };
        let engine = engine.ok_or_else(|| failed("there is no engine"))?;
        self.rows = Some(PulledRows::new(engine, router.map(), self.spec).map_err(lost)?);
        Ok(())
    }
}

/// Queries of all parts.
fn span(parts: &[LanePart]) -> Range<usize> {
    let starts = parts.iter().map(|part| part.queries.start);
    let ends = parts.iter().map(|part| part.queries.end);
    starts.min().unwrap_or(0)..ends.max().unwrap_or(0)
}
