//! The training steps of one step of the coordinator: what is left, under way and done.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::server::{StoragePlan, WorkerId};
use crate::train::ahead::Plans;

/// One plan whose slices workers share (sync), or several plans for one worker each (async).
#[derive(Debug)]
pub(super) struct Round<'a> {
    source: &'a Plans,
    plans: Vec<StoragePlan>,
    /// How many plans there may be.
    most: usize,
    sync: bool,
    left: VecDeque<u32>,
    under_way: BTreeMap<WorkerId, u32>,
    done: BTreeSet<u32>,
    /// The loss of each lane (sync) or of each plan (async).
    losses: BTreeMap<u32, f64>,
    /// Plans that a worker found not finite.
    accused: BTreeSet<u32>,
}

impl<'a> Round<'a> {
    /// Of one plan that workers share.
    pub fn shared(source: &'a Plans) -> Round<'a> {
        Round::new(source, 1, true)
    }

    /// Of so many plans, each for one worker.
    pub fn dealt(source: &'a Plans, most: usize) -> Round<'a> {
        Round::new(source, most, false)
    }

    fn new(source: &'a Plans, most: usize, sync: bool) -> Round<'a> {
        let mut round = Round {
            source,
            plans: Vec::new(),
            most,
            sync,
            left: VecDeque::new(),
            under_way: BTreeMap::new(),
            done: BTreeSet::new(),
            losses: BTreeMap::new(),
            accused: BTreeSet::new(),
        };
        round.fetch();
        round
    }

    /// Takes in the next plan, as soon as it is made.
    fn fetch(&mut self) {
        if self.plans.len() < self.most
            && let Some(plan) = self.source.next()
        {
            self.left.push_back(self.plans.len() as u32);
            self.plans.push(plan);
        }
    }

    /// Whether there is nothing to do: the epoch is over.
    pub fn is_empty(&self) -> bool {
        self.plans.is_empty()
    }

    /// The plan that workers share.
    pub fn plan(&self) -> StoragePlan {
        self.plans[0].clone()
    }

    /// Begins, or begins again with others: what was under way is left, unless the server says
    /// that it got there.
    pub fn start(&mut self, pushed: impl Fn(WorkerId, u32) -> bool) {
        if self.sync {
            // The step is made anew.
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

    /// The next plan for a worker alone.
    pub fn next(&mut self, worker: WorkerId) -> Option<(u32, StoragePlan)> {
        if self.sync {
            return None;
        }
        if self.left.is_empty() {
            self.fetch();
        }
        let number = self.left.pop_front()?;
        self.under_way.insert(worker, number);
        Some((number, self.plans[number as usize].clone()))
    }

    /// A worker has staged its lanes or pushed its plan; the loss of each, times its queries.
    pub fn finished(&mut self, worker: WorkerId, losses: &[(u32, f64)]) {
        for &(name, loss) in losses {
            let plan = if self.sync { 0 } else { name as usize };
            let Some(plan) = self.plans.get(plan) else {
                continue;
            };
            self.losses
                .insert(name, loss / plan.queries.len().max(1) as f64);
            if !self.sync {
                self.done.insert(name);
                if self.under_way.get(&worker) == Some(&name) {
                    self.under_way.remove(&worker);
                }
            }
        }
    }

    /// A worker did not get through: its plan is left for others.
    pub fn forget(&mut self, worker: WorkerId) {
        if let Some(number) = self.under_way.remove(&worker) {
            self.left.push_front(number);
        }
    }

    /// Whether a worker has found its part not finite.
    pub fn has_accused(&self) -> bool {
        !self.accused.is_empty()
    }

    /// A worker found its part not finite; true if another one had found so before.
    pub fn accuse(&mut self, worker: WorkerId) -> bool {
        let number = self.under_way.get(&worker).copied().unwrap_or(0);
        !self.accused.insert(number)
    }

    /// No more plans than have been dealt.
    pub fn shorten(&mut self) {
        self.most = self.plans.len();
    }

    /// Who is at work on a plan alone.
    pub fn in_flight(&self) -> impl Iterator<Item = WorkerId> {
        self.under_way.keys().copied()
    }

    /// The loss of all plans, added up in a fixed order.
    pub fn loss(&self) -> f64 {
        self.losses.values().sum()
    }

    /// The plans.
    pub fn into_plans(self) -> Vec<StoragePlan> {
        self.plans
    }
}
