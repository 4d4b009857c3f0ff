//! The parameter server: owns the tables of a model as shards on a device. Every gradient reaches
//! a row, and every score comes from one, through here.

mod assignment;
mod init;
mod manager;
mod placement;
mod strategy;
mod worker;

pub use assignment::{MOST_SHARDS, ShardAssignment, ShardRecord, TableSize};
pub use init::{Initializer, Spread};
pub use manager::{Reshard, ShardError, ShardManager};
pub use placement::{DeviceCapacity, PlacementError, place};
pub use strategy::{HASH_SEED, ShardingStrategy};
pub use worker::WorkerId;

use crate::kernel::{
    Backend, Column, KernelError, RankBatch, RankCounts, RankQuery, ShardLayout, StepSpec, Table,
    TableSpec,
};
use crate::model::Model;
use crate::optim::{OptimizerKind, OptimizerStep};
use crate::sampler::Plan;

/// The shape of a model's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Operator and similarity.
    pub model: Model,
    /// Values in an entity's row.
    pub dim: usize,
    /// Rows of the entity table.
    pub entities: usize,
    /// Rows of the relation table: twice the relations where they are reciprocal.
    pub relations: usize,
}

impl Shape {
    /// Values in a row of a table.
    pub fn width(&self, table: TableName) -> usize {
        match table {
            TableName::Entities => self.dim,
            TableName::Relations => self.model.relation_width(self.dim),
        }
    }

    /// Rows of a table.
    pub fn rows(&self, table: TableName) -> usize {
        match table {
            TableName::Entities => self.entities,
            TableName::Relations => self.relations,
        }
    }
}

/// The tables of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableName {
    /// One row an entity.
    Entities,
    /// One row a relation (and one for its reciprocal).
    Relations,
}

impl TableName {
    /// Both tables.
    pub const ALL: [TableName; 2] = [TableName::Entities, TableName::Relations];

    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            TableName::Entities => "entities",
            TableName::Relations => "relations",
        }
    }
}

/// The tables of one model on one device.
#[derive(Debug)]
pub struct ParameterServer {
    shape: Shape,
    backend: Backend,
    entities: Table,
    relations: Table,
    specs: [TableSpec; 2],
}

impl ParameterServer {
    /// Makes both tables. `shards` is the least number of shards of the entity table; the device's
    /// binding limit may ask for more.
    ///
    /// # Errors
    /// If the device cannot hold the tables.
    pub fn new(
        backend: Backend,
        shape: Shape,
        optimizer: OptimizerKind,
        shards: usize,
        init: &Initializer,
    ) -> Result<ParameterServer, KernelError> {
        let specs = TableName::ALL.map(|table| {
            let width = shape.width(table);
            let shards = if table == TableName::Entities {
                shards
            } else {
                1
            };
            TableSpec {
                name: table.name(),
                width,
                layout: ShardLayout::new(shape.rows(table), shards, backend.most_rows(width)),
                optimizer,
            }
        });
        let create = |table: TableName, spec: &TableSpec| {
            backend.create_table(spec, &mut |first, rows| {
                init.fill(&shape, table, first, rows)
            })
        };
        Ok(ParameterServer {
            entities: create(TableName::Entities, &specs[0])?,
            relations: create(TableName::Relations, &specs[1])?,
            shape,
            backend,
            specs,
        })
    }

    /// Shape of the tables.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// How a table is made up.
    pub fn spec(&self, table: TableName) -> &TableSpec {
        &self.specs[table as usize]
    }

    /// One training step: pull, gradients, push. The loss stays on the device until
    /// [`ParameterServer::take_loss`].
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn step(
        &mut self,
        spec: &StepSpec,
        plan: &Plan,
        step: OptimizerStep,
    ) -> Result<(), KernelError> {
        self.backend
            .gradients(spec, plan, &self.entities, &self.relations)?;
        self.backend
            .update(step, plan, &mut self.entities, &mut self.relations)
    }

    /// The losses of all steps since the last call, added up.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn take_loss(&mut self) -> Result<f64, KernelError> {
        self.backend.take_loss()
    }

    /// A column of a table, all rows.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn read(&self, table: TableName, column: Column) -> Result<Vec<f32>, KernelError> {
        self.backend.read(self.table(table), column)
    }

    /// Replaces a column of a table.
    ///
    /// # Errors
    /// If `data` has not rows × width values, or the device is lost.
    pub fn write(
        &mut self,
        table: TableName,
        column: Column,
        data: &[f32],
    ) -> Result<(), KernelError> {
        let target = match table {
            TableName::Entities => &mut self.entities,
            TableName::Relations => &mut self.relations,
        };
        self.backend.write(target, column, data)
    }

    fn table(&self, table: TableName) -> &Table {
        match table {
            TableName::Entities => &self.entities,
            TableName::Relations => &self.relations,
        }
    }

    /// Counts, for every query, the candidates before and beside its target.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn rank(&mut self, batch: &RankBatch) -> Result<Vec<RankCounts>, KernelError> {
        self.backend
            .rank(self.shape.model, batch, &self.entities, &self.relations)
    }

    /// Scores of every query against every entity, row-major; for a few queries.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn scores(&mut self, queries: &[RankQuery]) -> Result<Vec<f32>, KernelError> {
        self.backend
            .scores(self.shape.model, queries, &self.entities, &self.relations)
    }

    /// The score of every query against its target.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn score_pairs(&mut self, queries: &[RankQuery]) -> Result<Vec<f32>, KernelError> {
        self.backend
            .score_pairs(self.shape.model, queries, &self.entities, &self.relations)
    }
}
