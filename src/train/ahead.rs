//! Plans made ahead of the steps that take them, on threads of their own.

use std::cell::Cell;
use std::ops::Range;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{Scope, available_parallelism};

use crate::sampler::{EpochOrder, RowsBuilder, Sampler};
use crate::server::{ParameterServer, StoragePlan};

/// Plans that wait for their steps, at most, on each thread.
const AHEAD: usize = 4;
/// Threads at most.
const MOST: usize = 8;
/// Bytes that all threads together may keep notes in.
const NOTES: usize = 256 << 20;

/// The plans of an epoch, in the order of their steps.
#[derive(Debug)]
pub(super) struct Plans {
    /// Each has every so many-th plan.
    planners: Vec<Receiver<StoragePlan>>,
    next: Cell<usize>,
}

/// How many threads make plans. A GPU's step may be over before one thread has made the next plan;
/// on the CPU, threads that plan keep others from computing.
pub(super) fn planners(server: &ParameterServer) -> usize {
    if !server.is_on_gpu() {
        return 1;
    }
    let cores = available_parallelism().map_or(1, usize::from);
    let room = NOTES / (RowsBuilder::BYTES_A_ROW * server.shape().entities.max(1));
    (cores / 2).min(room).clamp(1, MOST)
}

impl Plans {
    /// Has so many threads make the plans of `steps`.
    pub fn make<'scope>(
        scope: &'scope Scope<'scope, '_>,
        (sampler, order): (&'scope Sampler, &'scope EpochOrder),
        server: &'scope ParameterServer,
        steps: Range<u32>,
        threads: usize,
    ) -> Plans {
        let planner = |thread| {
            let (send, plans) = sync_channel(AHEAD);
            let mut steps = steps.clone().skip(thread).step_by(threads);
            scope.spawn(move || {
                let mut scratch = sampler.scratch();
                // The receiver leaves when training stops early.
                steps.try_for_each(|step| {
                    let plan = sampler.plan(order, step, &mut scratch);
                    send.send(server.translate(plan))
                })
            });
            plans
        };
        Plans {
            planners: (0..threads).map(planner).collect(),
            next: Cell::new(0),
        }
    }

    /// The plan of the next step, as soon as it is made; `None` after the last.
    pub fn next(&self) -> Option<StoragePlan> {
        let planner = self.next.get();
        let plan = self.planners.get(planner)?.recv().ok()?;
        self.next.set((planner + 1) % self.planners.len());
        Some(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Triple;
    use crate::kernel::Backend;
    use crate::model::Model;
    use crate::sampler::{Objective, QueryRule};
    use crate::server::{Initializer, Shape, Storage};

    #[test]
    fn any_number_of_threads_makes_the_same_plans() {
        let facts = (0..50).map(|i| Triple {
            head: i % 10,
            relation: 0,
            tail: i % 7,
        });
        let rule = QueryRule {
            relations: 1,
            reciprocal: false,
        };
        let sampler = Sampler::new(facts.collect(), 10, rule, Objective::OneVsAll, 4);
        let shape = Shape {
            model: Model::DistMult,
            dim: 4,
            entities: 10,
            relations: 1,
            relation_dim: None,
        };
        let storage = Storage::default();
        let server =
            ParameterServer::new(Backend::cpu(), shape, storage, &Initializer::ZERO).unwrap();
        assert_eq!(planners(&server), 1);
        let order = sampler.order(1);
        let plan = |step| sampler.plan(&order, step, &mut sampler.scratch());
        let expected: Vec<_> = (3..sampler.steps())
            .map(|step| (step, plan(step).queries))
            .collect();
        for threads in [1, 3, 8, 50] {
            std::thread::scope(|scope| {
                let of = (&sampler, &order);
                let plans = Plans::make(scope, of, &server, 3..sampler.steps(), threads);
                let made: Vec<_> = std::iter::from_fn(|| plans.next())
                    .map(|plan| (plan.step, plan.queries.clone()))
                    .collect();
                assert_eq!(made, expected);
                assert!(plans.next().is_none());
                // Whoever stops early leaves no thread behind.
                let plans = Plans::make(scope, of, &server, 0..sampler.steps(), threads);
                assert!(plans.next().is_some());
            });
        }
    }
}
