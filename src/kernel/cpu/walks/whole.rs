//! Whole steps: rows are read where the table has them, and the optimizer is applied to each as soon as
//! its gradient is summed.

use pulp::Simd;
use rayon::prelude::*;

use super::rows::RowWalk;
use super::takes;
use crate::kernel::cpu::block::PlanRows;
use crate::kernel::cpu::memory::{SharedRows, Values};
use crate::kernel::cpu::score_pairs::{Compare, Compared, visit_values};
use crate::kernel::cpu::table::Shard;
use crate::kernel::cpu::update::{DistinctRows, ahead};
use crate::kernel::cpu::{Engine, Table, Workspace, update_rows};
use crate::kernel::{Dtype, KernelError, StepSpec, TableSpec, check};
use crate::optim::OptimizerStep;
use crate::sampler::Plan;

/// Rows that a task updates.
const BLOCK: usize = 256;

impl Engine {
    /// [`Engine::gradients`] and [`Engine::update`] in one: the same bits, but where rows and gradients
    /// of entities need not be copied, they are not. No gradients are left to be read or updated with.
    ///
    /// Not to be called by a thread of the pool: see below.
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
        check::step(spec, plan, &entities.spec, &relations.spec)?;
        let rows = DistinctRows::ascending(&entities.spec, &plan.entities.ids, 0)?;
        DistinctRows::ascending(&relations.spec, &plan.relations.ids, 0)?;
        if !goes_whole(spec, plan, entities.spec()) {
            self.gradients(spec, plan, entities, relations)?;
            return self.update(step, plan, entities, relations);
        }
        let view = relations.view();
        (self.work).pull_relations(spec.model, plan, entities.spec.width, &view);
        drop(view);
        {
            // Locked before the pool is entered, once for all that follows. A thread of the pool that
            // waited for this lock, as it would in a step of its own, might be the one that this waits for.
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
fn goes_whole(spec: &StepSpec, plan: &Plan, entities: &TableSpec) -> bool {
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
            visit_values(spec.model.similarity(), update);
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
    fn run<S: Simd, C: Compare>(self, simd: S) {
        let mut gradient = Values::zeros(self.walk.width);
        let mut listed = Vec::new();
        let (end, ahead) = (self.items.end, ahead(self.walk.width));
        let ask = |i: usize| self.shared.prefetch(self.rows.place(i));
        (self.items.start..end.min(self.items.start + ahead)).for_each(ask);
        for i in self.items {
            if i + ahead < end {
                ask(i + ahead);
            }
            // SAFETY: rows are distinct, and every position is in one block.
            let [values, first, second] = unsafe { self.shared.row(self.rows.place(i)) };
            self.walk
                .gradient::<S, C>(simd, i, values, &mut listed, &mut gradient);
            self.step.apply(values, &gradient, first, second);
        }
    }
}
