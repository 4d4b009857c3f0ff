//! The engine of a CPU.

use std::ops::Range;

use crate::kernel::cpu::stages::gradients::scatter::scatter;
use crate::kernel::cpu::stages::rows::pull::pull;
use crate::kernel::cpu::stages::rows::rearrange::rearrange;
use crate::kernel::cpu::stages::rows::write_rows::write_rows;
use crate::kernel::cpu::stages::scores::loss_sum::loss_sum;
use crate::kernel::cpu::stages::updates::update::{Gradients, update};
use crate::kernel::cpu::step::Workspace;
use crate::kernel::cpu::step::fused_update::UpdatedRows;
use crate::kernel::cpu::table::Table;
use crate::kernel::cpu::table::distinct_rows::DistinctRows;
use crate::kernel::cpu::{Output, Route, parallel};
use crate::kernel::engine::{StepEngine, TableEngine};
use crate::kernel::{Column, KernelError, ShardLayout, StepSpec, TableSpec, check};
use crate::optim::OptimizerStep;
use crate::sampler::{Candidates, Plan};

/// Runs training steps and rankings on all cores. Its buffers grow to the largest step and are
/// reused. Calls may come from any thread, also from one of a rayon pool.
#[derive(Debug, Default)]
pub struct Engine {
    pub(super) work: Workspace,
    loss: f64,
}

/// Applies one gradient row for each of the ascending rows `ids` of a table.
pub fn update_rows(
    step: OptimizerStep,
    table: &Table,
    ids: &[u32],
    gradients: &[f32],
) -> Result<(), KernelError> {
    let spec = &table.spec;
    for s in 0..spec.layout.shards() {
        let stretch = spec.layout.stretch(s, ids);
        let rows =
            DistinctRows::ascending(spec, &ids[stretch.clone()], spec.layout.range(s).start)?;
        let gradients = &gradients[stretch.start * spec.width..stretch.end * spec.width];
        let shard = &mut table.shard_mut(s);
        update(step, spec, shard, rows, Gradients::Rows(gradients));
    }
    Ok(())
}

impl Engine {
    /// An engine with empty buffers.
    pub fn new() -> Engine {
        Engine::default()
    }

    /// Computes the gradients of a step that fits the tables, by a route.
    pub(super) fn gradients_by(
        &mut self,
        route: Route,
        spec: &StepSpec,
        plan: &Plan,
        entities: &Table,
        relations: &Table,
    ) {
        let work = &mut self.work;
        let entity_rows = entities.read();
        let relation_rows = relations.read();
        work.pull_entities(plan, &entity_rows);
        work.pull_relations(spec.model, plan, entities.spec.width, &relation_rows);
        // Other threads may write to a table as soon as this step has read it.
        let relation_rows = plan.predicts_relations.then_some(relation_rows);
        match route {
            Route::All | Route::AllSoftmax(_) => {
                parallel::in_pool(|| work.all(route, spec, plan, &entity_rows));
                drop(entity_rows);
                if let Some(rows) = relation_rows {
                    self.loss += parallel::in_pool(|| work.predict_relations(spec, plan, &rows));
                }
            }
            Route::SampledByQuery { .. } | Route::SampledByRow { .. } => {
                drop((entity_rows, relation_rows));
                parallel::in_pool(|| work.sampled(route, spec, plan));
            }
        }
        parallel::in_pool(|| work.reduce(route, spec, plan));
        if matches!(route, Route::All | Route::AllSoftmax(_)) {
            let table = &entities.spec;
            let rows = &work.entity_gradients[..plan.entities.len() * table.width];
            scatter(
                &table.layout,
                table.width,
                &plan.entities.ids,
                rows,
                &mut work.shard_gradients,
            );
        }
        self.loss += loss_sum(&self.work.losses[..plan.queries.len()]);
    }
}

impl TableEngine for Engine {
    type Table = Table;

    fn most_rows(&self, width: usize) -> usize {
        usize::MAX / width.max(1)
    }

    fn create_table(
        &self,
        spec: &TableSpec,
        fill: &mut dyn FnMut(usize, &mut [f32]),
    ) -> Result<Table, KernelError> {
        Ok(Table::new(spec, fill))
    }

    fn read_part(
        &self,
        table: &Table,
        column: Column,
        rows: Range<usize>,
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        table.read_part(column, rows, out);
        Ok(())
    }

    fn write_part(
        &self,
        table: &Table,
        column: Column,
        rows: Range<usize>,
        data: &[f32],
    ) -> Result<(), KernelError> {
        table.write_part(column, rows, data);
        Ok(())
    }

