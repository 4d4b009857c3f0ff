//! Reads and writes columns of one shard a few rows at a time, in the order in which the shard stores them.

use std::ops::Range;

use crate::ids::ShardId;
use crate::kernel::{Column, TableSpec};
use crate::server::table::tables::Tables;
use crate::server::{ParameterServer, ServerError};

impl ParameterServer {
    /// Description of a shard's columns, and the number of its rows.
    ///
    /// # Errors
    /// [`ServerError::NoShard`].
    pub fn shard_spec(&self, shard: ShardId) -> Result<(TableSpec, usize), ServerError> {
        let tables = self.tables();
        tables.index(shard)?;
        let spec = tables.table(shard.table).spec();
        Ok((spec.clone(), spec.layout.range(shard.shard).len()))
    }

    /// Reads successive places of a column of a shard to `out`: places × width values, row-major. Replaces the
    /// content of `out`.
    ///
    /// # Errors
    /// [`ServerError::NoShard`]; [`ServerError::Kernel`] if a place does not exist or the device is lost.
    pub fn read_shard(
        &self,
        shard: ShardId,
        column: Column,
        places: Range<usize>,
        out: &mut Vec<f32>,
    ) -> Result<(), ServerError> {
        let tables = self.tables();
        let rows = storage_rows(&tables, shard, places)?;
        Ok(tables.table(shard.table).read_part(column, rows, out)?)
    }

    /// Writes successive places of a column of a shard: places × width values, row-major. Values of binary16 are
    /// rounded to the nearest.
    ///
    /// # Errors
    /// [`ServerError::NoShard`]; [`ServerError::Kernel`] if a place does not exist, if the number of values is
    /// another one, or if the device is lost.
    pub fn write_shard(
        &self,
        shard: ShardId,
        column: Column,
        places: Range<usize>,
        values: &[f32],
    ) -> Result<(), ServerError> {
        let _layout = self.lock_layout();
        let tables = self.tables();
        let rows = storage_rows(&tables, shard, places)?;
        Ok(tables.table(shard.table).write_part(column, rows, values)?)
    }
}

/// Storage rows of places of a shard. Places beyond the shard become rows beyond the table.
fn storage_rows(
    tables: &Tables,
    shard: ShardId,
    places: Range<usize>,
) -> Result<Range<usize>, ServerError> {
    tables.index(shard)?;
    let layout = tables.layout(shard.table);
    let range = layout.range(shard.shard);
    Ok(match places.end <= range.len() {
        true => range.start + places.start..range.start + places.end,
        false => layout.rows()..layout.rows() + 1,
    })
}
