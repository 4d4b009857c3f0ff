//! Copies of rows on another device than their shards.

use super::{empty, places_of};
use crate::kernel::{Backend, Column, KernelError, StepSpec, Table, TableSpec};
use crate::optim::OptimizerKind;
use crate::sampler::{Candidates, Plan};
use crate::server::table::tables::Tables;
use crate::server::{ParameterServer, ShardGradients, ShardId, TableName};

/// An engine on another device than the shards, with copies of the rows that it computes on.
#[derive(Debug)]
pub(super) struct Replica {
    engine: Backend,
    entities: Table,
    relations: Table,
    rows: Vec<f32>,
    /// Versions of the tables, if the copies of all rows are current.
    whole: Option<[u64; 2]>,
}

/// Allocates a copy of a table.
fn room(engine: &Backend, spec: &TableSpec) -> Result<Table, KernelError> {
    let spec = TableSpec {
        // A copy is never updated, so it does not need optimizer states.
        optimizer: OptimizerKind::Sgd,
        ..spec.clone()
    };
    engine.create_table(&spec, &mut |_, rows| rows.fill(0.0))
}

impl Replica {
    pub(super) fn new(tables: &Tables, engine: Backend) -> Result<Replica, KernelError> {
        Ok(Replica {
            entities: room(&engine, tables.entities.spec())?,
            relations: room(&engine, tables.relations.spec())?,
            engine,
            rows: Vec::new(),
            whole: None,
        })
    }

    /// Engine of the copies.
    pub(super) fn engine(&mut self) -> &mut Backend {
        &mut self.engine
    }

    /// Engine, and the copies of entities and relations.
    pub(super) fn parts(&mut self) -> (&mut Backend, [&Table; 2]) {
        (&mut self.engine, [&self.entities, &self.relations])
    }

    /// Computes a plan's gradients on the rows that [`Replica::pull`] copied.
    pub(super) fn compute(&mut self, spec: &StepSpec, plan: &Plan) -> Result<(), KernelError> {
        let (engine, [entities, relations]) = self.parts();
        engine.gradients(spec, plan, entities, relations)
    }

    /// Copies the gradients that [`Replica::compute`] computed for a shard to the shard's device.
    pub(super) fn shard_gradients(
        &mut self,
        server: &ParameterServer,
        tables: &Tables,
        plan: &Plan,
        shard: ShardId,
    ) -> Result<ShardGradients, KernelError> {
        let Some(places) = places_of(tables, plan, shard) else {
            return empty(tables, shard);
        };
        let copy = match shard.table {
            TableName::Entities => &self.entities,
            TableName::Relations => &self.relations,
        };
        let (engine, values) = (&mut self.engine, &mut self.rows);
        values.clear();
        engine.read_gradients(plan, shard.table, copy, shard.shard, values)?;
        let holder = tables.device(shard);
        Ok(ShardGradients {
            shard,
            places,
            gradients: holder.upload(values, server.reuse(holder))?,
        })
    }

    /// Copies the rows that a plan needs: all entities if all are candidates.
    pub(super) fn pull(&mut self, tables: &Tables, plan: &Plan) -> Result<(), KernelError> {
        self.fit(tables)?;
        self.whole = None;
        let (engine, rows) = (&self.engine, &mut self.rows);
        if let Candidates::All { .. } = plan.candidates {
            *rows = tables.entities.read(Column::Values)?;
            engine.write(&self.entities, Column::Values, rows)?;
        } else {
            tables.entities.read_rows(&plan.entities.ids, rows)?;
            engine.write_rows(&self.entities, &plan.entities.ids, rows)?;
        }
        tables.relations.read_rows(&plan.relations.ids, rows)?;
        engine.write_rows(&self.relations, &plan.relations.ids, rows)
    }

    /// Copies all rows, unless the copies are current.
    pub(super) fn pull_all(&mut self, tables: &Tables) -> Result<(), KernelError> {
        let now = TableName::ALL.map(|table| tables.table(table).version());
        if self.whole == Some(now) {
            return Ok(());
        }
        self.fit(tables)?;
        self.whole = None;
        for (table, copy) in [
            (&tables.entities, &self.entities),
            (&*tables.relations, &self.relations),
        ] {
            let values = table.read(Column::Values)?;
            self.engine.write(copy, Column::Values, &values)?;
        }
        self.whole = Some(now);
        Ok(())
    }

    /// Allocates the copy of entities again if rows have moved.
    fn fit(&mut self, tables: &Tables) -> Result<(), KernelError> {
        let spec = tables.entities.spec();
        if self.entities.spec().layout != spec.layout {
            self.entities = room(&self.engine, spec)?;
        }
        Ok(())
    }
}
