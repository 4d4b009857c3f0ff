//! The training steps of one step of the coordinator: what is left, under way and done.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::sampler::Plan;
use crate::server::{UpdateMode, WorkerId};

/// One plan whose slices workers share (sync), or several plans for one worker each (async).
#[derive(Debug)]
pub(super) struct Round {
    plans: Vec<Arc<Plan>>,
    sync: bool,
    left: VecDeque<usize>,
    under_way: BTreeMap<WorkerId, usize>,
    /// Loss of each worker's slice (sync) or of each plan (async), weighted by queries.
    losses: BTreeMap<u64, f64>,
}

impl Round {
    pub fn new(plans: &[Arc<Plan>], mode: UpdateMode) -> Round {
        Round {
            plans: plans.to_vec(),
            sync: matches!(mode, UpdateMode::Sync { .. }),
            left: (0..plans.len()).collect(),
            under_way: BTreeMap::new(),
            losses: BTreeMap::new(),
        }
    }

    /// The plan that workers share.
    pub fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.plans[0])
    }

    /// Begins, or begins again: what was under way is left.
    pub fn start(&mut self) {
        if self.sync {
            // The step is made anew by others.
            self.losses.clear();
        }
        for (_, number) in std::mem::take(&mut self.under_way) {
            self.left.push_front(number);
        }
    }

    /// The next plan for a worker alone.
    pub fn next(&mut self, worker: WorkerId) -> Option<(usize, Arc<Plan>)> {
        if self.sync {
            return None;
        }
        let number = self.left.pop_front()?;
        self.under_way.insert(worker, number);
        Some((number, Arc::clone(&self.plans[number])))
    }

    /// A worker has staged or pushed its part.
    pub fn finished(&mut self, worker: WorkerId, number: usize, loss: f64, queries: usize) {
        let plan = &self.plans[number];
        let share = queries as f64 / plan.queries.len().max(1) as f64;
        let key = if self.sync { u64::from(worker.0) } else { number as u64 };
        self.losses.insert(key, loss * share);
        if self.under_way.get(&worker) == Some(&number) {
            self.under_way.remove(&worker);
        }
    }

    /// A worker did not get through: its plan is left for others.
    pub fn forget(&mut self, worker: WorkerId) {
        if let Some(number) = self.under_way.remove(&worker) {
            self.left.push_front(number);
        }
    }

    /// Who is at work on a plan alone.
    pub fn in_flight(&self) -> Vec<WorkerId> {
        self.under_way.keys().copied().collect()
    }

    /// The loss of all plans, added up in a fixed order.
    pub fn loss(&self) -> f64 {
        self.losses.values().sum()
    }
}
