//! What the server computes itself: on the device of its shards, or where they are on several, on
//! copies.

use super::replica::Replica;
use super::tables::Tables;
use super::{ParameterServer, ServerError, ShardId, StoragePlan, TableName};
use crate::device::DeviceChoice;
use crate::kernel::{
    Backend, Column, KernelError, Places, Push, RankBatch, RankCounts, RankQuery, StepSpec, Table,
};
use crate::optim::OptimizerStep;

/// The server's own engine.
#[derive(Debug)]
pub(super) enum House {
    /// On the device that keeps all shards.
    Home(Backend),
    /// Beside the devices that keep them.
    Away(Box<Replica>),
}

impl House {
    fn engine(&mut self) -> &mut Backend {
        match self {
            House::Home(engine) => engine,
            House::Away(replica) => replica.engine(),
        }
    }

    /// The engine, and entities and relations as they are now, where it can use them.
    fn with<'a>(
        &'a mut self,
        tables: &'a Tables,
    ) -> Result<(&'a mut Backend, [&'a Table; 2]), KernelError> {
        match self {
            House::Home(engine) => Ok((
                engine,
                [tables.entities.whole()?, tables.relations.whole()?],
            )),
            House::Away(replica) => {
                replica.pull_all(tables)?;
                Ok(replica.parts())
            }
        }
    }
}

impl ParameterServer {
    /// Whether a shard is in the memory of a GPU.
    pub fn is_on_gpu(&self) -> bool {
        let mut engines = self.inner.keepers.engines.iter();
        engines.any(|engine| matches!(engine, Backend::Gpu(_)))
    }

    /// The device that keeps all shards, if it computes the server's own steps, too; none if shards are
    /// [spread](ParameterServer::spread).
    pub fn home(&self) -> Option<DeviceChoice> {
        let engine = &self.inner.keepers.engines[0];
        self.inner.at_home.then(|| engine.choice())
    }

    /// All shards: those of entities, then those of relations.
    pub fn shards(&self) -> Vec<ShardId> {
        self.tables().shards().collect()
    }

    /// The device that keeps a shard.
    ///
    /// # Errors
    /// [`ServerError::NoShard`].
    pub fn home_of(&self, shard: ShardId) -> Result<DeviceChoice, ServerError> {
        let tables = self.tables();
        tables.index(shard)?;
        Ok(tables.keeper(shard).choice())
    }

    /// Another engine on the server's device (the first of several), for a worker.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn engine(&self) -> Result<Backend, KernelError> {
        self.inner.keepers.engines[0].another()
    }

    /// Computes a step's gradients on a worker's engine, which must be of the device that keeps all
    /// shards; see [`Replica`] for any other.
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
        let (entities, relations) = (tables.entities.whole()?, tables.relations.whole()?);
        Ok(engine.gradients(spec, plan, entities, relations)?)
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
        let (entities, relations) = (tables.entities.whole()?, tables.relations.whole()?);
        Ok(engine.gradient_square_sum(plan, entities, relations)?)
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
        match &mut *house {
            House::Home(engine) => {
                let (entities, relations) = (tables.entities.whole()?, tables.relations.whole()?);
                engine.step(spec, step, plan, entities, relations)?;
            }
            House::Away(replica) => self.step_away(replica, &tables, spec, plan, step)?,
        }
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
        self.house().engine().take_loss()
    }

    /// A column of a table, all rows.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn read(&self, table: TableName, column: Column) -> Result<Vec<f32>, KernelError> {
        let tables = self.tables();
        let stored = tables.table(table).read(column)?;
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
        tables.table(table).read_rows(&rows, out)
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
        tables.table(table).write(column, &data)
    }

    /// Counts, for every query, the candidates before and beside its target.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn rank(&self, batch: &RankBatch) -> Result<Vec<RankCounts>, KernelError> {
        let (tables, mut house) = (self.tables(), self.house());
        let batch = tables.stored_batch(batch);
        let (engine, [entities, relations]) = house.with(&tables)?;
        engine.rank(tables.shape.model, &batch, entities, relations)
    }

    /// Scores of every query against every entity, row-major; for a few queries.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn scores(&self, queries: &[RankQuery]) -> Result<Vec<f32>, KernelError> {
        let (tables, mut house) = (self.tables(), self.house());
        let queries = tables.stored_queries(queries);
        let (engine, [entities, relations]) = house.with(&tables)?;
        let scores = engine.scores(tables.shape.model, &queries, entities, relations)?;
        Ok(tables.by_row(TableName::Entities, 1, scores))
    }

    /// The score of every query against its target.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn score_pairs(&self, queries: &[RankQuery]) -> Result<Vec<f32>, KernelError> {
        let (tables, mut house) = (self.tables(), self.house());
        let queries = tables.stored_queries(queries);
        let (engine, [entities, relations]) = house.with(&tables)?;
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
        let (engine, copies) = replica.parts();
        engine.gradients(spec, plan, copies[0], copies[1])?;
        for id in tables.shards() {
            let (places, gradients) = self.part(tables, (&mut *engine, Some(copies)), plan, id)?;
            let push = Push {
                places: places.as_deref().map_or(Places::All, Places::Listed),
                gradients: &gradients,
                weight: 1.0,
            };
            let applied = tables.table(id.table).push(step, id.shard, &[push]);
            self.recycle(gradients);
            applied?;
        }
        Ok(())
    }
}
