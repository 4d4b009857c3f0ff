//! Reads and writes columns of tables a few rows at a time, so that no copy of a whole column is in memory.

use std::ops::Range;
use std::sync::Arc;

use crate::kernel::{Column, KernelError, TableName};
use crate::server::table::tables::Tables;
use crate::server::{ParameterServer, ShardAssignment};

/// Most values that are read or written at once; at least one row.
const BLOCK: usize = 1 << 20;

/// Reads a column of a table in parts.
#[derive(Debug)]
pub struct ColumnReader {
    tables: Arc<Tables>,
    table: TableName,
    column: Column,
    /// Buffer for the rows of one shard.
    part: Vec<f32>,
}

impl ParameterServer {
    /// Opens a column of a table, to be read in parts.
    pub fn column(&self, table: TableName, column: Column) -> ColumnReader {
        ColumnReader {
            tables: self.tables(),
            table,
            column,
            part: Vec::new(),
        }
    }

    /// Replaces all rows of a column. Calls `fill` for successive ranges of rows, in order; `fill` replaces the
    /// content of the buffer by rows × width values.
    ///
    /// # Errors
    /// The errors of `fill`; [`KernelError::Shape`] if it does not write rows × width values; if the device is
    /// lost. Earlier rows are already written then.
    pub fn fill<E: From<KernelError>>(
        &self,
        table: TableName,
        column: Column,
        mut fill: impl FnMut(Range<usize>, &mut Vec<f32>) -> Result<(), E>,
    ) -> Result<(), E> {
        let _layout = self.lock_layout();
        let tables = self.tables();
        let kept = tables.table(table);
        let (rows, width) = (kept.spec().layout.rows(), column.width(kept.spec()));
        let each = (BLOCK / width.max(1)).max(1);
        let (mut block, mut part) = (Vec::new(), Vec::new());
        for first in (0..rows).step_by(each) {
            let rows = first..rows.min(first + each);
            fill(rows.clone(), &mut block)?;
            let Some(order) = tables.order(table) else {
                kept.write_part(column, rows, &block)?;
                continue;
            };
            KernelError::check_shape(kept.spec().name, rows.len() * width, block.len())?;
            for (stored, of) in stretches(order, &rows) {
                part.clear();
                for &row in of {
                    let at = (row as usize - rows.start) * width;
                    part.extend_from_slice(&block[at..at + width]);
                }
                kept.write_part(column, stored, &part)?;
            }
        }
        Ok(())
    }
}

impl ColumnReader {
    /// Reads successive rows, row-major, to `out`, whose content is replaced.
    ///
    /// # Errors
    /// [`KernelError::Row`] if a row does not exist; if the device is lost.
    pub fn read(&mut self, rows: Range<usize>, out: &mut Vec<f32>) -> Result<(), KernelError> {
        let kept = self.tables.table(self.table);
        let Some(order) = self.tables.order(self.table) else {
            return kept.read_part(self.column, rows, out);
        };
        kept.check_range(&rows)?;
        let width = self.column.width(kept.spec());
        out.resize(rows.len() * width, 0.0);
        for (stored, of) in stretches(order, &rows) {
            kept.read_part(self.column, stored, &mut self.part)?;
            for (i, &row) in of.iter().enumerate() {
                let at = (row as usize - rows.start) * width;
                out[at..at + width].copy_from_slice(&self.part[i * width..][..width]);
            }
        }
        Ok(())
    }
}

/// Splits successive rows by shard. Rows ascend within a shard, so each shard stores its part as one range.
/// Yields ranges of storage rows, with the numbers of these rows.
fn stretches<'a>(
    order: &'a ShardAssignment,
    rows: &Range<usize>,
) -> impl Iterator<Item = (Range<usize>, &'a [u32])> {
    let (layout, rows) = (order.layout(), rows.clone());
    (0..order.shards()).filter_map(move |shard| {
        let all = order.rows_of(shard);
        let below = |end: usize| all.partition_point(|&row| (row as usize) < end);
        let (first, end) = (below(rows.start), below(rows.end));
        let start = layout.range(shard).start;
        (first < end).then(|| (start + first..start + end, &all[first..end]))
    })
}
