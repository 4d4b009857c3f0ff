//! Assignment of a table's rows to shards.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::kernel::ShardLayout;
use crate::server::ShardError;
use crate::server::shard_map::strategy::{ShardingStrategy, Turns, hashed, spread};

/// Most shards of a table: each is a buffer on a device, so more would be of no use.
pub const MOST_SHARDS: usize = 1 << 20;

/// The shard of every row of a table, and the row's place in it.
///
/// The rows of a shard ascend. The *storage order* lists the shards one after the other; kernels use no other
/// order. Serialises as its [`ShardRecord`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "ShardRecord", into = "ShardRecord")]
pub struct ShardAssignment {
    record: ShardRecord,
    layout: ShardLayout,
    /// Storage row of every row; below, row of every storage row.
    storage: Arc<[u32]>,
    rows: Arc<[u32]>,
    /// True if every row is its own storage row.
    identity: bool,
    /// Shard that gets the next new row (round robin only).
    next: usize,
}

/// Data that determines a [`ShardAssignment`]. The record is small for any number of rows, so its sizes can be
/// checked before tables are allocated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardRecord {
    /// Strategy that spreads the rows.
    pub strategy: ShardingStrategy,
    /// Sizes that the table has had; the last one is the current size. Only round robin depends on earlier
    /// ones.
    pub sizes: Vec<TableSize>,
}

/// Size of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSize {
    /// Number of rows.
    pub rows: usize,
    /// Number of shards.
    pub shards: usize,
}

impl TableSize {
    fn check(self) -> Result<(), ShardError> {
        let TableSize { rows, shards } = self;
        if shards == 0 {
            return Err(ShardError::NoShards { rows });
        }
        let limits = [
            ("rows", rows, u32::MAX as usize),
            ("shards", shards, MOST_SHARDS),
        ];
        match limits.into_iter().find(|&(_, found, most)| found > most) {
            None => Ok(()),
            Some((what, found, most)) => Err(ShardError::TooMany { what, found, most }),
        }
    }
}

impl ShardAssignment {
    /// Spreads `rows` rows over `shards` shards. With more shards than rows, some shards are empty.
    ///
    /// # Errors
    /// [`ShardError::NoShards`] for 0 shards; [`ShardError::TooMany`] for more than 2³² − 1 rows or
    /// [`MOST_SHARDS`] shards.
    pub fn new(
        strategy: ShardingStrategy,
        rows: usize,
        shards: usize,
    ) -> Result<ShardAssignment, ShardError> {
        let size = TableSize { rows, shards };
        size.check()?;
        let none = TableSize { rows: 0, shards };
        ShardAssignment::of(strategy, vec![none], vec![], 0).resized(size)
    }

    /// Makes the assignment of rows that already are in storage order, to shards of any sizes. Its record does
    /// not have these sizes: only ranges of equal size can be recorded.
    pub(in crate::server) fn in_order(sizes: &[usize]) -> ShardAssignment {
        let shards = (0..).zip(sizes);
        let of = shards.flat_map(|(shard, &rows)| std::iter::repeat_n(shard, rows));
        let size = TableSize {
            rows: sizes.iter().sum(),
            shards: sizes.len(),
        };
        ShardAssignment::of(ShardingStrategy::Range, vec![size], of.collect(), 0)
    }

    /// Computes the assignment after a change of size.
    pub(in crate::server) fn resized(
        &self,
        size: TableSize,
    ) -> Result<ShardAssignment, ShardError> {
        size.check()?;
        let TableSize { rows, shards } = size;
        if rows < self.rows() {
            return Err(ShardError::FewerRows {
                before: self.rows(),
                rows,
            });
        }
        let strategy = self.record.strategy;
        let mut sizes = vec![size];
        let mut next = 0;
        let all = 0..rows as u32;
        let of = match strategy {
            ShardingStrategy::EntityHash => all.map(|row| hashed(row, shards)).collect(),
            ShardingStrategy::Range => (0..shards)
                .flat_map(|s| {
                    let size = rows / shards + usize::from(s < rows % shards);
                    std::iter::repeat_n(s as u32, size)
                })
                .collect(),
            ShardingStrategy::RoundRobin => {
                let (of, turn) = self.in_turn(size);
                sizes.splice(0..0, self.record.sizes.iter().copied());
                next = turn;
                of
            }
        };
        // Rows added at once or in several calls end up in the same shards.
        sizes.dedup_by(|after, before| {
            let same = after.shards == before.shards;
            if same {
                before.rows = after.rows;
            }
            same
        });
        Ok(ShardAssignment::of(strategy, sizes, of, next))
    }

