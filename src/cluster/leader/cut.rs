//! All shards of one step, in the leader's memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cluster::messages::ColumnName;
use crate::ids::ShardId;
use crate::server::{ParameterServer, RowMap, ServerError};

/// All shards of one step.
#[derive(Clone, Debug)]
pub struct Cut {
    steps: u64,
    map: Arc<RowMap>,
    /// Columns that the optimizer keeps, in the order of places, row-major.
    columns: BTreeMap<(ShardId, ColumnKey), Vec<f32>>,
}

type ColumnKey = u8;

fn key(column: ColumnName) -> ColumnKey {
    column as ColumnKey
}

impl Cut {
    /// Makes a cut without columns.
    pub fn new(steps: u64, map: Arc<RowMap>) -> Cut {
        Cut {
            steps,
            map,
            columns: BTreeMap::new(),
        }
    }

    /// Copies all shards of a server that has the layout of `map`.
    ///
    /// # Errors
    /// If a device is lost.
    pub fn of(server: &ParameterServer, steps: u64, map: Arc<RowMap>) -> Result<Cut, ServerError> {
        let mut cut = Cut::new(steps, Arc::clone(&map));
        for shard in map.shards() {
            for column in ColumnName::ALL {
                let mut values = Vec::new();
                server.read_shard_column(shard, column.into(), &mut values)?;
                if !values.is_empty() {
                    cut.insert(shard, column, values);
                }
            }
        }
        Ok(cut)
    }

    /// Copies all shards to a server that has the same layout.
    ///
    /// # Errors
    /// If a device is lost.
    pub fn write_to(&self, server: &ParameterServer) -> Result<(), ServerError> {
        for (&(shard, number), values) in &self.columns {
            let column = ColumnName::ALL[usize::from(number)];
            server.write_shard_column(shard, column.into(), values)?;
        }
        server.set_steps(self.steps);
        Ok(())
    }

    /// Number of steps that the shards have made.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Adds a column of a shard.
    pub fn insert(&mut self, shard: ShardId, column: ColumnName, values: Vec<f32>) {
        self.columns.insert((shard, key(column)), values);
    }

    /// Number of rows of a shard, and a column of it; `None` if the optimizer does not keep the column.
    pub fn column(&self, shard: ShardId, column: ColumnName) -> Option<(usize, &[f32])> {
        let known = shard.shard < self.map.shard_layout(shard.table).shards();
        let rows = known.then(|| self.map.range(shard).len())?;
        let values = self.columns.get(&(shard, key(column)))?;
        Some((rows, values))
    }
}
