//! Steps on rows that a shard client pulls, for a process that does not hold all shards.

use std::sync::Arc;

use crate::ids::{LayoutVersion, ShardId, TableName};
use crate::kernel::{
    Backend, Column, Dtype, GradientRows, KernelError, ShardLayout, StepSpec, Table, TableSpec,
};
use crate::optim::OptimizerKind;
use crate::sampler::{Candidates, Plan};
use crate::server::{PushedPart, PushedRows, RowMap};

/// An engine with copies of the rows that a step needs.
///
/// For a step, copy the rows that a prepared plan [needs](PulledPlan::shards) by [`fill`](PulledRows::fill), then
/// compute by [`gradients`](PulledRows::gradients), then take the gradients by [`parts`](PulledRows::parts).
#[derive(Debug)]
pub struct PulledRows {
    engine: Backend,
    map: Arc<RowMap>,
    spec: StepSpec,
    /// Room for rows of entities: those of a step, or all where all are candidates.
    entities: Table,
    /// Room for all rows of relations.
    relations: Table,
    /// Rows of each entity shard for which plans have room.
    room: Vec<usize>,
    /// Gradients handed out before, with the number of their shard, whose memory is used again.
    handed: Vec<(usize, GradientRows)>,
}

/// A plan for copies of rows.
#[derive(Clone, Debug)]
pub struct PulledPlan {
    /// The plan, by rows of the copies.
    plan: Plan,
    /// Rows of every shard of the model, entity shards first.
    shards: Vec<ShardRows>,
    /// Layout of the copies of entities.
    layout: ShardLayout,
    copied: Copied,
}

/// Entities of which there are copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copied {
    /// Those that the step touches alone.
    Touched,
    /// Those that the step touches, in a table with room for all: masks of dropped-out candidates follow the rows'
    /// numbers in the whole table.
    TouchedOfAll,
    /// All.
    All,
}

/// Rows of a shard that a step reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardRows {
    /// The shard.
    pub shard: ShardId,
    /// Row numbers, in the order of their places.
    pub rows: Vec<u32>,
    /// Places of the rows with gradients; `None` stands for all rows of the shard.
    places: Option<Vec<u32>>,
}

