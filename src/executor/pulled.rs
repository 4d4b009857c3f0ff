//! Steps on rows that a shard client pulls, for a process that does not hold all shards.

use std::sync::Arc;

use crate::ids::{LayoutVersion, ShardId, TableName};
use crate::kernel::{Backend, Column, Dtype, KernelError, ShardLayout, StepSpec, Table, TableSpec};
use crate::optim::OptimizerKind;
use crate::sampler::{Candidates, Plan};
use crate::server::{PushedPart, PushedRows, RowMap};

/// An engine with copies of the rows that a step needs.
///
/// For a step, copy the rows that [`needed`](PulledRows::needed) names by [`fill`](PulledRows::fill), then compute by
/// [`gradients`](PulledRows::gradients), then take the gradients by [`parts`](PulledRows::parts).
#[derive(Debug)]
pub struct PulledRows {
    engine: Backend,
    map: Arc<RowMap>,
    spec: StepSpec,
    /// Room for rows of entities: those of a step, or all where all are candidates.
    entities: Table,
    /// Room for all rows of relations.
    relations: Table,
    values: Vec<f32>,
}

/// A plan for copies of rows.
#[derive(Clone, Debug)]
pub struct PulledPlan {
    /// The plan, by rows of the copies.
    plan: Plan,
    /// Storage rows of the touched entities, ascending.
    entities: Vec<u32>,
    /// True if the copies have the touched entities alone.
    compact: bool,
}

impl PulledPlan {
    /// The plan, by rows of the copies.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}

/// Allocates copies of rows of a table, without optimizer states.
fn room(
    engine: &Backend,
    name: TableName,
    width: usize,
    layout: ShardLayout,
) -> Result<Table, KernelError> {
    let spec = TableSpec {
        name: name.name(),
        width,
        layout,
        optimizer: OptimizerKind::Sgd,
        dtype: Dtype::F32,
    };
    engine.create_table(&spec, &mut |_, rows| rows.fill(0.0))
}

impl PulledRows {
    /// Allocates the copies of relations. `map` places the rows of the whole model.
    ///
    /// # Errors
    /// If the device cannot hold them.
    pub fn new(
        engine: Backend,
        map: &Arc<RowMap>,
        spec: StepSpec,
    ) -> Result<PulledRows, KernelError> {
        let layout = map.shard_layout(TableName::Relations).clone();
        let width = map.width(TableName::Relations);
        let none = ShardLayout::from_sizes(&[0]);
        Ok(PulledRows {
            entities: room(
                &engine,
                TableName::Entities,
                map.width(TableName::Entities),
                none,
            )?,
            relations: room(&engine, TableName::Relations, width, layout)?,
            map: Arc::clone(map),
            spec,
            engine,
            values: Vec::new(),
        })
    }

    /// Version of the layout that the rows are placed by.
    pub fn layout(&self) -> LayoutVersion {
        self.map.version()
    }

    /// The engine, without the copies.
    pub fn into_engine(self) -> Backend {
        self.engine
    }

    /// Prepares a plan, whose entities are row numbers, for the copies.
    pub fn prepare(&self, plan: Plan) -> PulledPlan {
        let entities = TableName::Entities;
        let plan = match self.map.is_identity(entities) {
            true => plan,
            false => plan.renamed(|row| self.map.storage(entities, row)),
        };
        // Masks of dropped-out candidates follow the rows' numbers in the whole table.
        let sampled = matches!(plan.candidates, Candidates::Sampled { .. });
        if sampled && self.spec.candidate_dropout == 0.0 {
            let (plan, entities) = plan.compacted();
            return PulledPlan {
                plan,
                entities,
                compact: true,
            };
        }
        PulledPlan {
            entities: plan.entities.ids.clone(),
            plan,
            compact: false,
        }
    }

    /// Row numbers of a table that a step reads, in the order in which [`fill`](PulledRows::fill) takes their values.
    pub fn needed(&self, plan: &PulledPlan, table: TableName) -> Vec<u32> {
        match (table, &plan.plan.candidates) {
            (TableName::Relations, _) => plan.plan.relations.ids.clone(),
            (TableName::Entities, Candidates::Sampled { .. }) => {
                let rows = plan.entities.iter();
                rows.map(|&row| self.map.row(table, row)).collect()
            }
            (TableName::Entities, Candidates::All { .. }) => {
                let rows = 0..self.map.rows(table) as u32;
                rows.map(|row| self.map.row(table, row)).collect()
            }
        }
    }

