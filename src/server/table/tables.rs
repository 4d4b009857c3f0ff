//! The tables of a model, cut into shards, and where each row lies.

use std::sync::Arc;

use crate::kernel::{Backend, ShardLayout, TableName};
use crate::optim::OptimizerKind;
use crate::server::table::sharded_table::ShardedTable;
use crate::server::{LayoutVersion, ServerError, Shape, ShardAssignment, ShardId, WorkerId};

/// Both tables on their devices. Only entities are ever kept in another order than that of their
/// rows.
#[derive(Debug)]
pub(crate) struct Tables {
    pub shape: Shape,
    pub entities: ShardedTable,
    /// Those of the tables before, where entities were resharded.
    pub relations: Arc<ShardedTable>,
    /// Where entities are; a new one whenever they move.
    pub assignment: Arc<ShardAssignment>,
    pub(in crate::server) version: LayoutVersion,
}

impl Tables {
    /// The version of where entities are.
    pub fn version(&self) -> LayoutVersion {
        self.version
    }

    pub fn table(&self, name: TableName) -> &ShardedTable {
        match name {
            TableName::Entities => &self.entities,
            TableName::Relations => &self.relations,
        }
    }

    /// The engine on the device that holds a shard.
    pub fn device(&self, id: ShardId) -> &Backend {
        self.table(id.table).device(id.shard)
    }

    pub fn layout(&self, name: TableName) -> &ShardLayout {
        &self.table(name).spec().layout
    }

    pub fn width(&self, name: TableName) -> usize {
        self.table(name).spec().width
    }

    pub fn optimizer(&self) -> OptimizerKind {
        self.entities.spec().optimizer
    }

    /// Where the rows of a table are, if not every row is its own storage row.
    pub fn order(&self, table: TableName) -> Option<&ShardAssignment> {
        match table {
            TableName::Entities if !self.assignment.is_identity() => Some(&self.assignment),
            _ => None,
        }
    }

    /// All shards: those of entities, then those of relations.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> {
        TableName::ALL.into_iter().flat_map(|table| {
            let shards = 0..self.layout(table).shards();
            shards.map(move |shard| ShardId { table, shard })
        })
    }

    /// The number of a shard among all.
    pub fn index(&self, id: ShardId) -> Result<usize, ServerError> {
        let shards = self.layout(id.table).shards();
        if id.shard >= shards {
            return Err(ServerError::NoShard {
                table: id.table,
                shard: id.shard,
                shards,
            });
        }
        Ok(match id.table {
            TableName::Entities => id.shard,
            TableName::Relations => self.layout(TableName::Entities).shards() + id.shard,
        })
    }

    /// The places of rows in a shard that must hold them all.
    pub fn places(
        &self,
        shard: ShardId,
        worker: WorkerId,
        rows: &[u32],
    ) -> Result<Vec<u32>, ServerError> {
        let layout = self.layout(shard.table);
        let range = layout.range(shard.shard);
        let (first, size) = (range.start as u32, range.len() as u32);
        // A row that does not exist, or lies before the shard, gets a place beyond it.
        let places: Vec<u32> = match self.order(shard.table) {
            None => rows.iter().map(|row| row.wrapping_sub(first)).collect(),
            Some(order) => {
                let storage = order.storage_rows();
                let place = |&row: &u32| match storage.get(row as usize) {
                    Some(storage) => storage.wrapping_sub(first),
                    None => u32::MAX,
                };
                rows.iter().map(place).collect()
            }
        };
        // One pass that vectorises; only if a row is wrong is it looked for.
        if places.iter().fold(0, |most, &place| most.max(place)) < size || rows.is_empty() {
            return Ok(places);
        }
        let wrong = places.iter().position(|&place| place >= size);
        let Some(row) = wrong.map(|at| rows[at]) else {
            return Ok(places);
        };
        Err(ServerError::ForeignRow {
            worker,
            shard,
            row,
            home: self.home(shard.table, row)?,
        })
    }

    /// The shard that holds a row.
    fn home(&self, table: TableName, row: u32) -> Result<usize, ServerError> {
        let layout = self.layout(table);
        if row as usize >= layout.rows() {
            return Err(ServerError::NoRow {
                table,
                row,
                rows: layout.rows(),
            });
        }
        Ok(layout.locate(self.storage(table, row)).0)
    }

    /// The storage rows of rows, and how many of them each shard holds.
    pub fn storage_rows(
        &self,
        table: TableName,
        rows: &[u32],
    ) -> Result<(Vec<u32>, Vec<usize>), ServerError> {
        let mut counts = vec![0; self.layout(table).shards()];
        for &row in rows {
            counts[self.home(table, row)?] += 1;
        }
        Ok((self.stored(table, rows).into_owned(), counts))
    }
}