    fn read_shard(&self, table: &Table, shard: usize, out: &mut [f32]) -> Result<(), KernelError> {
        table.shard(shard).copy_values(0, out);
        Ok(())
    }

    fn read_rows(&self, table: &Table, rows: &[u32], out: &mut [f32]) -> Result<(), KernelError> {
        pull(&table.read(), rows, out);
        Ok(())
    }

    fn write_rows(&self, table: &Table, rows: &[u32], values: &[f32]) -> Result<(), KernelError> {
        write_rows(table, rows, values);
        Ok(())
    }

    fn rearrange(
        &self,
        table: &Table,
        layout: &ShardLayout,
        from: &[u32],
    ) -> Result<Table, KernelError> {
        Ok(parallel::outside_pools(|| rearrange(table, layout, from)))
    }

    fn name_rows(&self, table: &Table, names: &[u32]) -> Result<(), KernelError> {
        table.name_rows(names);
        Ok(())
    }
}

impl StepEngine for Engine {
    fn gradients(
        &mut self,
        spec: &StepSpec,
        plan: &Plan,
        entities: &Table,
        relations: &Table,
    ) -> Result<(), KernelError> {
        check::step(spec, plan, &entities.spec, &relations.spec)?;
        let route = Route::choose(spec, plan, &entities.spec, Output::Gradients);
        self.gradients_by(route, spec, plan, entities, relations);
        Ok(())
    }

    fn update(
        &mut self,
        step: OptimizerStep,
        plan: &Plan,
        entities: &Table,
        relations: &Table,
    ) -> Result<(), KernelError> {
        if plan.queries.is_empty() {
            return Ok(());
        }
        match &plan.candidates {
            Candidates::Sampled { .. } => update_rows(
                step,
                entities,
                &plan.entities.ids,
                &self.work.entity_gradients,
            )?,
            Candidates::All { .. } => {
                for (s, gradients) in self.work.shard_gradients.iter().enumerate() {
                    let shard = &mut entities.shard_mut(s);
                    let gradients = Gradients::Rows(gradients);
                    update(step, &entities.spec, shard, DistinctRows::ALL, gradients);
                }
            }
        }
        update_rows(
            step,
            relations,
            &plan.relations.ids,
            &self.work.relation_gradients,
        )
    }

    fn step(
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
        let route = Route::choose(spec, plan, &entities.spec, Output::Update);
        parallel::outside_pools(|| {
            if !route.fuses_update() {
                self.gradients_by(route, spec, plan, entities, relations);
                return self.update(step, plan, entities, relations);
            }
            let relation_rows = relations.read();
            (self.work).pull_relations(spec.model, plan, entities.spec.width, &relation_rows);
            drop(relation_rows);
            {
                let entities = UpdatedRows {
                    table: &entities.spec,
                    shard: &mut entities.shard_mut(0),
                    rows,
                };
                let work = &mut self.work;
                parallel::in_pool(|| work.fused_update(route, spec, step, plan, entities));
            }
            self.loss += loss_sum(&self.work.losses[..plan.queries.len()]);
            let gradients = &self.work.relation_gradients;
            update_rows(step, relations, &plan.relations.ids, gradients)
        })
    }

    fn take_loss(&mut self) -> Result<f64, KernelError> {
        Ok(std::mem::take(&mut self.loss))
    }

    fn poison(&mut self) -> Result<(), KernelError> {
        let Workspace {
            entity_width: _,
            relation_width: _,
            contribution_width: _,
            relation_row_width: _,
            count: _,
            sampled,
            coefficients,
            softmax_all,
            entities,
            relations,
            core,
            queries,
            d_queries,
            d_inputs,
            d_relations,
            scores,
            losses,
            entity_gradients,
            relation_gradients,
            shard_gradients,
            candidates,
            masked,
            prediction,
        } = &mut self.work;
        let buffers = [
            entities,
            relations,
            &mut core.rows,
            &mut core.gradients,
            queries,
            d_queries,
            d_inputs,
            d_relations,
            scores,
            coefficients,
            losses,
            entity_gradients,
            relation_gradients,
            candidates,
        ];
        sampled.poison();
        softmax_all.poison();
        let buffers = buffers.into_iter().chain(shard_gradients);
        for buffer in buffers.chain(prediction.buffers()) {
            buffer.fill(f32::NAN);
        }
        if let Some(table) = masked {
            (0..table.shards.len()).for_each(|s| table.shard_mut(s).values.fill(f32::NAN));
        }
        Ok(())
    }
}
