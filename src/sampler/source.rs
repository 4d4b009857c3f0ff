//! Sources of plans: the sampler of this process, or a graph store elsewhere.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::{EpochOrder, Plan, Sampler, Scratch};

/// Identifies a plan of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PlanId {
    /// Epoch, from 1.
    pub epoch: u32,
    /// Step of the epoch, from 0.
    pub step: u32,
}

/// Reason for which a plan cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The step lies beyond the end of the epoch.
    #[error(
        "step {step} of epoch {epoch} does not exist: an epoch has {steps} steps, counted from 0"
    )]
    NoStep {
        /// The epoch.
        epoch: u32,
        /// The step.
        step: u32,
        /// Number of steps in an epoch.
        steps: u32,
    },
    /// The queries lie beyond the end of the step.
    #[error("queries {queries:?} do not exist: the step has {found}")]
    NoQueries {
        /// Requested queries.
        queries: std::ops::Range<usize>,
        /// Number of queries of the step.
        found: usize,
    },
    /// The source does not answer, or its answer is invalid.
    #[error("no plan from {source_name}: {reason}")]
    Source {
        /// Name of the source.
        source_name: String,
        /// Description of the failure.
        reason: String,
    },
}

/// Source of the plans of a run. A plan depends only on the run's configuration, its seed, the epoch and the
/// step, so two sources of a run make the same plans.
pub trait PlanSource: fmt::Debug + Send + Sync {
    /// Number of steps in an epoch.
    fn steps(&self) -> u32;

    /// Creates a planner for one thread, with its own working memory.
    fn planner(&self) -> Box<dyn Planner + '_>;
}

/// Maker of plans on one thread.
pub trait Planner: Send {
    /// Makes the plan of a step.
    ///
    /// # Errors
    /// [`PlanError::NoStep`] beyond the end of the epoch; [`PlanError::Source`] if the source fails.
    fn plan(&mut self, id: PlanId) -> Result<Plan, PlanError>;
}

/// Last epoch order made, with its seed.
#[derive(Debug, Default)]
pub(super) struct LastOrder(Mutex<Option<(u64, Arc<EpochOrder>)>>);

impl LastOrder {
    /// Order of an epoch, made once for all threads.
    fn of(&self, sampler: &Sampler, epoch: u32) -> Arc<EpochOrder> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((seed, order)) if (*seed, order.epoch) == (sampler.seed, epoch) => {
                Arc::clone(order)
            }
            _ => {
                let order = Arc::new(sampler.order(epoch));
                *last = Some((sampler.seed, Arc::clone(&order)));
                order
            }
        }
    }
}

impl PlanSource for Sampler {
    fn steps(&self) -> u32 {
        Sampler::steps(self)
    }

    fn planner(&self) -> Box<dyn Planner + '_> {
        Box::new(SamplerPlanner {
            sampler: self,
            scratch: self.scratch(),
            order: None,
        })
    }
}

struct SamplerPlanner<'a> {
    sampler: &'a Sampler,
    scratch: Scratch,
    order: Option<Arc<EpochOrder>>,
}

impl Planner for SamplerPlanner<'_> {
    fn plan(&mut self, id: PlanId) -> Result<Plan, PlanError> {
        let PlanId { epoch, step } = id;
        let steps = self.sampler.steps();
        if step >= steps {
            return Err(PlanError::NoStep { epoch, step, steps });
        }
        let known = self.order.take().filter(|order| order.epoch == epoch);
        let order = known.unwrap_or_else(|| self.sampler.last_order.of(self.sampler, epoch));
        let plan = self.sampler.plan(&order, step, &mut self.scratch);
        self.order = Some(order);
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Triple;
    use crate::sampler::{Objective, QueryRule};

    #[test]
    fn a_source_makes_the_samplers_plans_in_any_order() {
        let facts = (0..50).map(|i| Triple {
            head: i % 10,
            relation: 0,
            tail: i % 7,
        });
        let rule = QueryRule {
            relations: 1,
            reciprocal: false,
        };
        let sampler = Sampler::new(facts.collect(), 10, rule, Objective::Negatives, 4);
        let source: &dyn PlanSource = &sampler;
        assert_eq!(source.steps(), 13);
        let mut planners = [source.planner(), source.planner()];
        for (epoch, step) in [(1, 3), (2, 0), (1, 12), (1, 0), (3, 5)] {
            let wanted = sampler.plan(&sampler.order(epoch), step, &mut sampler.scratch());
            for planner in &mut planners {
                assert_eq!(planner.plan(PlanId { epoch, step }), Ok(wanted.clone()));
            }
        }
        let beyond = planners[0].plan(PlanId { epoch: 1, step: 13 });
        assert!(matches!(beyond, Err(PlanError::NoStep { steps: 13, .. })));
    }
}
