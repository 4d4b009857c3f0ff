//! Sources of plans: the sampler of this process, or a graph store elsewhere.

use std::fmt;
use std::ops::Range;
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

/// Sizes of a step, which are known before its plan is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepSize {
    /// The step.
    pub id: PlanId,
    /// Number of queries.
    pub queries: usize,
    /// Number of neighbouring queries that stay together: see [`Plan::unit`].
    pub unit: usize,
    /// Number of training facts: see [`Plan::facts`].
    pub facts: usize,
}

/// Plan of a step without the negatives of some queries.
#[derive(Clone, Debug, PartialEq)]
pub struct PartialPlan {
    /// The plan. [`Plan::slice`] gives the same slices as of the whole plan, of queries whose negatives are there.
    pub plan: Plan,
    /// Entities that the step draws as negatives of other queries, in any order, some of them more than once.
    pub others: Vec<u32>,
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
        queries: Range<usize>,
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

    /// Sizes of a step.
    ///
    /// # Errors
    /// As [`Planner::plan`].
    fn size(&self, id: PlanId) -> Result<StepSize, PlanError> {
        self.planner().plan(id).map(|plan| plan.size())
    }
}

/// Maker of plans on one thread.
pub trait Planner: Send {
    /// Makes the plan of a step.
    ///
    /// # Errors
    /// [`PlanError::NoStep`] beyond the end of the epoch; [`PlanError::Source`] if the source fails.
    fn plan(&mut self, id: PlanId) -> Result<Plan, PlanError>;

    /// Makes the plan of a step for slices of these queries alone, which takes less time.
    ///
    /// # Errors
    /// As [`Planner::plan`].
    fn plan_within(&mut self, id: PlanId, queries: Range<usize>) -> Result<PartialPlan, PlanError> {
        let _ = queries;
        Ok(PartialPlan {
            plan: self.plan(id)?,
            others: Vec::new(),
        })
    }
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

    fn size(&self, id: PlanId) -> Result<StepSize, PlanError> {
        self.check(id)?;
        Ok(self.step_size(&self.last_order.of(self, id.epoch), id.step))
    }
}

impl Sampler {
    fn check(&self, id: PlanId) -> Result<(), PlanError> {
        let PlanId { epoch, step } = id;
        let steps = self.steps();
        match step < steps {
            true => Ok(()),
            false => Err(PlanError::NoStep { epoch, step, steps }),
        }
    }
}

struct SamplerPlanner<'a> {
    sampler: &'a Sampler,
    scratch: Scratch,
    order: Option<Arc<EpochOrder>>,
}

impl Planner for SamplerPlanner<'_> {
    fn plan(&mut self, id: PlanId) -> Result<Plan, PlanError> {
        Ok(self.plan_within(id, 0..usize::MAX)?.plan)
    }

    fn plan_within(&mut self, id: PlanId, queries: Range<usize>) -> Result<PartialPlan, PlanError> {
        self.sampler.check(id)?;
        let known = self.order.take().filter(|order| order.epoch == id.epoch);
        let order = known.unwrap_or_else(|| self.sampler.last_order.of(self.sampler, id.epoch));
        let scratch = &mut self.scratch;
        let plan = (self.sampler).plan_within(&order, id.step, queries, scratch);
        self.order = Some(order);
        plan
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
