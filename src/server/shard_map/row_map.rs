//! Shard and place of every row of both tables.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use crate::ids::{LayoutVersion, ShardId, TableName};
use crate::kernel::ShardLayout;
use crate::server::{Layout, ServerError, ShardAssignment, ShardError};

/// Shard and place of every row of both tables, made from a [`Layout`]. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct RowMap {
    version: LayoutVersion,
    entities: Arc<ShardAssignment>,
    layouts: [ShardLayout; 2],
    widths: [usize; 2],
}

impl RowMap {
    /// Works out the place of every row.
    ///
    /// # Errors
    /// [`ShardError`] if the record of the layout is not valid.
    pub fn new(layout: &Layout) -> Result<RowMap, ShardError> {
        let entities = ShardAssignment::try_from(layout.entities.clone())?;
        Ok(RowMap {
            version: layout.version,
            layouts: [
                entities.layout(),
                ShardLayout::from_sizes(&layout.relations),
            ],
            entities: Arc::new(entities),
            widths: layout.widths,
        })
    }

    /// The layout that the map was made from.
    pub fn layout(&self) -> Layout {
        let relations = self.shard_layout(TableName::Relations);
        Layout {
            version: self.version,
            entities: self.entities.record().clone(),
            relations: (0..relations.shards())
                .map(|shard| relations.range(shard).len())
                .collect(),
            widths: self.widths,
        }
    }

    /// Version of the layout.
    pub fn version(&self) -> LayoutVersion {
        self.version
    }

    /// Cut of a table's storage rows into shards.
    pub fn shard_layout(&self, table: TableName) -> &ShardLayout {
        &self.layouts[table as usize]
    }

    /// Values in a row of a table.
    pub fn width(&self, table: TableName) -> usize {
        self.widths[table as usize]
    }

    /// Number of rows of a table.
    pub fn rows(&self, table: TableName) -> usize {
        self.shard_layout(table).rows()
    }

    /// All shards: entity shards, then relation shards.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> + '_ {
        TableName::ALL.into_iter().flat_map(|table| {
            let shards = 0..self.shard_layout(table).shards();
            shards.map(move |shard| ShardId { table, shard })
        })
    }

    /// Number of a shard among all.
    pub fn index(&self, shard: ShardId) -> usize {
        match shard.table {
            TableName::Entities => shard.shard,
            TableName::Relations => self.shard_layout(TableName::Entities).shards() + shard.shard,
        }
    }

    /// Storage rows of a shard.
    pub fn range(&self, shard: ShardId) -> Range<usize> {
        self.shard_layout(shard.table).range(shard.shard)
    }

    /// Row numbers of a shard, at their places.
    pub fn rows_of(&self, shard: ShardId) -> Cow<'_, [u32]> {
        match shard.table {
            TableName::Entities => Cow::Borrowed(self.entities.rows_of(shard.shard)),
            TableName::Relations => {
                let range = self.range(shard);
                (range.start as u32..range.end as u32).collect()
            }
        }
    }

    /// Storage row of a row. A row that does not exist keeps its number.
    #[inline]
    pub fn storage(&self, table: TableName, row: u32) -> u32 {
        match table {
            TableName::Entities if !self.entities.is_identity() => {
                let storage = self.entities.storage_rows().get(row as usize);
                storage.map_or(row, |&storage| storage)
            }
            _ => row,
        }
    }

    /// Row in a storage row.
    #[inline]
    pub fn row(&self, table: TableName, storage: u32) -> u32 {
        match table {
            TableName::Entities if !self.entities.is_identity() => self.entities.row_at(storage),
            _ => storage,
        }
    }

    /// Returns whether every row of a table is its own storage row.
    pub fn is_identity(&self, table: TableName) -> bool {
        table == TableName::Relations || self.entities.is_identity()
    }

    /// Shard of a row, and the row's place in it.
    ///
    /// # Errors
    /// [`ServerError::NoRow`].
    #[inline]
    pub fn locate(&self, table: TableName, row: u32) -> Result<(usize, usize), ServerError> {
        let rows = self.rows(table);
        if row as usize >= rows {
            return Err(ServerError::NoRow { table, row, rows });
        }
        Ok(self.shard_layout(table).locate(self.storage(table, row)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::{ShardRecord, ShardingStrategy, TableSize};

    #[test]
    fn rows_are_found_where_their_shards_list_them() {
        for strategy in [
            ShardingStrategy::Range,
            ShardingStrategy::EntityHash,
            ShardingStrategy::RoundRobin,
        ] {
            let layout = Layout {
                version: LayoutVersion(7),
                entities: ShardRecord {
                    strategy,
                    sizes: vec![TableSize {
                        rows: 50,
                        shards: 4,
                    }],
                },
                relations: vec![3, 2],
                widths: [4, 6],
            };
            let map = RowMap::new(&layout).unwrap();
            assert_eq!(map.layout(), layout);
            assert_eq!(map.shards().count(), 6);
            let mut seen = [0; 2];
            for (index, shard) in map.shards().enumerate() {
                assert_eq!(map.index(shard), index);
                for (place, &row) in map.rows_of(shard).iter().enumerate() {
                    let found = map.locate(shard.table, row).unwrap();
                    assert_eq!(found, (shard.shard, place));
                    let storage = (map.range(shard).start + place) as u32;
                    assert_eq!(map.storage(shard.table, row), storage);
                    assert_eq!(map.row(shard.table, storage), row);
                    seen[shard.table as usize] += 1;
                }
            }
            assert_eq!(seen, [50, 5]);
            let beyond = map.locate(TableName::Relations, 5).unwrap_err();
            assert_eq!(
                beyond.to_string(),
                "row 5 of relations does not exist: it has 5"
            );
        }
    }
}
