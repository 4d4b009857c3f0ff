//! Loads plans ahead of the steps that take them, on threads of their own.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{Scope, available_parallelism};

use crate::sampler::{Plan, PlanError, PlanId, PlanSource, RowsBuilder, StepSize};
use crate::server::{ParameterServer, StoragePlan};

/// Plans that wait for their steps, at most, on each thread.
const WAITING_PLANS: usize = 4;
/// Most threads that make plans.
const MAX_THREADS: usize = 8;
/// Bytes of scratch memory that all threads together may take.
const SCRATCH_BYTES: usize = 256 << 20;

/// The plans of an epoch, in the order of their steps.
#[derive(Debug)]
pub(super) struct PlanLoader {
    /// Thread `t` of `n` makes plans `t`, `t + n`, `t + 2n` and so on.
    threads: Vec<Receiver<Result<StoragePlan, PlanError>>>,
    next: Cell<usize>,
}

/// The steps of an epoch, in order.
#[derive(Debug)]
pub(super) enum StepLoader<'a> {
    /// With their plans, which workers of this process share.
    Plans(PlanLoader),
    /// Their sizes alone: workers in other processes make the plans.
    Sizes {
        source: &'a dyn PlanSource,
        epoch: u32,
        steps: RefCell<Range<u32>>,
    },
}

/// A step of an epoch.
#[derive(Debug)]
pub(super) struct LoadedStep {
    pub size: StepSize,
    /// Plan of the step, where workers share it.
    pub plan: Option<StoragePlan>,
}

impl<'a> StepLoader<'a> {
    /// The sizes of `steps` of an epoch.
    pub fn sizes(source: &'a dyn PlanSource, epoch: u32, steps: Range<u32>) -> StepLoader<'a> {
        let steps = RefCell::new(steps);
        StepLoader::Sizes {
            source,
            epoch,
            steps,
        }
    }

    /// The next step; `None` after the last.
    ///
    /// # Errors
    /// [`PlanError`] of the source.
    pub fn next(&self) -> Result<Option<LoadedStep>, PlanError> {
        match self {
            StepLoader::Plans(loader) => {
                let loaded = |plan: StoragePlan| LoadedStep {
                    size: plan.size(),
                    plan: Some(plan),
                };
                Ok(loader.next()?.map(loaded))
            }
            StepLoader::Sizes {
                source,
                epoch,
                steps,
            } => {
                let Some(step) = steps.borrow_mut().next() else {
                    return Ok(None);
                };
                let size = source.size(PlanId {
                    epoch: *epoch,
                    step,
                })?;
                Ok(Some(LoadedStep { size, plan: None }))
            }
        }
    }
}

/// Number of threads that make plans. A GPU's step may be over before one thread has made the next
/// plan; on the CPU, threads that plan keep others from computing.
pub(super) fn loader_threads(server: &ParameterServer) -> usize {
    if !server.is_on_gpu() {
        return 1;
    }
    let cores = available_parallelism().map_or(1, usize::from);
    let fit = SCRATCH_BYTES / (RowsBuilder::BYTES_A_ROW * server.shape().entities.max(1));
    (cores / 2).min(fit).clamp(1, MAX_THREADS)
}

impl PlanLoader {
    /// Starts `threads` threads that make the plans of `steps` of an epoch.
    pub fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        source: &'scope dyn PlanSource,
        server: &'scope ParameterServer,
        epoch: u32,
        steps: Range<u32>,
        threads: usize,
    ) -> PlanLoader {
        let start = |thread| {
            let (send, plans) = sync_channel(WAITING_PLANS);
            let steps = steps.clone().skip(thread).step_by(threads);
            scope.spawn(move || {
                let mut planner = source.planner();
                for step in steps {
                    let plan = planner.plan(PlanId { epoch, step });
                    let failed = plan.is_err();
                    let plan = plan.map(|plan: Plan| server.translate(plan));
                    // The receiver leaves when training stops early.
                    if send.send(plan).is_err() || failed {
                        return;
                    }
                }
            });
            plans
        };
        PlanLoader {
            threads: (0..threads).map(start).collect(),
            next: Cell::new(0),
        }
    }

    /// The plan of the next step, as soon as a thread has made it; `None` after the last.
    ///
    /// # Errors
    /// [`PlanError`] of the source.
    pub fn next(&self) -> Result<Option<StoragePlan>, PlanError> {
        let thread = self.next.get();
        let Some(plans) = self.threads.get(thread) else {
            return Ok(None);
        };
        let Ok(plan) = plans.recv() else {
            return Ok(None);
        };
        self.next.set((thread + 1) % self.threads.len());
        plan.map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::{Objective, Sampler};
    use crate::train::fixtures::{sampler, server};

    #[test]
    fn any_number_of_threads_makes_the_same_plans() {
        let (sampler, server) = (sampler(Objective::OneVsAll, 4), server());
        assert_eq!(loader_threads(&server), 1);
        let order = sampler.order(1);
        let plan = |step| sampler.plan(&order, step, &mut sampler.scratch());
        let expected: Vec<_> = (3..sampler.steps())
            .map(|step| (step, plan(step).queries))
            .collect();
        for threads in [1, 3, 8, 50] {
            std::thread::scope(|scope| {
                let source = &sampler;
                let steps = sampler.steps();
                let plans = PlanLoader::start(scope, source, &server, 1, 3..steps, threads);
                let made: Vec<_> = std::iter::from_fn(|| plans.next().unwrap())
                    .map(|plan| (plan.step, plan.queries.clone()))
                    .collect();
                assert_eq!(made, expected);
                assert!(plans.next().unwrap().is_none());
                // A run that stops early leaves no thread behind.
                let plans = PlanLoader::start(scope, source, &server, 1, 0..steps, threads);
                assert!(plans.next().unwrap().is_some());
            });
        }
    }

    #[test]
    fn an_error_of_the_source_comes_in_its_turn() {
        #[derive(Debug)]
        struct Broken(Sampler);
        impl PlanSource for Broken {
            fn steps(&self) -> u32 {
                15
            }
            fn planner(&self) -> Box<dyn crate::sampler::Planner + '_> {
                self.0.planner()
            }
        }
        // 13 steps of the 15 that the source promises.
        let (source, server) = (Broken(sampler(Objective::OneVsAll, 4)), server());
        for threads in [1, 2] {
            std::thread::scope(|scope| {
                let plans = PlanLoader::start(scope, &source, &server, 1, 11..15, threads);
                assert!(plans.next().unwrap().is_some());
                assert!(plans.next().unwrap().is_some());
                let error = plans.next().unwrap_err();
                assert_eq!(
                    error.to_string(),
                    "step 13 of epoch 1 does not exist: an epoch has 13 steps, counted from 0"
                );
            });
        }
    }
}
