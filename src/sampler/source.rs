//! Where plans come from: the sampler of this process, or a store of graphs elsewhere.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::{EpochOrder, Plan, Sampler, Scratch};

/// Names a plan of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PlanId {
    /// The epoch, from 1.
    pub epoch: u32,
    /// The step of the epoch, from 0.
    pub step: u32,
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A step beyond the end of an epoch.
    #[error(
        "step {step} of epoch {epoch} does not exist: an epoch has {steps} steps, counted from 0"
    )]
    NoStep {
        /// The epoch.
        epoch: u32,
        /// The step.
        step: u32,
        /// Steps of an epoch.
        steps: u32,
    },
    /// Queries beyond the end of a step.
    #[error("queries {queries:?} do not exist: the step has {found}")]
    NoQueries {
        /// What was asked for.
        queries: std::ops::Range<usize>,
        /// Queries of the step.
        found: usize,
    },
    /// The source does not answer, or answers nonsense.
    #[error("no plan from {source_name}: {reason}")]
    Source {
        /// The source.
        source_name: String,
        /// What happened.
        reason: String,
    },
}

/// Makes the plans of a run. A plan is a function of the run's configuration, its seed, the epoch and the
/// step, and of nothing else: two sources of a run make the same plans.
pub trait PlanSource: fmt::Debug + Send + Sync {
    /// Steps of an epoch.
    fn steps(&self) -> u32;

    /// A maker of plans for one thread, with memory of its own.
    fn planner(&self) -> Box<dyn Planner + '_>;
}

/// Makes plans on one thread.
pub trait Planner: Send {
    /// The plan of a step.
    ///
    /// # Errors
    /// [`PlanError::NoStep`] beyond the end of the epoch; [`PlanError::Source`] if the source fails.
    fn plan(&mut self, id: PlanId) -> Result<Plan, PlanError>;
}

/// The order of the epoch that was asked for last, and the seed that it follows from.
#[derive(Debug, Default)]
pub(super) struct LastOrder(Mutex<Option<(u64, Arc<EpochOrder>)>>);

impl LastOrder {
    /// The order of an epoch, made once for all threads.
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
