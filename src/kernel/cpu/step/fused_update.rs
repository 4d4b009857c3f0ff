//! Whole steps: rows are read where the table has them, and the optimizer is applied to each as soon as
//! its gradient is summed.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::kernel::cpu::engine::{Engine, update_rows};
use crate::kernel::cpu::simd::similarity::{Compare, Compared, visit_values};
use crate::kernel::cpu::stages::backward::grad_rows::OwnShares;
use crate::kernel::cpu::stages::tables::optimize::optimize;
use crate::kernel::cpu::step::Workspace;
use crate::kernel::cpu::step::context::PlanRows;
use crate::kernel::cpu::step::sampled_by_query::{self, RowWalk};
use crate::kernel::cpu::table::Shard;
use crate::kernel::cpu::table::Table;
use crate::kernel::cpu::table::distinct_rows::{DistinctRows, TableBlock};
use crate::kernel::cpu::table::memory::{SharedRows, Values};
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

/// Whether a step goes this way: candidates are sampled, and all rows lie as they are in one shard.
fn goes_whole(spec: &StepSpec, plan: &Plan, entities: &TableSpec) -> bool {
    entities.dtype == Dtype::F32
        && entities.layout.shards() == 1
        && !plan.queries.is_empty()
        && plan.sampled_width() > 0
        && spec.candidate_dropout == 0.0
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
        let (count, width) = (plan.entities.len(), self.ew);
        if sampled_by_query::takes(spec, plan, width) {
            self.walk_candidates(spec, plan, &geometry, stored);
            let walk = self.row_walk(spec, plan);
            let shared = SharedRows::new(shard, entities);
            let blocks = (0..count).into_par_iter().step_by(BLOCK);
            blocks.for_each(|first| {
                let items = first..count.min(first + BLOCK);
                // SAFETY: rows are distinct, and every index is in one block.
                let block = unsafe { TableBlock::new(&shared, rows, items) };
                visit_values(
                    spec.model.similarity(),
                    WalkBlock {
                        walk: &walk,
                        step,
                        block,
                    },
                );
            });
        } else {
            self.entity_gradients.room(count * width);
            self.go_by_row(spec, plan, &geometry, stored);
            // Lent, while the others are read.
            let mut gradients = std::mem::take(&mut self.entity_gradients);
            let shares = self.own_shares(spec, plan);
            let shared = SharedRows::new(shard, entities);
            let blocks = gradients[..count * width].par_chunks_mut(BLOCK * width);
            blocks.enumerate().for_each(|(b, gradients)| {
                let items = b * BLOCK..count.min((b + 1) * BLOCK);
                // SAFETY: rows are distinct, and every index is in one block.
                let block = unsafe { TableBlock::new(&shared, rows, items) };
                pulp::Arch::new().dispatch(SharesBlock {
                    shares: &shares,
                    gradients,
                    step,
                    block,
                });
            });
            self.entity_gradients = gradients;
        }
        self.reduce_relations(&geometry, plan);
    }
}

/// Rows on their walk, after which each is updated.
struct WalkBlock<'a> {
    walk: &'a RowWalk<'a>,
    step: OptimizerStep,
    block: TableBlock<'a>,
}

impl Compared for WalkBlock<'_> {
    #[inline(always)]
    fn run<S: Simd, C: Compare>(self, simd: S) {
        let WalkBlock { walk, step, block } = self;
        let mut gradient = Values::zeros(walk.width);
        let mut listed = Vec::new();
        block.each(
            walk.width,
            |_| (),
            #[inline(always)]
            |i, row| {
                walk.gradient::<S, C>(simd, i, row[0], &mut listed, &mut gradient);
                optimize(simd, step, row, &gradient);
            },
        );
    }
}

/// Rows whose `gradients` lack what they are beside candidates, after which each is updated.
struct SharesBlock<'a> {
    shares: &'a OwnShares<'a>,
    gradients: &'a mut [f32],
    step: OptimizerStep,
    block: TableBlock<'a>,
}

impl WithSimd for SharesBlock<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let SharesBlock {
            shares,
            gradients,
            step,
            block,
        } = self;
        let width = gradients.len() / block.len();
        let mut gradients = gradients.chunks_exact_mut(width);
        block.each(
            width,
            |_| (),
            #[inline(always)]
            |i, row| {
                let gradient = gradients.next().unwrap_or_default();
                shares.add(i, row[0], gradient);
                optimize(simd, step, row, gradient);
            },
        );
    }
}
