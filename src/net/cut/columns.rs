//! The tables of a cut, column by column, in the order of row numbers.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{CutError, CutFault, CutManifest, Cuts, ShardReader};
use crate::ids::{ShardId, TableName};
use crate::kernel::Column;
use crate::server::RowMap;

/// Reader of the tables of a cut, in the order of row numbers. Calls block on the disk.
///
/// Successive rows are fast. Memory holds one block of each shard of a table at most.
#[derive(Debug)]
pub struct CutTables {
    cuts: Cuts,
    cut: CutManifest,
    map: RowMap,
    /// The column that `readers` read.
    column: (TableName, Column),
    /// Readers of shards of the table, each with the place of its next row.
    readers: BTreeMap<usize, (ShardReader, usize)>,
    part: Vec<f32>,
}

impl CutTables {
    /// Opens the tables of a cut.
    ///
    /// # Errors
    /// [`CutError::Damaged`] if the layout is not valid.
    pub fn new(cuts: &Cuts, cut: &CutManifest) -> Result<CutTables, CutError> {
        let map = RowMap::new(&cut.layout).map_err(|error| {
            let fault = CutFault::Content(error.to_string());
            CutError::damaged(&cuts.manifest_path(cut.step), fault)
        })?;
        Ok(CutTables {
            cuts: cuts.clone(),
            cut: cut.clone(),
            map,
            column: (TableName::Entities, Column::Values),
            readers: BTreeMap::new(),
            part: Vec::new(),
        })
    }

    /// Number of rows of a table.
    pub fn rows(&self, table: TableName) -> usize {
        self.map.rows(table)
    }

    /// Number of values in a row of a column; 0 if the cut does not have the column.
    ///
    /// # Errors
    /// See [`Cuts::reader`].
    pub fn width(&self, table: TableName, column: Column) -> Result<usize, CutError> {
        let shards = 0..self.map.shard_layout(table).shards();
        let mut shards = shards.map(|shard| ShardId { table, shard });
        // Files without rows do not tell.
        let Some(shard) = shards.find(|&shard| !self.map.range(shard).is_empty()) else {
            return Ok(0);
        };
        let reader = self.cuts.reader(&self.cut, shard)?;
        let mut columns = reader.shape().columns().iter();
        let shape = columns.find(|shape| shape.column == column);
        Ok(shape.map_or(0, |shape| shape.width))
    }

    /// Reads successive rows of a column, row-major, to `out`, whose content is replaced.
    ///
    /// # Errors
    /// See [`Cuts::reader`] and [`ShardReader::values`].
    pub fn read(
        &mut self,
        table: TableName,
        column: Column,
        rows: Range<usize>,
        out: &mut Vec<f32>,
    ) -> Result<(), CutError> {
        if self.column != (table, column) {
            self.column = (table, column);
            self.readers.clear();
        }
        out.clear();
        let below = |end: usize| move |row: &u32| (*row as usize) < end;
        for shard in 0..self.map.shard_layout(table).shards() {
            let id = ShardId { table, shard };
            // Rows ascend within a shard.
            let all = self.map.rows_of(id);
            let first = all.partition_point(below(rows.start));
            let end = all.partition_point(below(rows.end));
            if first == end {
                continue;
            }
            let (reader, next) = match self.readers.entry(shard) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => {
                    let reader = self.cuts.reader(&self.cut, id)?;
                    entry.insert((reader, usize::MAX))
                }
            };
            if *next != first {
                reader.start_at(column, first)?;
            }
            let mut columns = reader.shape().columns().iter();
            let shape = columns.find(|shape| shape.column == column);
            let width = shape.map_or(0, |shape| shape.width);
            reader.values((end - first) * width, &mut self.part)?;
            *next = end;
            out.resize(rows.len() * width, 0.0);
            for (row, values) in all[first..end]
                .iter()
                .zip(self.part.chunks_exact(width.max(1)))
            {
                let at = (*row as usize - rows.start) * width;
                out[at..at + width].copy_from_slice(values);
            }
            if end == all.len() {
                drop(all);
                self.readers.remove(&shard);
            }
        }
        Ok(())
    }
}
