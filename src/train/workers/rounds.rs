//! Training steps of one step of the coordinator: plans that are left, in progress and done.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::plans::{Part, PlanCache};
use crate::sampler::{PlanError, StepSize};
use crate::server::WorkerId;
use crate::train::plan_loader::StepLoader;

/// One plan whose slices workers share (sync), or several plans, each for one worker (async).
#[derive(Debug)]
pub(super) struct Round<'a> {
    loader: &'a StepLoader<'a>,
    /// Cache from which workers take the plans.
    cache: &'a PlanCache,
    steps: Vec<StepSize>,
    /// Most plans of the round.
    most: usize,
    sync: bool,
    left: VecDeque<u32>,
    under_way: BTreeMap<WorkerId, u32>,
    done: BTreeSet<u32>,
    /// Loss of each lane (sync) or of each plan (async).
    losses: BTreeMap<u32, f64>,
    /// Numbers of plans for which a worker found losses or gradients that are not finite.
    accused: BTreeSet<u32>,
}

impl<'a> Round<'a> {
    /// Starts a round of one plan that workers share.
    pub fn shared(
        loader: &'a StepLoader<'a>,
        cache: &'a PlanCache,
    ) -> Result<Round<'a>, PlanError> {
        Round::new(loader, cache, 1, true)
    }

    /// Starts a round of at most `most` plans, each for one worker.
    pub fn dealt(
        loader: &'a StepLoader<'a>,
        cache: &'a PlanCache,
        most: usize,
    ) -> Result<Round<'a>, PlanError> {
        Round::new(loader, cache, most, false)
    }

    fn new(
        loader: &'a StepLoader<'a>,
        cache: &'a PlanCache,
        most: usize,
        sync: bool,
    ) -> Result<Round<'a>, PlanError> {
        cache.clear();
        let mut round = Round {
            loader,
            cache,
            steps: Vec::new(),
            most,
            sync,
            left: VecDeque::new(),
            under_way: BTreeMap::new(),
            done: BTreeSet::new(),
            losses: BTreeMap::new(),
            accused: BTreeSet::new(),
        };
        round.fetch()?;
        Ok(round)
    }

    /// Adds the loader's next step; waits until its plan is made, where plans are shared.
    fn fetch(&mut self) -> Result<(), PlanError> {
        if self.steps.len() < self.most
            && let Some(loaded) = self.loader.next()?
        {
            self.left.push_back(self.steps.len() as u32);
            if let Some(plan) = &loaded.plan {
                self.cache.insert(plan);
            }
            self.steps.push(loaded.size);
        }
        Ok(())
    }

    /// Returns whether there are no plans, because the epoch is over.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Sizes of the plan that workers share.
    pub fn size(&self) -> StepSize {
        self.steps[0]
    }

    /// Starts the round, or starts it again with other workers. Plans in progress are left for others, unless
    /// `pushed` says that the server received their gradients.
    pub fn start(&mut self, pushed: impl Fn(WorkerId, u32) -> bool) {
        if self.sync {
            // The step is repeated.
            self.losses.clear();
            return;
        }
        for (worker, number) in std::mem::take(&mut self.under_way) {
            if pushed(worker, number) {
                self.done.insert(number);
            } else {
                self.left.push_front(number);
            }
        }
    }

    /// Takes the next plan for one worker; `None` if no plans are left, or in sync mode.
    ///
    /// # Errors
    /// [`PlanError`] of the source.
    pub fn next(&mut self, worker: WorkerId) -> Result<Option<Part>, PlanError> {
        if self.sync {
            return Ok(None);
        }
        if self.left.is_empty() {
            self.fetch()?;
        }
        let Some(number) = self.left.pop_front() else {
            return Ok(None);
        };
        self.under_way.insert(worker, number);
        let step = self.steps[number as usize];
        Ok(Some(Part {
            name: number,
            plan: step.id,
            queries: 0..step.queries,
        }))
    }

    /// Records that a worker has staged its lanes or pushed its plan. `losses` are the numbers of these lanes
    /// or plans, each with its loss times its number of queries.
    pub fn finished(&mut self, worker: WorkerId, losses: &[(u32, f64)]) {
        for &(name, loss) in losses {
            let plan = if self.sync { 0 } else { name as usize };
            let Some(step) = self.steps.get(plan) else {
                continue;
            };
            self.losses.insert(name, loss / step.queries.max(1) as f64);
            if !self.sync {
                self.done.insert(name);
                if self.under_way.get(&worker) == Some(&name) {
                    self.under_way.remove(&worker);
                }
            }
        }
    }

    /// Leaves the plan of a worker that failed for others.
    pub fn forget(&mut self, worker: WorkerId) {
        if let Some(number) = self.under_way.remove(&worker) {
            self.left.push_front(number);
        }
    }

    /// Returns whether a worker has found its part not finite.
    pub fn has_accused(&self) -> bool {
        !self.accused.is_empty()
    }

    /// Records that a worker found its part not finite; returns true if another worker had found the same
    /// before.
    pub fn accuse(&mut self, worker: WorkerId) -> bool {
        let number = self.under_way.get(&worker).copied().unwrap_or(0);
        !self.accused.insert(number)
    }

    /// Ends the round after the plans that have been taken so far.
    pub fn shorten(&mut self) {
        self.most = self.steps.len();
    }

    /// Workers with a plan in progress.
    pub fn in_flight(&self) -> impl Iterator<Item = WorkerId> {
        self.under_way.keys().copied()
    }

    /// Sum of the losses, added up in a fixed order.
    pub fn loss(&self) -> f64 {
        self.losses.values().sum()
    }

    /// Sizes of the steps of the round.
    pub fn into_steps(self) -> Vec<StepSize> {
        self.steps
    }
}
