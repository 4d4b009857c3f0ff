//! Lanes of a step on pulled rows: prepared, pulled, computed and pushed.

use std::ops::Range;
use std::sync::Arc;

use super::ahead::{all, missing, of_others, untouched};
use super::compute::Computer;
use super::group::unless_over;
use super::router::{Answered, Requests, Wanted};
use super::unfinished::{Unfinished, failed, lost, unfinished};
use super::{RouteError, Router, StepPush};
use crate::cluster::messages::{LanePart, Task};
use crate::coordinator::Vote;
use crate::executor::{PulledPlan, PulledRows};
use crate::ids::{Generation, LayoutVersion, Step, WorkerId};
use crate::sampler::{PartialPlan, PlanError, PlanId, Planner};
use crate::server::Caller;

/// Most lanes that are prepared before their turn: one whose rows are requested while the lane before it is computed, and
/// one that is prepared while other nodes finish the step.
const AHEAD: usize = 2;

/// Lane of a step, before it is computed.
#[derive(Debug)]
pub(super) struct Prepared {
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
    /// Computes the lanes of a step on pulled rows.
    pub(super) fn lanes(
        &mut self,
        task: &Task,
        router: &Router,
        planner: &mut dyn Planner,
    ) -> Result<(Vote, Vec<(u32, f64)>), Unfinished> {
        self.rows(router)?;
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
            let (voted, loss) = self.lane(task, &turn, lane, router, planner, &mut pushes)?;
            vote = voted;
            if vote != Vote::Ready {
                break;
            }
            losses.push((part.lane, loss * part.queries.len() as f64));
        }
        // Also after a vote against the step: a push that comes late would be staged for the step's repetition.
        for mut push in pushes {
            self.wait(task.generation, async {
                while push.next().await?.is_some() {}
                Ok(())
            })?;
        }
        Ok((vote, losses))
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
    pub(super) fn prepare_lanes(&mut self, task: &Task, planner: &mut dyn Planner) {
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
            if (self.fill(task.generation, &plan, router, early.requests)).is_ok() {
                wanted = missing;
            }
        }
        let pulls = router.pulls(shards, wanted);
        let (requests, own) = router.send(&runtime, caller, pulls).map_err(unfinished)?;
        for pull in own {
            let answered = self.wait(task.generation, router.pull(caller, pull))?;
            self.fill_answer(&plan, router, answered)?;
        }
        // While other nodes answer.
        let after = self.after(turn, &task.parts);
        if let (Some(after), true) = (&after, self.next.is_empty()) {
            let part = after.part(&task.parts);
            // A failure is left to the lane's turn.
            let next = self.prepare(&part, span(&task.parts), planner);
            self.next.extend(next);
        }
        self.fill(task.generation, &plan, router, requests)?;
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
        generation: Generation,
        plan: &PulledPlan,
        router: &Router,
        mut requests: Requests<Answered>,
    ) -> Result<(), Unfinished> {
        while let Some(answered) = self.wait(generation, requests.next())? {
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

    /// Waits for requests of a generation, while no later one is announced: a node that is gone may answer late or never.
    fn wait<T>(
        &self,
        generation: Generation,
        request: impl Future<Output = Result<T, RouteError>>,
    ) -> Result<T, Unfinished> {
        self.runtime
            .block_on(unless_over(&self.announced, generation, request))
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
