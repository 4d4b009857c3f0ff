//! Steps and rankings of a process without other workers, by the server's own executor.

use super::table::tables::Tables;
use super::{ParameterServer, StoragePlan, TableName};
use crate::executor::{Executor, Replica};
use crate::kernel::{KernelError, Places, Push, RankBatch, RankCounts, RankQuery, StepSpec};
use crate::optim::OptimizerStep;

impl ParameterServer {
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
        let _layout = self.lock_layout();
        let (tables, mut executor) = (self.tables(), self.executor());
        let plan = &tables.renewed(plan);
        match &mut *executor {
            Executor::InPlace(engine) => {
                let (entities, relations) = (tables.entities.whole()?, tables.relations.whole()?);
                engine.step(spec, step, plan, entities, relations)?;
            }
            Executor::OnCopies(replica) => self.step_away(replica, &tables, spec, plan, step)?,
        }
        for shard in &mut self.state().shards {
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
        self.executor().engine().take_loss()
    }

    /// Counts, for every query, the candidates before and beside its target.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn rank(&self, batch: &RankBatch) -> Result<Vec<RankCounts>, KernelError> {
        let (tables, mut executor) = (self.tables(), self.executor());
        let batch = tables.stored_batch(batch);
        let (engine, [entities, relations]) = executor.on_tables(&tables)?;
        engine.rank(tables.shape.model, &batch, entities, relations)
    }

    /// Scores of every query against every entity, row-major; for a few queries.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn scores(&self, queries: &[RankQuery]) -> Result<Vec<f32>, KernelError> {
        let (tables, mut executor) = (self.tables(), self.executor());
        let queries = tables.stored_queries(queries);
        let (engine, [entities, relations]) = executor.on_tables(&tables)?;
        let scores = engine.scores(tables.shape.model, &queries, entities, relations)?;
        Ok(tables.by_row(TableName::Entities, 1, scores))
    }

    /// The score of every query against its target.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn score_pairs(&self, queries: &[RankQuery]) -> Result<Vec<f32>, KernelError> {
        let (tables, mut executor) = (self.tables(), self.executor());
        let queries = tables.stored_queries(queries);
        let (engine, [entities, relations]) = executor.on_tables(&tables)?;
        engine.score_pairs(tables.shape.model, &queries, entities, relations)
    }

    /// A step on copies: every shard gets its gradients on its own device.
    fn step_away(
        &self,
        replica: &mut Replica,
        tables: &Tables,
        spec: &StepSpec,
        plan: &StoragePlan,
        step: OptimizerStep,
    ) -> Result<(), KernelError> {
        replica.pull(tables, plan)?;
        replica.compute(spec, plan)?;
        // One shard's gradients are in memory at a time.
        for id in tables.shards() {
            let part = replica.shard_gradients(self, tables, plan, id)?;
            let push = Push {
                places: part.places.as_deref().map_or(Places::All, Places::Listed),
                gradients: &part.gradients,
                weight: 1.0,
            };
            let applied = tables.table(id.table).push(step, id.shard, &[push]);
            self.recycle(part.gradients);
            applied?;
        }
        Ok(())
    }
}
