//! Room for the rows of a server whose rows are in other processes, for as long as this process reads them.

use std::sync::Arc;

use super::table::sharded_table::ShardedTable;
use super::table::tables::Tables;
use super::{ParameterServer, ServerError};
use crate::kernel::TableName;

impl ParameterServer {
    /// Returns whether the rows of both tables are in this process.
    pub fn has_rows(&self) -> bool {
        let tables = self.tables();
        tables.entities.has_rows() && tables.relations.has_rows()
    }

    /// Makes room for the rows of a server without rows, all zero. Does nothing if the server has rows.
    ///
    /// # Errors
    /// [`ServerError::Kernel`] if a device cannot hold the rows.
    pub fn make_room(&self) -> Result<(), ServerError> {
        if self.has_rows() {
            return Ok(());
        }
        let _layout = self.lock_layout();
        let old = self.tables();
        let zero = |name: TableName| {
            let table = old.table(name);
            let spec = table.spec().clone();
            let zero = &mut |_: usize, values: &mut [f32]| values.fill(0.0);
            ShardedTable::new(table.devices(), spec, &homes(table), zero)
        };
        let (entities, relations) = (zero(TableName::Entities)?, zero(TableName::Relations)?);
        // Random bits follow row numbers.
        entities.name_rows(old.assignment.rows_in_storage())?;
        self.replace(&old, entities, relations);
        Ok(())
    }

    /// Frees the memory of all rows. Reads and writes fail until [`ParameterServer::make_room`].
    pub fn remove_rows(&self) {
        let _layout = self.lock_layout();
        let old = self.tables();
        let without = |name: TableName| {
            let table = old.table(name);
            let spec = table.spec().clone();
            ShardedTable::without_rows(table.devices(), spec, &homes(table))
        };
        let (entities, relations) = (without(TableName::Entities), without(TableName::Relations));
        self.replace(&old, entities, relations);
    }

    fn replace(&self, old: &Tables, entities: ShardedTable, relations: ShardedTable) {
        let new = Tables {
            shape: old.shape,
            entities,
            relations: Arc::new(relations),
            assignment: Arc::clone(&old.assignment),
            version: old.version(),
        };
        let mut tables = self.inner.tables.write();
        **tables
            .as_mut()
            .unwrap_or_else(|poisoned| poisoned.get_mut()) = Arc::new(new);
    }
}

/// Device of every shard.
fn homes(table: &ShardedTable) -> Vec<usize> {
    let shards = 0..table.spec().layout.shards();
    shards.map(|shard| table.device_index(shard)).collect()
}

#[cfg(test)]
mod tests {
    use crate::kernel::{Backend, Column, TableName};
    use crate::model::Model;
    use crate::server::{Initializer, ParameterServer, Shape, ShardingStrategy, Spread, Storage};

    #[test]
    fn rows_come_and_go_and_the_layout_stays() {
        let shape = Shape {
            model: Model::DistMult,
            dim: 4,
            entities: 30,
            relations: 3,
            relation_dim: None,
        };
        let storage = Storage {
            shards: 4,
            sharding: ShardingStrategy::EntityHash,
            ..Storage::default()
        };
        let init = Initializer::new(3, Spread::Normal(1.0));
        let whole = ParameterServer::new(Backend::cpu(), shape, storage, &init).unwrap();
        let server = ParameterServer::without_rows(Backend::cpu(), shape, storage).unwrap();
        let (entities, values) = (TableName::Entities, Column::Values);
        for _ in 0..2 {
            assert!(!server.has_rows());
            assert_eq!(server.shards(), whole.shards());
            let error = server.read(entities, values).unwrap_err().to_string();
            assert_eq!(error, "the rows of entities are not in this process");
            assert!(server.write(entities, values, &[0.0; 120]).is_err());
            server.make_room().unwrap();
            assert_eq!(server.read(entities, values).unwrap(), [0.0; 120]);
            let rows = whole.read(entities, values).unwrap();
            server.write(entities, values, &rows).unwrap();
            server.make_room().unwrap();
            assert_eq!(server.read(entities, values).unwrap(), rows);
            server.remove_rows();
        }
    }
}
