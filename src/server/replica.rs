//! Copies of rows on another device than that of their shards.

use super::tables::Tables;
use super::{ParameterServer, ServerError, StoragePlan, TableName};
use crate::kernel::{Backend, Column, KernelError, StepSpec, Table, TableSpec};
use crate::optim::OptimizerKind;
use crate::sampler::{Candidates, Plan};

/// An engine on another device than the shards, and room there for copies of what it computes on.
#[derive(Debug)]
pub struct Replica {
    engine: Backend,
    entities: Table,
    relations: Table,
    rows: Vec<f32>,
    /// The versions of the tables that all rows are copies of.
    whole: Option<[u64; 2]>,
}

/// Room for a copy of a table.
fn room(engine: &Backend, spec: &TableSpec) -> Result<Table, KernelError> {
    let spec = TableSpec {
        // A copy is never updated: it needs no optimizer's state.
        optimizer: OptimizerKind::Sgd,
        ..spec.clone()
    };
    engine.create_table(&spec, &mut |_, rows| rows.fill(0.0))
}

impl ParameterServer {
    /// An engine with copies of the tables, for a worker on another device.
    ///
    /// # Errors
    /// If the device cannot hold them.
    pub fn replica(&self, engine: Backend) -> Result<Replica, ServerError> {
        Ok(Replica::new(&self.tables(), engine)?)
    }
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

    /// The engine.
    pub fn engine(&mut self) -> &mut Backend {
        &mut self.engine
    }

    /// The engine, and the copies of entities and relations.
    pub fn parts(&mut self) -> (&mut Backend, [&Table; 2]) {
        (&mut self.engine, [&self.entities, &self.relations])
    }

    /// Copies the rows that a plan needs as they are now, and computes the plan's gradients.
    ///
    /// # Errors
    /// [`ServerError::Moved`] if shards have moved since the plan was translated;
    /// [`ServerError::Kernel`] if a device is lost or full.
    pub fn gradients(
        &mut self,
        server: &ParameterServer,
        spec: &StepSpec,
        plan: &StoragePlan,
    ) -> Result<(), ServerError> {
        let tables = server.tables_of(plan)?;
        self.pull(&tables, plan)?;
        let (engine, [entities, relations]) = self.parts();
        Ok(engine.gradients(spec, plan, entities, relations)?)
    }

    /// Σ g² of what [`Replica::gradients`] has computed; not finite if a gradient is not.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn gradient_square_sum(&mut self, plan: &StoragePlan) -> Result<f64, KernelError> {
        let (engine, [entities, relations]) = self.parts();
        engine.gradient_square_sum(plan, entities, relations)
    }

    /// Copies the rows that a plan needs: all entities where they are all candidates.
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

    /// Copies all rows, unless they are copies of what is there now.
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

    /// Makes room anew where shards have moved.
    fn fit(&mut self, tables: &Tables) -> Result<(), KernelError> {
        let spec = tables.entities.spec();
        if self.entities.spec().layout != spec.layout {
            self.entities = room(&self.engine, spec)?;
        }
        Ok(())
    }
}