    /// Round robin: the shard of every row after a change of size, and the shard that gets the next new row.
    fn in_turn(&self, size: TableSize) -> (Vec<u32>, usize) {
        let before: Vec<usize> = (0..self.shards()).map(|s| self.rows_of(s).len()).collect();
        let mut of: Vec<u32> = (0..self.rows() as u32)
            .map(|row| self.shard_of(row) as u32)
            .collect();
        if before.len() < size.shards {
            spread(&mut of, &before, size.shards);
        }
        let mut sizes = vec![0; size.shards];
        for &shard in &of {
            if let Some(size) = sizes.get_mut(shard as usize) {
                *size += 1;
            }
        }
        let mut turns = Turns::new(sizes, self.next);
        for shard in &mut of {
            if *shard as usize >= size.shards {
                *shard = turns.deal();
            }
        }
        of.extend((of.len()..size.rows).map(|_| turns.deal()));
        (of, turns.next())
    }

    /// Makes an assignment from the shard of every row.
    fn of(
        strategy: ShardingStrategy,
        sizes: Vec<TableSize>,
        of: Vec<u32>,
        next: usize,
    ) -> ShardAssignment {
        let shards = sizes[sizes.len() - 1].shards;
        let mut counts = vec![0; shards];
        for &shard in &of {
            counts[shard as usize] += 1;
        }
        let layout = ShardLayout::from_sizes(&counts);
        let mut free: Vec<u32> = (0..shards).map(|s| layout.range(s).start as u32).collect();
        let mut rows = vec![0; of.len()];
        let storage = (0..).zip(of).map(|(row, shard)| {
            let at = free[shard as usize];
            free[shard as usize] += 1;
            rows[at as usize] = row;
            at
        });
        ShardAssignment {
            record: ShardRecord { strategy, sizes },
            layout,
            storage: storage.collect(),
            identity: rows.is_sorted(),
            rows: rows.into(),
            next,
        }
    }

    /// Strategy that spreads the rows.
    pub fn strategy(&self) -> ShardingStrategy {
        self.record.strategy
    }

    /// Data that determines the assignment.
    pub fn record(&self) -> &ShardRecord {
        &self.record
    }

    /// Number of rows of the table.
    pub fn rows(&self) -> usize {
        self.storage.len()
    }

    /// Number of shards of the table, including empty ones.
    pub fn shards(&self) -> usize {
        self.layout.shards()
    }

    /// Shard that holds a row of the table.
    #[inline]
    pub fn shard_of(&self, row: u32) -> usize {
        self.locate(row).0
    }

    /// Place of a row of the table in its shard.
    #[inline]
    pub fn place_of(&self, row: u32) -> usize {
        self.locate(row).1
    }

    /// Shard of a row of the table, and the row's place in it.
    #[inline]
    pub fn locate(&self, row: u32) -> (usize, usize) {
        self.layout.locate(self.storage(row))
    }

    /// Storage row of a row of the table: the start of its shard plus its place.
    #[inline]
    pub fn storage(&self, row: u32) -> u32 {
        self.storage[row as usize]
    }

    /// Row of the table that a storage row holds.
    #[inline]
    pub fn row_at(&self, storage: u32) -> u32 {
        self.rows[storage as usize]
    }

    /// Storage row of every row.
    pub fn storage_rows(&self) -> &[u32] {
        &self.storage
    }

    /// Row in every storage row: the rows of the shards, one shard after the other.
    pub fn rows_in_storage(&self) -> &[u32] {
        &self.rows
    }

    /// Rows of a shard, ascending: the row at each of its places.
    pub fn rows_of(&self, shard: usize) -> &[u32] {
        &self.rows[self.layout.range(shard)]
    }

    /// Ranges of the shards in storage order.
    pub fn layout(&self) -> ShardLayout {
        self.layout.clone()
    }

    /// Returns whether every row is its own storage row, as with [`ShardingStrategy::Range`] or one shard.
    pub fn is_identity(&self) -> bool {
        self.identity
    }
}

impl TryFrom<ShardRecord> for ShardAssignment {
    type Error = ShardError;

    fn try_from(record: ShardRecord) -> Result<ShardAssignment, ShardError> {
        let Some(&first) = record.sizes.first() else {
            return Err(ShardError::NoSize);
        };
        let start = ShardAssignment::new(record.strategy, first.rows, first.shards)?;
        let mut rest = record.sizes[1..].iter();
        rest.try_fold(start, |assignment, &size| assignment.resized(size))
    }
}

impl From<ShardAssignment> for ShardRecord {
    fn from(assignment: ShardAssignment) -> ShardRecord {
        assignment.record
    }
}

#[cfg(test)]
mod tests;
