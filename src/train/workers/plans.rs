//! Parts of plans for workers, and the cache from which workers take plans.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::sampler::{PlanError, PlanId, PlanSource};
use crate::server::{ParameterServer, StoragePlan};

/// Part of a training step. Workers receive no plans: each worker makes the plan of a step itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    /// Lane of the part (sync), or number of its plan in the round (async).
    pub name: u32,
    /// Step of the part.
    pub plan: PlanId,
    /// Range of the step's queries.
    pub queries: Range<usize>,
}

/// Plans of the current steps, shared by the workers of a process.
#[derive(Clone)]
pub(super) struct PlanCache {
    source: Arc<dyn PlanSource>,
    plans: Arc<Mutex<BTreeMap<PlanId, StoragePlan>>>,
}

impl fmt::Debug for PlanCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlanCache")
            .field("plans", &self.plans().keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl PlanCache {
    /// Makes an empty cache of plans from `source`.
    pub fn new(source: Arc<dyn PlanSource>) -> PlanCache {
        PlanCache {
            source,
            plans: Arc::default(),
        }
    }

    fn plans(&self) -> MutexGuard<'_, BTreeMap<PlanId, StoragePlan>> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a plan that a loader has made.
    pub fn insert(&self, plan: &StoragePlan) {
        self.plans().insert(plan.id(), plan.clone());
    }

    /// Removes all plans, when their steps are over.
    pub fn clear(&self) {
        self.plans().clear();
    }

    /// Returns a part of a plan, which comes from the cache or else from the source.
    ///
    /// # Errors
    /// [`PlanError`] of the source, or if the step does not have these queries.
    pub fn part(&self, server: &ParameterServer, part: &Part) -> Result<StoragePlan, PlanError> {
        let cached = self.plans().get(&part.plan).cloned();
        let plan = match cached {
            Some(plan) => plan,
            None => server.translate(self.source.planner().plan(part.plan)?),
        };
        let queries = &part.queries;
        if queries.start > queries.end || queries.end > plan.queries.len() {
            return Err(PlanError::NoQueries {
                queries: queries.clone(),
                found: plan.queries.len(),
            });
        }
        Ok(plan.slice(queries.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::Objective;
    use crate::train::fixtures::{sampler, server};

    #[test]
    fn a_worker_without_the_plan_makes_the_same_one() {
        let sampler = Arc::new(sampler(Objective::Negatives, 8));
        let server = server();
        let id = PlanId { epoch: 2, step: 1 };
        let made = sampler.planner().plan(id).unwrap();
        let queries = made.queries.len();
        let part = |queries| Part {
            name: 0,
            plan: id,
            queries,
        };
        let (with, without) = (PlanCache::new(sampler.clone()), PlanCache::new(sampler));
        with.insert(&server.translate(made));
        for range in [0..queries, 0..4, 4..queries] {
            let [a, b] = [&with, &without].map(|cache| {
                let plan = cache.part(&server, &part(range.clone())).unwrap();
                (*plan).clone()
            });
            assert_eq!(a, b);
        }
        let refused = without.part(&server, &part(4..queries + 1)).unwrap_err();
        let sentence = format!(
            "queries 4..{} do not exist: the step has {queries}",
            queries + 1
        );
        assert_eq!(refused.to_string(), sentence);
    }
}