impl PulledPlan {
    /// The plan, by rows of the copies.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Rows that the step reads: for every shard of the model, entity shards first.
    pub fn shards(&self) -> &[ShardRows] {
        &self.shards
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
        let [entities, relations] = TableName::ALL;
        let none = ShardLayout::from_sizes(&[0]);
        Ok(PulledRows {
            entities: room(&engine, entities, map.width(entities), none)?,
            relations: room(
                &engine,
                relations,
                map.width(relations),
                map.shard_layout(relations).clone(),
            )?,
            room: vec![0; map.shard_layout(entities).shards()],
            map: Arc::clone(map),
            spec,
            engine,
            handed: Vec::new(),
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

    /// Prepares a plan, whose entities are row numbers, for the copies. Later plans may be prepared before this one is
    /// computed.
    pub fn prepare(&mut self, plan: Plan) -> PulledPlan {
        let entities = TableName::Entities;
        let plan = match self.map.is_identity(entities) {
            true => plan,
            false => plan.renamed(|row| self.map.storage(entities, row)),
        };
        let copied = match plan.candidates {
            Candidates::All { .. } => Copied::All,
            Candidates::Sampled { .. } if self.spec.candidate_dropout == 0.0 => Copied::Touched,
            Candidates::Sampled { .. } => Copied::TouchedOfAll,
        };
        let shards = self.map.shards().map(|shard| self.rows_of(&plan, shard));
        let shards: Vec<ShardRows> = shards.collect();
        if copied != Copied::Touched {
            return PulledPlan {
                layout: self.map.shard_layout(entities).clone(),
                plan,
                shards,
                copied,
            };
        }
        for (room, found) in self.room.iter_mut().zip(&shards) {
            let found_rows = found.rows.len();
            if found_rows > *room {
                // Some more, so that the copies are not allocated again for every step that is a little larger.
                let all = self.map.range(found.shard).len();
                *room = (found_rows + found_rows / 4).min(all);
            }
        }
        let layout = ShardLayout::from_sizes(&self.room);
        let numbers = (0..self.room.len()).flat_map(|shard| {
            let first = layout.range(shard).start as u32;
            first..first + shards[shard].rows.len() as u32
        });
        let (plan, _) = plan.renumbered(numbers.collect());
        PulledPlan {
            plan,
            shards,
            layout,
            copied,
        }
    }

    /// Rows of a shard that a plan by storage rows reads.
    fn rows_of(&self, plan: &Plan, shard: ShardId) -> ShardRows {
        let (map, table) = (&self.map, shard.table);
        if plan.queries.is_empty() {
            return ShardRows {
                shard,
                rows: Vec::new(),
                places: Some(Vec::new()),
            };
        }
        let touched = match (table, &plan.candidates) {
            (TableName::Entities, Candidates::All { .. }) => {
                return ShardRows {
                    shard,
                    rows: map.rows_of(shard).into_owned(),
                    places: None,
                };
            }
            (TableName::Entities, Candidates::Sampled { .. }) => &plan.entities.ids,
            (TableName::Relations, _) => &plan.relations.ids,
        };
        let layout = map.shard_layout(table);
        let first = layout.range(shard.shard).start as u32;
        let stored = &touched[layout.stretch(shard.shard, touched)];
        ShardRows {
            shard,
            rows: match map.is_identity(table) {
                true => stored.to_vec(),
                false => stored.iter().map(|&row| map.row(table, row)).collect(),
            },
            places: Some(stored.iter().map(|row| row - first).collect()),
        }
    }

    /// Allocates the copies of entities again, if a plan needs more room.
    fn fit(&mut self, plan: &PulledPlan) -> Result<(), KernelError> {
        if self.entities.spec().layout != plan.layout {
            let width = self.map.width(TableName::Entities);
            let layout = plan.layout.clone();
            self.entities = room(&self.engine, TableName::Entities, width, layout)?;
        }
        Ok(())
    }

    /// Copies the values of rows of the shard with number `shard` in [`PulledPlan::shards`], row-major: of all that the
    /// step reads, or of those at these positions among them.
    ///
    /// # Errors
    /// [`KernelError::Shape`] for another number of values; if the device cannot hold the copies.
    pub fn fill(
        &mut self,
        plan: &PulledPlan,
        shard: usize,
        positions: Option<&[u32]>,
        values: &[f32],
    ) -> Result<(), KernelError> {
        self.fit(plan)?;
        let wanted = &plan.shards[shard];
        let (table, number) = (wanted.shard.table, wanted.shard.shard);
        let copies = match table {
            TableName::Entities => &self.entities,
            TableName::Relations => &self.relations,
        };
        let first = copies.spec().layout.range(number).start;
        let dense = table == TableName::Entities && plan.copied != Copied::TouchedOfAll;
        match (positions, &wanted.places) {
            (None, _) if dense => {
                let rows = first..first + wanted.rows.len();
                (self.engine).write_part(copies, Column::Values, rows, values)
            }
            (positions, Some(places)) if !dense => {
                let row = |at: usize| places[at] + first as u32;
                let rows: Vec<u32> = match positions {
                    None => (0..places.len()).map(row).collect(),
                    Some(positions) => positions.iter().map(|&at| row(at as usize)).collect(),
                };
                self.engine.write_rows(copies, &rows, values)
            }
            (positions, _) => {
                let positions = positions.unwrap_or_default().iter();
                let rows: Vec<u32> = positions.map(|&at| first as u32 + at).collect();
                self.engine.write_rows(copies, &rows, values)
            }
        }
    }

    /// Computes a plan's gradients on the copies. They stay in the engine. Returns the loss and Σ g², which are not
    /// finite if a loss or a gradient is not.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn gradients(&mut self, plan: &PulledPlan) -> Result<(f64, f64), KernelError> {
        self.fit(plan)?;
        let (entities, relations) = (&self.entities, &self.relations);
        self.engine
            .gradients(&self.spec, &plan.plan, entities, relations)?;
        let squares = self
            .engine
            .gradient_square_sum(&plan.plan, entities, relations)?;
        Ok((self.engine.take_loss()?, squares))
    }

    /// Cuts the gradients that [`gradients`](PulledRows::gradients) computed last by shard, on the engine's device: a
    /// part for every shard of the model, entity shards first.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn parts(&mut self, plan: &PulledPlan) -> Result<Vec<PushedPart>, KernelError> {
        let mut parts = Vec::with_capacity(plan.shards.len());
        for (number, wanted) in plan.shards.iter().enumerate() {
            let shard = wanted.shard;
            let gradients = match &wanted.places {
                Some(places) if places.is_empty() => PushedRows::Values(Vec::new()),
                _ => {
                    let old = self.free(number);
                    let copies = match shard.table {
                        TableName::Entities => &self.entities,
                        TableName::Relations => &self.relations,
                    };
                    let engine = &mut self.engine;
                    let rows =
                        engine.keep_gradients(&plan.plan, shard.table, copies, shard.shard, old)?;
                    self.handed.push((number, rows.clone()));
                    PushedRows::OnDevice(rows)
                }
            };
            parts.push(PushedPart {
                shard,
                places: wanted.places.clone(),
                gradients,
            });
        }
        Ok(parts)
    }

    /// Memory of gradients of a shard that nobody reads any more.
    fn free(&mut self, shard: usize) -> Option<GradientRows> {
        let free = |(of, rows): &(usize, GradientRows)| *of == shard && !rows.is_shared();
        let at = self.handed.iter().position(free)?;
        Some(self.handed.swap_remove(at).1)
    }
}
