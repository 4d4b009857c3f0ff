//! What the server computes itself, on the device of its shards.

use super::{ParameterServer, ServerError, StoragePlan, TableName};
use crate::kernel::{Backend, Column, KernelError, RankBatch, RankCounts, RankQuery, StepSpec};
use crate::optim::OptimizerStep;
use crate::sampler::Candidates;

impl ParameterServer {
    /// Whether the tables are in the memory of a GPU.
    pub fn is_on_gpu(&self) -> bool {
        matches!(self.inner.keeper, Backend::Gpu(_))
    }

    /// Another engine on the server's device, for a worker.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn engine(&self) -> Result<Backend, KernelError> {
        self.inner.keeper.another()
    }

    /// Computes a step's gradients on a worker's engine, which must be of the server's device.
    ///
    /// # Errors
    /// [`ServerError::Moved`] if shards have moved since the plan was translated;
    /// [`ServerError::Kernel`] if the engine is of another device, or the device is lost or full.
    pub fn gradients(
        &self,
        engine: &mut Backend,
        spec: &StepSpec,
        plan: &StoragePlan,
    ) -> Result<(), ServerError> {
        let tables = self.tables_of(plan)?;
        Ok(engine.gradients(spec, plan, &tables.entities, &tables.relations)?)
    }

    /// Σ g² of what [`ParameterServer::gradients`] has computed; not finite if a gradient is not.
    ///
    /// # Errors
    /// As [`ParameterServer::gradients`].
    pub fn gradient_square_sum(
        &self,
        engine: &mut Backend,
        plan: &StoragePlan,
    ) -> Result<f64, ServerError> {
        let tables = self.tables_of(plan)?;
        Ok(engine.gradient_square_sum(plan, &tables.entities, &tables.relations)?)
    }

    /// One training step of the only worker: pull, gradients, push. The loss stays on the device
    /// until [`ParameterServer::take_loss`].
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn step(
        &self,
        spec: &StepSpec,
        plan: &StoragePlan,
        step: OptimizerStep,
    ) -> Result<(), KernelError> {
        let _still = self.still();
        let (tables, mut house) = (self.tables(), self.house());
        let plan = &tables.renewed(plan);
        house.gradients(spec, plan, &tables.entities, &tables.relations)?;
        house.update(step, plan, &tables.entities, &tables.relations)?;
        for shard in &mut self.desk().shards {
            shard.barrier.skip();
            shard.stats.step = shard.barrier.step();
        }
        Ok(())
    }

    /// The losses of all steps since the last call, added up.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn take_loss(&self) -> Result<f64, KernelError> {
        self.house().take_loss()
    }

    /// A column of a table, all rows.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn read(&self, table: TableName, column: Column) -> Result<Vec<f32>, KernelError> {
        let tables = self.tables();
        let stored = self.inner.keeper.read(tables.table(table), column)?;
        let width = column.width(tables.table(table).spec());
        Ok(tables.by_row(table, width, stored))
    }

    /// The values of some rows of a table, in place of what `out` holds.
    ///
    /// # Errors
    /// If the table has not these rows; if the device is lost or full.
    pub fn read_rows(
        &self,
        table: TableName,
        rows: &[u32],
        out: &mut Vec<f32>,
    ) -> Result<(), KernelError> {
        let tables = self.tables();
        let rows = tables.stored(table, rows);
        (self.inner.keeper).read_rows(tables.table(table), &rows, out)
    }

    /// The values of a table's rows that a plan needs, in the plan's order, in place of what `out`
    /// holds: all of them where candidates are all entities. For a worker on another device that
    /// makes a step of its own from them.
    ///
    /// # Errors
    /// As [`ParameterServer::gradients`].
    pub(crate) fn read_plan(
        &self,
        table: TableName,
        plan: &StoragePlan,
        out: &mut Vec<f32>,
    ) -> Result<(), ServerError> {
        let tables = self.tables_of(plan)?;
        let (keeper, table) = (&self.inner.keeper, (table, tables.table(table)));
        let rows = match (table.0, &plan.candidates) {
            (TableName::Entities, Candidates::All { .. }) => {
                *out = keeper.read(table.1, Column::Values)?;
                return Ok(());
            }
            (TableName::Entities, _) => &plan.entities,
            (TableName::Relations, _) => &plan.relations,
        };
        Ok(keeper.read_rows(table.1, &rows.ids, out)?)
    }

    /// Replaces a column of a table.
    ///
    /// # Errors
    /// If `data` has not rows × width values, or the device is lost.
    pub fn write(&self, table: TableName, column: Column, data: &[f32]) -> Result<(), KernelError> {
        let _still = self.still();
        let tables = self.tables();
        let width = column.width(tables.table(table).spec());
        let data = tables.by_storage(table, width, data);
        (self.inner.keeper).write(tables.table(table), column, &data)
    }

    /// Counts, for every query, the candidates before and beside its target.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn rank(&self, batch: &RankBatch) -> Result<Vec<RankCounts>, KernelError> {
        let (tables, mut house) = (self.tables(), self.house());
        let batch = tables.stored_batch(batch);
        house.rank(
            tables.shape.model,
            &batch,
            &tables.entities,
            &tables.relations,
        )
    }

    /// Scores of every query against every entity, row-major; for a few queries.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn scores(&self, queries: &[RankQuery]) -> Result<Vec<f32>, KernelError> {
        let (tables, mut house) = (self.tables(), self.house());
        let scores = house.scores(
            tables.shape.model,
            &tables.stored_queries(queries),
            &tables.entities,
            &tables.relations,
        )?;
        Ok(tables.by_row(TableName::Entities, 1, scores))
    }

    /// The score of every query against its target.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn score_pairs(&self, queries: &[RankQuery]) -> Result<Vec<f32>, KernelError> {
        let (tables, mut house) = (self.tables(), self.house());
        house.score_pairs(
            tables.shape.model,
            &tables.stored_queries(queries),
            &tables.entities,
            &tables.relations,
        )
    }
}
