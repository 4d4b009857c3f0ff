//! Rows of tables on their way to the host and back, and to other shards.

use std::ops::Range;

use super::backend::on_engine;
use super::engine::TableEngine;
use super::{Backend, Column, KernelError, ShardLayout, Table, check};

impl Backend {
    /// All rows of a column, in table order.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn read(&self, table: &Table, column: Column) -> Result<Vec<f32>, KernelError> {
        let mut all = Vec::new();
        self.read_part(table, column, 0..table.spec().layout.rows(), &mut all)?;
        Ok(all)
    }

    /// Successive rows of a column, in table order, in place of what `out` holds.
    ///
    /// # Errors
    /// [`KernelError::Row`] for a row that the table has not; if the device is lost.
    pub fn read_part(
        &self,
        table: &Table,
        column: Column,
        rows: Range<usize>,
        out: &mut Vec<f32>,
    ) -> Result<(), KernelError> {
        let spec = table.spec();
        check::rows(spec, last_row(&rows))?;
        out.resize(rows.len() * column.width(spec), 0.0);
        on_engine!(self, engine, [table] => engine.read_part(table, column, rows, out))
    }

    /// Replaces all rows of a column.
    ///
    /// # Errors
    /// If `data` has not rows × width values, or the device is lost.
    pub fn write(&self, table: &Table, column: Column, data: &[f32]) -> Result<(), KernelError> {
        self.write_part(table, column, 0..table.spec().layout.rows(), data)
    }

    /// Replaces successive rows of a column.
    ///
    /// # Errors
    /// [`KernelError::Row`] for a row that the table has not; [`KernelError::Shape`] unless `data`
    /// has rows × width values; if the device is lost.
    pub fn write_part(
        &self,
        table: &Table,
        column: Column,
        rows: Range<usize>,
        data: &[f32],
    ) -> Result<(), KernelError> {
        let spec = table.spec();
        check::rows(spec, last_row(&rows))?;
        KernelError::check_shape(spec.name, rows.len() * column.width(spec), data.len())?;
        on_engine!(self, engine, [table] => engine.write_part(table, column, rows, data))
    }

    /// The values of a shard's rows, in its order, in place of what `out` holds.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn read_shard(
        &self,
        table: &Table,
        shard: usize,
        out: &mut Vec<f32>,
    ) -> Result<(), KernelError> {
        let (width, layout) = (table.spec().width, &table.spec().layout);
        out.resize(layout.range(shard).len() * width, 0.0);
        on_engine!(self, engine, [table] => engine.read_shard(table, shard, out))
    }

    /// The values of some rows, in the order asked for, in place of what `out` holds.
    ///
    /// # Errors
    /// [`KernelError::Row`] for a row that the table has not; if the device is lost or full.
    pub fn read_rows(
        &self,
        table: &Table,
        rows: &[u32],
        out: &mut Vec<f32>,
    ) -> Result<(), KernelError> {
        check::rows(table.spec(), rows.iter().copied())?;
        out.resize(rows.len() * table.spec().width, 0.0);
        on_engine!(self, engine, [table] => engine.read_rows(table, rows, out))
    }

    /// Replaces the values of some rows, each named once.
    ///
    /// # Errors
    /// [`KernelError::Row`] for a row that the table has not; [`KernelError::Shape`] unless there
    /// is a row of values for each; if the device is lost or full.
    pub fn write_rows(
        &self,
        table: &Table,
        rows: &[u32],
        values: &[f32],
    ) -> Result<(), KernelError> {
        let spec = table.spec();
        check::rows(spec, rows.iter().copied())?;
        KernelError::check_shape(spec.name, rows.len() * spec.width, values.len())?;
        on_engine!(self, engine, [table] => engine.write_rows(table, rows, values))
    }

    /// A table of the same rows, states included, in another order and other shards: row `i` of the
    /// new one is row `from[i]` of the old. The old one stays as it is, but shares the memory of
    /// shards that are the same in both.
    ///
    /// # Errors
    /// [`KernelError::Shape`] unless `from` has a row for each of the layout's;
    /// [`KernelError::Row`] for a row that the table has not; if the device is lost or full.
    pub fn rearrange(
        &self,
        table: &Table,
        layout: &ShardLayout,
        from: &[u32],
    ) -> Result<Table, KernelError> {
        let spec = table.spec();
        KernelError::check_shape(spec.name, layout.rows(), from.len())?;
        check::rows(spec, from.iter().copied())?;
        Ok(match (self, table) {
            (Backend::Cpu(engine), Table::Cpu(table)) => {
                Table::Cpu(engine.rearrange(table, layout, from)?)
            }
            (Backend::Gpu(engine), Table::Gpu(table)) => {
                Table::Gpu(engine.rearrange(table, layout, from)?)
            }
            (Backend::Cpu(_), _) => return Err(KernelError::ForeignTable { engine: "CPU" }),
            (Backend::Gpu(_), _) => return Err(KernelError::ForeignTable { engine: "GPU" }),
        })
    }

    /// Names the rows of a table that rounds stochastically: their random bits depend on nothing
    /// else, and rows keep their names where [`Backend::rearrange`] moves them. Until then, they
    /// are called by their numbers. Nothing happens to other tables.
    ///
    /// # Errors
    /// [`KernelError::Shape`] unless there is a name for each row; if the device is lost.
    pub fn name_rows(&self, table: &Table, names: &[u32]) -> Result<(), KernelError> {
        let spec = table.spec();
        KernelError::check_shape(spec.name, spec.layout.rows(), names.len())?;
        if !spec.dtype.is_stochastic() {
            return Ok(());
        }
        on_engine!(self, engine, [table] => engine.name_rows(table, names))
    }
}

/// The last of some rows, if there is one.
fn last_row(rows: &Range<usize>) -> Option<u32> {
    let last = rows.end.checked_sub(1).filter(|_| !rows.is_empty());
    last.map(|row| u32::try_from(row).unwrap_or(u32::MAX))
}
