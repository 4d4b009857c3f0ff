//! Which shard every row belongs to.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::kernel::ShardLayout;
use crate::server::ShardError;
use crate::server::shard_map::strategy::{ShardingStrategy, Turns, hashed, spread};

/// The most shards of a table; a shard is a buffer on a device, so there is no use for more.
pub const MOST_SHARDS: usize = 1 << 20;

/// Which shard every row of a table belongs to, and where in it.
///
/// The rows of a shard ascend. Shards one after the other make up the *storage order*, the only
/// one that kernels know. Serialises as its [`ShardRecord`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "ShardRecord", into = "ShardRecord")]
pub struct ShardAssignment {
    record: ShardRecord,
    layout: ShardLayout,
    /// The storage row of every row, and the row of every storage row.
    storage: Arc<[u32]>,
    rows: Arc<[u32]>,
    /// Whether every row is its own storage row.
    identity: bool,
    /// Whose turn the next new row is (round robin only).
    next: usize,
}

/// What an assignment follows from: small whatever the number of rows, so it can be looked at
/// before tables of that size are made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardRecord {
    /// How rows are spread.
    pub strategy: ShardingStrategy,
    /// The sizes that the table has had, the last of them now; only round robin depends on those
    /// before.
    pub sizes: Vec<TableSize>,
}

/// How large a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSize {
    /// Rows of the table.
    pub rows: usize,
    /// Shards that they are spread over.
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
    /// Spreads `rows` rows over `shards` shards. With more shards than rows, some are empty.
    ///
    /// # Errors
    /// Without a shard, over 2³² − 1 rows, or over [`MOST_SHARDS`] shards.
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

    /// What the assignment is after a change of its size.
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
        // Rows dealt at once or bit by bit end up in the same shards.
        sizes.dedup_by(|after, before| {
            let same = after.shards == before.shards;
            if same {
                before.rows = after.rows;
            }
            same
        });
        Ok(ShardAssignment::of(strategy, sizes, of, next))
    }

    /// Round robin: the shard of every row after a change of size, and whose turn it is then.
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

    /// From the shard of every row.
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

    /// How rows are spread.
    pub fn strategy(&self) -> ShardingStrategy {
        self.record.strategy
    }

    /// What the assignment follows from.
    pub fn record(&self) -> &ShardRecord {
        &self.record
    }

    /// Rows of the table.
    pub fn rows(&self) -> usize {
        self.storage.len()
    }

    /// Shards of the table, empty ones too.
    pub fn shards(&self) -> usize {
        self.layout.shards()
    }

    /// The shard that holds a row of the table.
    #[inline]
    pub fn shard_of(&self, row: u32) -> usize {
        self.locate(row).0
    }

    /// The place of a row of the table inside its shard.
    #[inline]
    pub fn place_of(&self, row: u32) -> usize {
        self.locate(row).1
    }

    /// Shard and place of a row of the table.
    #[inline]
    pub fn locate(&self, row: u32) -> (usize, usize) {
        self.layout.locate(self.storage(row))
    }

    /// The storage row of a row of the table: where its shard starts, plus its place.
    #[inline]
    pub fn storage(&self, row: u32) -> u32 {
        self.storage[row as usize]
    }

    /// The row of the table that is kept in a storage row.
    #[inline]
    pub fn row_at(&self, storage: u32) -> u32 {
        self.rows[storage as usize]
    }

    /// The storage row of every row.
    pub fn storage_rows(&self) -> &[u32] {
        &self.storage
    }

    /// The row in every storage row: those of the shards, one after the other.
    pub fn rows_in_storage(&self) -> &[u32] {
        &self.rows
    }

    /// The rows of a shard, ascending: row by row what its places hold.
    pub fn rows_of(&self, shard: usize) -> &[u32] {
        &self.rows[self.layout.range(shard)]
    }

    /// Where in storage order the shards lie.
    pub fn layout(&self) -> ShardLayout {
        self.layout.clone()
    }

    /// Whether every row is its own storage row, as with [`ShardingStrategy::Range`] or one shard.
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
