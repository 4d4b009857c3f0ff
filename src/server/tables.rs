//! The tables of a model, cut into shards, and where each row lies.

use super::{ServerError, Shape, ShardId, WorkerId};
use crate::kernel::{ShardLayout, Table, TableName};
use crate::optim::OptimizerKind;

/// Both tables on their device.
#[derive(Debug)]
pub(super) struct Tables {
    pub shape: Shape,
    pub entities: Table,
    pub relations: Table,
}

impl Tables {
    pub fn table(&self, name: TableName) -> &Table {
        match name {
            TableName::Entities => &self.entities,
            TableName::Relations => &self.relations,
        }
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

    /// The places of rows in a shard that must hold them all.
    pub fn places(
        &self,
        shard: ShardId,
        worker: WorkerId,
        rows: &[u32],
    ) -> Result<Vec<u32>, ServerError> {
        let layout = self.layout(shard.table);
        let range = layout.range(shard.shard);
        let (first, end) = (range.start as u32, range.end as u32);
        let places: Vec<u32> = rows.iter().map(|row| row.wrapping_sub(first)).collect();
        // One pass that vectorises; only if a row is wrong is it looked for.
        if places.iter().fold(0, |most, &place| most.max(place)) < end - first || rows.is_empty() {
            return Ok(places);
        }
        match rows.iter().find(|row| !range.contains(&(**row as usize))) {
            Some(&row) if (row as usize) < layout.rows() => Err(ServerError::ForeignRow {
                worker,
                shard,
                row,
                home: layout.locate(row).0,
            }),
            Some(&row) => Err(ServerError::NoRow {
                table: shard.table,
                row,
                rows: layout.rows(),
            }),
            None => Ok(places),
        }
    }

    /// The storage rows of rows, and how many of them each shard holds.
    pub fn storage_rows(
        &self,
        table: TableName,
        rows: &[u32],
    ) -> Result<(Vec<u32>, Vec<usize>), ServerError> {
        let layout = self.layout(table);
        let mut counts = vec![0; layout.shards()];
        for &row in rows {
            if row as usize >= layout.rows() {
                return Err(ServerError::NoRow {
                    table,
                    row,
                    rows: layout.rows(),
                });
            }
            counts[layout.locate(row).0] += 1;
        }
        Ok((rows.to_vec(), counts))
    }
}
