//! Steps whose optimizer is applied to each entity row as soon as its gradient is summed. Rows are read
//! where the table has them: neither rows nor gradients of entities are copied.

use rayon::prelude::*;

use super::Workspace;
use super::context::PlanRows;
use super::entity_gradients::OptimizerSink;
use crate::kernel::cpu::Route;
use crate::kernel::cpu::table::Shard;
use crate::kernel::cpu::table::distinct_rows::{DistinctRows, TableBlock};
use crate::kernel::cpu::table::shared_rows::SharedRows;
use crate::kernel::{StepSpec, TableSpec};
use crate::optim::OptimizerStep;
use crate::sampler::Plan;

/// Rows that a task updates.
const UPDATE_BLOCK: usize = 256;

/// The plan's rows of a table with one shard.
pub struct UpdatedRows<'a> {
    pub table: &'a TableSpec,
    pub shard: &'a mut Shard,
    pub rows: DistinctRows<'a>,
}

impl Workspace {
    /// Updates entities; leaves the gradients of relations.
    pub fn fused_update(
        &mut self,
        route: Route,
        spec: &StepSpec,
        step: OptimizerStep,
        plan: &Plan,
        entities: UpdatedRows<'_>,
    ) {
        let UpdatedRows { table, shard, rows } = entities;
        let Some(context) = self.context(spec, plan) else {
            return;
        };
        let stored = PlanRows::stored(&shard.values, self.entity_width, &plan.entities.ids);
        let (count, width) = (plan.entities.len(), self.entity_width);
        let by_query = matches!(route, Route::SampledByQuery { .. });
        match by_query {
            true => self.sampled_by_query(spec, plan, &context, stored),
            false => {
                self.entity_gradients.resize_for_overwrite(count * width);
                self.sampled_by_row(spec, plan, &context, stored);
            }
        }
        // Lent, while the others are read.
        let mut gradients = std::mem::take(&mut self.entity_gradients);
        let source = self.gradient_source(route, spec, plan);
        let shared = SharedRows::new(shard, table);
        let update = |first: usize, gradients: Option<&mut [f32]>| {
            let items = first..count.min(first + UPDATE_BLOCK);
            source.sum_into(OptimizerSink {
                width,
                step,
                // SAFETY: rows are distinct, and every index is in one block.
                block: unsafe { TableBlock::new(&shared, rows, items) },
                gradients,
            });
        };
        match by_query {
            true => {
                let blocks = (0..count).into_par_iter().step_by(UPDATE_BLOCK);
                blocks.for_each(|first| update(first, None));
            }
            false => {
                let blocks = gradients[..count * width].par_chunks_mut(UPDATE_BLOCK * width);
                (blocks.enumerate())
                    .for_each(|(b, gradients)| update(b * UPDATE_BLOCK, Some(gradients)));
            }
        }
        self.entity_gradients = gradients;
        self.reduce_relations(&context, plan);
    }
}
