//! Columns of tables, read a few rows at a time.

use std::ops::Range;
use std::sync::Arc;

use super::ParameterServer;
use super::tables::Tables;
use crate::kernel::{Column, KernelError, TableName};

/// Reads a column of a table by and by, so that no copy of it is in memory as a whole; except where
/// rows are not stored in their order, as with shards by hash.
#[derive(Debug)]
pub struct ColumnReader {
    tables: Arc<Tables>,
    table: TableName,
    column: Column,
    /// By row, where storage has another order.
    whole: Option<Vec<f32>>,
}

impl ParameterServer {
    /// A column of a table, to be read in parts.
    pub fn column(&self, table: TableName, column: Column) -> ColumnReader {
        ColumnReader {
            tables: self.tables(),
            table,
            column,
            whole: None,
        }
    }
}

impl ColumnReader {
    /// Successive rows, in place of what `out` holds.
    ///
    /// # Errors
    /// If the table has not these rows; if the device is lost.
    pub fn read(&mut self, rows: Range<usize>, out: &mut Vec<f32>) -> Result<(), KernelError> {
        let (tables, table) = (&self.tables, self.tables.table(self.table));
        if tables.order(self.table).is_none() {
            return table.read_part(self.column, rows, out);
        }
        let width = self.column.width(table.spec());
        let whole = match &mut self.whole {
            Some(whole) => whole,
            none => {
                let stored = table.read(self.column)?;
                none.insert(tables.by_row(self.table, width, stored))
            }
        };
        let Some(part) = whole.get(rows.start * width..rows.end * width) else {
            return Err(KernelError::Row {
                table: self.table.name(),
                row: u32::try_from(rows.end.saturating_sub(1)).unwrap_or(u32::MAX),
                rows: table.spec().layout.rows(),
            });
        };
        out.clear();
        out.extend_from_slice(part);
        Ok(())
    }
}
