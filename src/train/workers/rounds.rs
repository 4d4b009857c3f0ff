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
    left: VecDeque<u32>,
    under_way: BTreeMap<WorkerId, u32>,
    /// The loss of each lane (sync) or of each plan (async).
    losses: BTreeMap<u32, f64>,
}

impl Round {
    pub fn new(plans: &[Arc<Plan>], mode: UpdateMode) -> Round {
        Round {
            plans: plans.to_vec(),
            sync: matches!(mode, UpdateMode::Sync { .. }),
            left: (0..plans.len() as u32).collect(),
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
    pub fn next(&mut self, worker: WorkerId) -> Option<(u32, Arc<Plan>)> {
        if self.sync {
            return None;
        }
        let number = self.left.pop_front()?;
        self.under_way.insert(worker, number);
        Some((number, Arc::clone(&self.plans[number as usize])))
    }

    /// A worker has staged its lanes or pushed its plan; the loss of each, times its queries.
    pub fn finished(&mut self, worker: WorkerId, losses: &[(u32, f64)]) {
        for &(name, loss) in losses {
            let plan = if self.sync { 0 } else { name as usize };
            let queries = self.plans[plan].queries.len().max(1);
            self.losses.insert(name, loss / queries as f64);
        }
        if !self.sync {
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