    /// Copies the values of the rows that a step [needs](PulledRows::needed), row-major.
    ///
    /// # Errors
    /// [`KernelError::Shape`] for another number of values; if the device cannot hold the copies.
    pub fn fill(
        &mut self,
        plan: &PulledPlan,
        table: TableName,
        values: &[f32],
    ) -> Result<(), KernelError> {
        if table == TableName::Relations {
            let rows = &plan.plan.relations.ids;
            return self.engine.write_rows(&self.relations, rows, values);
        }
        let layout = match plan.compact {
            // Some more, so that the copies are not allocated again for every step that is a little larger.
            true => {
                let (rows, room) = (plan.entities.len(), self.entities.spec().layout.rows());
                let rows = if rows <= room { room } else { rows + rows / 4 };
                ShardLayout::from_sizes(&[rows])
            }
            false => self.map.shard_layout(table).clone(),
        };
        if self.entities.spec().layout != layout {
            let width = self.map.width(table);
            self.entities = room(&self.engine, table, width, layout)?;
        }
        match &plan.plan.candidates {
            Candidates::All { .. } => self.engine.write(&self.entities, Column::Values, values),
            Candidates::Sampled { .. } if plan.compact => {
                let rows = 0..plan.entities.len();
                let entities = &self.entities;
                self.engine
                    .write_part(entities, Column::Values, rows, values)
            }
            Candidates::Sampled { .. } => {
                let rows = &plan.entities;
                self.engine.write_rows(&self.entities, rows, values)
            }
        }
    }

    /// Computes a plan's gradients on the copies. They stay in the engine. Returns the loss and Σ g², which are not
    /// finite if a loss or a gradient is not.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn gradients(&mut self, plan: &PulledPlan) -> Result<(f64, f64), KernelError> {
        let (entities, relations) = (&self.entities, &self.relations);
        self.engine
            .gradients(&self.spec, &plan.plan, entities, relations)?;
        let squares = self
            .engine
            .gradient_square_sum(&plan.plan, entities, relations)?;
        Ok((self.engine.take_loss()?, squares))
    }

    /// Cuts the gradients that [`gradients`](PulledRows::gradients) computed last by shard: a part for every shard of
    /// the model, entity shards first.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn parts(&mut self, plan: &PulledPlan) -> Result<Vec<PushedPart>, KernelError> {
        let map = Arc::clone(&self.map);
        let none = plan.plan.queries.is_empty();
        let mut read = None;
        let parts = map.shards().map(|shard| {
            if none {
                return Ok(part(shard, Some(Vec::new()), Vec::new()));
            }
            let all = shard.table == TableName::Entities
                && matches!(plan.plan.candidates, Candidates::All { .. });
            if all {
                let mut values = Vec::new();
                let (engine, copy) = (&self.engine, &self.entities);
                engine.read_gradients(&plan.plan, shard.table, copy, shard.shard, &mut values)?;
                return Ok(part(shard, None, values));
            }
            if read != Some(shard.table) {
                self.read_touched(plan, shard.table)?;
                read = Some(shard.table);
            }
            let rows = match shard.table {
                TableName::Entities => &plan.entities,
                TableName::Relations => &plan.plan.relations.ids,
            };
            let (layout, width) = (map.shard_layout(shard.table), map.width(shard.table));
            let stretch = layout.stretch(shard.shard, rows);
            let first = layout.range(shard.shard).start as u32;
            let places = rows[stretch.clone()].iter().map(|row| row - first);
            let values = self.values[stretch.start * width..stretch.end * width].to_vec();
            Ok(part(shard, Some(places.collect()), values))
        });
        parts.collect()
    }

    /// Reads the gradients of all touched rows of a table.
    fn read_touched(&mut self, plan: &PulledPlan, table: TableName) -> Result<(), KernelError> {
        let copy = match table {
            TableName::Entities => &self.entities,
            TableName::Relations => &self.relations,
        };
        self.values.clear();
        for shard in 0..copy.spec().layout.shards() {
            let values = &mut self.values;
            self.engine
                .read_gradients(&plan.plan, table, copy, shard, values)?;
        }
        Ok(())
    }
}

fn part(shard: ShardId, places: Option<Vec<u32>>, values: Vec<f32>) -> PushedPart {
    PushedPart {
        shard,
        places,
        gradients: PushedRows::Values(values),
    }
}
