//! Whole steps: rows are read where the table has them, and the optimizer is applied to each as soon as
//! its gradient is summed.

use pulp::Simd;
use rayon::prelude::*;

use super::rows::RowWalk;
use super::takes;
use crate::kernel::cpu::block::PlanRows;
use crate::kernel::cpu::memory::{SharedRows, Values};
use crate::kernel::cpu::score_pairs::{Compare, Compared, visit};
use crate::kernel::cpu::table::Shard;
use crate::kernel::cpu::update::DistinctRows;
use crate::kernel::cpu::{Engine, Table, Workspace, update_rows};
use crate::kernel::{Dtype, KernelError, StepSpec, TableSpec, check};
use crate::optim::OptimizerStep;
use crate::sampler::Plan;

/// Rows that a task updates.
const BLOCK: usize = 256;
/// Rows that are asked for ahead of their use.
const AHEAD: usize = 24;

impl Engine {
    /// [`Engine::gradients`] and [`Engine::update`] in one: the same bits, but where they need not be
    /// copied, neither rows nor gradients are.
    ///
    /// # Errors
    /// As both of them; nothing has changed then.
    pub fn step(
        &mut self,
        spec: &StepSpec,
        step: OptimizerStep,
        plan: &Plan,
        entities: &Table,
        relations: &Table,
    ) -> Result<(), KernelError> {
        if !whole(spec, plan, entities.spec()) {
            self.gradients(spec, plan, entities, relations)?;
            return self.update(step, plan, entities, relations);
        }
        check::step(spec, plan, &entities.spec, &relations.spec)?;
        let rows = DistinctRows::ascending(&entities.spec, &plan.entities.ids, 0)?;
        DistinctRows::ascending(&relations.spec, &plan.relations.ids, 0)?;
        let view = relations.view();
        (self.work).pull_relations(spec.model, plan, entities.spec.width, &view);
        drop(view);
        {
            // Locked before the pool goes to work: none of its threads ever waits for a lock.
            let shard = &mut *entities.shard_mut(0);
            let (work, entities) = (&mut self.work, &entities.spec);
            rayon::scope(|_| work.whole(spec, step, plan, (entities, shard, rows)));
        }
        self.add_losses(plan);
        let gradients = &self.work.relation_gradients;
        update_rows(step, relations, &plan.relations.ids, gradients)
    }
}

/// Whether a step goes this way: candidates are walked, and all rows lie as they are in one shard.
fn whole(spec: &StepSpec, plan: &Plan, entities: &TableSpec) -> bool {
    entities.dtype == Dtype::F32
        && entities.layout.shards() == 1
        && !plan.queries.is_empty()
        && plan.sampled_width() > 0
        && takes(spec, plan, entities.width)
}

impl Workspace {
    /// Updates entities; leaves the gradients of relations.
    fn whole(
        &mut self,
        spec: &StepSpec,
        step: OptimizerStep,
        plan: &Plan,
        (entities, shard, rows): (&TableSpec, &mut Shard, DistinctRows<'_>),
    ) {
        let Some(geometry) = self.geometry(spec, plan) else {
            return;
        };
        let stored = PlanRows::stored(&shard.values, self.ew, &plan.entities.ids);
        self.walk_candidates(spec, plan, &geometry, stored);
        let (walk, count) = (self.row_walk(spec, plan), plan.entities.len());
        let shared = SharedRows::new(shard, entities);
        let blocks = (0..count).into_par_iter().step_by(BLOCK);
        blocks.for_each(|first| {
            let update = UpdateBlock {
                walk: &walk,
                step,
                shared: &shared,
                rows,
                items: first..count.min(first + BLOCK),
            };
            visit(spec.model.similarity(), 1, update);
        });
        self.reduce_relations(&geometry, plan);
    }
}

/// Some rows of a table on their walk, after which each is updated.
struct UpdateBlock<'a> {
    walk: &'a RowWalk<'a>,
    step: OptimizerStep,
    shared: &'a SharedRows<'a>,
    rows: DistinctRows<'a>,
    /// Their positions in the plan; nobody else has these.
    items: std::ops::Range<usize>,
}

impl Compared for UpdateBlock<'_> {
    #[inline(always)]
    fn run<S: Simd, C: Compare, const VECTORS: usize>(self, simd: S) {
        let mut gradient = Values::zeros(self.walk.width);
        let end = self.items.end;
        for i in self.items {
            if i + AHEAD < end {
                self.shared.prefetch(self.rows.place(i + AHEAD));
            }
            // SAFETY: rows are distinct, and every position is in one block.
            let [values, first, second] = unsafe { self.shared.row(self.rows.place(i)) };
            (self.walk).gradient::<S, C>(simd, i, values, &mut gradient);
            self.step.apply(values, &gradient, first, second);
        }
    }
}
