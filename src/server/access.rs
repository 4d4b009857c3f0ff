//! Reading and writing of whole tables, and the devices that hold their shards.

use super::{LayoutVersion, ParameterServer, ServerError, ShardId, TableName};
use crate::device::DeviceChoice;
use crate::kernel::{Backend, Column, KernelError};

impl ParameterServer {
    /// Returns whether any shard is in the memory of a GPU.
    pub fn is_on_gpu(&self) -> bool {
        let mut engines = self.inner.devices.engines.iter();
        engines.any(|engine| matches!(engine, Backend::Gpu(_)))
    }

    /// The device that holds all shards; `None` if shards are on [several
    /// devices](ParameterServer::on_devices).
    pub fn home(&self) -> Option<DeviceChoice> {
        match &*self.inner.devices.engines {
            [engine] => Some(engine.choice()),
            _ => None,
        }
    }

    /// All shards: entity shards, then relation shards.
    pub fn shards(&self) -> Vec<ShardId> {
        self.tables().shards().collect()
    }

    /// The current version of the layout.
    pub fn layout_version(&self) -> LayoutVersion {
        self.tables().version()
    }

    /// The device that holds a shard.
    ///
    /// # Errors
    /// [`ServerError::NoShard`].
    pub fn home_of(&self, shard: ShardId) -> Result<DeviceChoice, ServerError> {
        let tables = self.tables();
        tables.index(shard)?;
        Ok(tables.device(shard).choice())
    }

    /// Another engine on the server's device (the first, if there are several), for a worker.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn engine(&self) -> Result<Backend, KernelError> {
        self.inner.devices.engines[0].another()
    }

    /// Reads a column of a table: rows × width values, row-major, in the order of row numbers.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn read(&self, table: TableName, column: Column) -> Result<Vec<f32>, KernelError> {
        let tables = self.tables();
        let stored = tables.table(table).read(column)?;
        let width = column.width(tables.table(table).spec());
        Ok(tables.by_row(table, width, stored))
    }

    /// Reads the values of `rows` of a table, row-major, in that order; replaces the content of `out`.
    ///
    /// # Errors
    /// If a row does not exist; if the device is lost or full.
    pub fn read_rows(
        &self,
        table: TableName,
        rows: &[u32],
        out: &mut Vec<f32>,
    ) -> Result<(), KernelError> {
        let tables = self.tables();
        let rows = tables.stored(table, rows);
        tables.table(table).read_rows(&rows, out)
    }

    /// Reads a column of a shard, row-major, in the order of its places, to `out`, whose content is replaced.
    ///
    /// # Errors
    /// [`ServerError::NoShard`]; [`ServerError::Kernel`] if the device is lost.
    pub fn read_shard_column(
        &self,
        shard: ShardId,
        column: Column,
        out: &mut Vec<f32>,
    ) -> Result<(), ServerError> {
        let tables = self.tables();
        tables.index(shard)?;
        let rows = tables.layout(shard.table).range(shard.shard);
        Ok(tables.table(shard.table).read_part(column, rows, out)?)
    }

    /// Replaces a column of a shard.
    ///
    /// # Errors
    /// [`ServerError::NoShard`]; [`ServerError::Kernel`] if `data` does not have rows × width values, or the device
    /// is lost.
    pub fn write_shard_column(
        &self,
        shard: ShardId,
        column: Column,
        data: &[f32],
    ) -> Result<(), ServerError> {
        let _layout = self.lock_layout();
        let tables = self.tables();
        tables.index(shard)?;
        let rows = tables.layout(shard.table).range(shard.shard);
        Ok(tables.table(shard.table).write_part(column, rows, data)?)
    }

    /// Replaces a column of a table by `data`: rows × width values, row-major, in the order of row numbers.
    ///
    /// # Errors
    /// If `data` does not have rows × width values, or the device is lost.
    pub fn write(&self, table: TableName, column: Column, data: &[f32]) -> Result<(), KernelError> {
        let _layout = self.lock_layout();
        let tables = self.tables();
        let width = column.width(tables.table(table).spec());
        let data = tables.by_storage(table, width, data);
        tables.table(table).write(column, &data)
    }
}
