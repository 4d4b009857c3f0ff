//! The tables of a model, cut into shards, and the storage row of each row.

use std::sync::Arc;

use crate::kernel::{Backend, ShardLayout, TableName};
use crate::optim::OptimizerKind;
use crate::server::table::sharded_table::ShardedTable;
use crate::server::{LayoutVersion, ServerError, Shape, ShardAssignment, ShardId, WorkerId};

/// Both tables on their devices. Only entities may be stored in another order than that of their row numbers.
#[derive(Debug)]
pub(crate) struct Tables {
    pub shape: Shape,
    pub entities: ShardedTable,
    /// Shared with earlier tables if entities were resharded.
    pub relations: Arc<ShardedTable>,
    /// Assignment of entity rows; replaced whenever they move.
    pub assignment: Arc<ShardAssignment>,
    pub(in crate::server) version: LayoutVersion,
}

impl Tables {
    /// Version of the layout.
    pub fn version(&self) -> LayoutVersion {
        self.version
    }

    pub fn table(&self, name: TableName) -> &ShardedTable {
        match name {
            TableName::Entities => &self.entities,
            TableName::Relations => &self.relations,
        }
    }

    /// Engine on the device that holds a shard.
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

    /// Assignment of a table's rows, unless every row is its own storage row.
    pub fn order(&self, table: TableName) -> Option<&ShardAssignment> {
        match table {
            TableName::Entities if !self.assignment.is_identity() => Some(&self.assignment),
            _ => None,
        }
    }

    /// All shards: entity shards, then relation shards.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> {
        TableName::ALL.into_iter().flat_map(|table| {
            let shards = 0..self.layout(table).shards();
            shards.map(move |shard| ShardId { table, shard })
        })
    }

    /// Index of a shard among all.
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

    /// Places of rows in a shard; fails if the shard does not hold all of them.
    pub fn places(
        &self,
        shard: ShardId,
        worker: WorkerId,
        rows: &[u32],
    ) -> Result<Vec<u32>, ServerError> {
        let layout = self.layout(shard.table);
        let range = layout.range(shard.shard);
        let (first, size) = (range.start as u32, range.len() as u32);
        // A row that does not exist, or lies before the shard, gets a place beyond the shard.
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
        // This pass vectorises; the search for a wrong row runs only if one exists.
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

    /// Shard that holds a row.
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

    /// Storage rows of `rows`, and the number of them that each shard holds.
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
