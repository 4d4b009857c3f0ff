//! The shard manager: knows the shard of every row, and plans changes.

use std::sync::Arc;

use crate::server::shard_map::assignment::{MOST_SHARDS, ShardAssignment, TableSize};
use crate::server::shard_map::strategy::ShardingStrategy;

/// Reason for which rows cannot be spread over shards.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShardError {
    /// There are no shards.
    #[error("{rows} rows need at least one shard, not none")]
    NoShards {
        /// Rows of the table.
        rows: usize,
    },
    /// There are more rows or shards than can be numbered.
    #[error("{found} {what} are too many: there can be {most}")]
    TooMany {
        /// `"rows"` or `"shards"`.
        what: &'static str,
        /// Requested number.
        found: usize,
        /// Largest possible number.
        most: usize,
    },
    /// The requested size has fewer rows than the table.
    #[error("a table of {before} rows cannot shrink to {rows}")]
    FewerRows {
        /// Rows of the table.
        before: usize,
        /// Requested number of rows.
        rows: usize,
    },
    /// A record does not have any size.
    #[error("a shard record needs at least one size of its table")]
    NoSize,
    /// No number of shards makes every shard small enough.
    #[error(
        "no number of shards spreads {rows} rows by {strategy} so that each has at most {most}"
    )]
    TooLarge {
        /// Rows of the table.
        rows: usize,
        /// Strategy that spreads the rows.
        strategy: ShardingStrategy,
        /// Most rows allowed in a shard.
        most: usize,
    },
    /// There are more shards than rows.
    #[error("{shards} shards are too many for {rows} rows: expected at most {rows}")]
    TooFine {
        /// Rows of the table.
        rows: usize,
        /// Requested number of shards.
        shards: usize,
    },
    /// The change was planned for another assignment than the current one.
    #[error("the shards have changed since this change was planned")]
    Stale,
}

/// Knows the shard of every row of one table, and plans changes.
///
/// Plan a change first, move rows and optimizer states by the plan, and then adopt the change.
#[derive(Clone, Debug)]
pub struct ShardManager {
    assignment: Arc<ShardAssignment>,
}

/// A planned change of shards.
#[derive(Clone, Debug)]
pub struct Reshard {
    /// Current assignment.
    pub before: Arc<ShardAssignment>,
    /// Assignment after the change.
    pub assignment: Arc<ShardAssignment>,
    /// Rows that leave their shard for another, ascending. New rows, and rows that only get another place in
    /// their shard, are not included.
    pub moved: Vec<u32>,
}

impl Reshard {
    /// Returns whether a shard is the same before and after, place by place.
    pub fn keeps(&self, shard: usize) -> bool {
        fn rows(assignment: &ShardAssignment, shard: usize) -> Option<&[u32]> {
            (shard < assignment.shards()).then(|| assignment.rows_of(shard))
        }
        rows(&self.before, shard) == rows(&self.assignment, shard)
    }
}

impl ShardManager {
    /// Spreads `rows` rows over `shards` shards.
    ///
    /// # Errors
    /// See [`ShardAssignment::new`].
    pub fn new(
        strategy: ShardingStrategy,
        rows: usize,
        shards: usize,
    ) -> Result<ShardManager, ShardError> {
        Ok(ShardAssignment::new(strategy, rows, shards)?.into())
    }

    /// Spreads `rows` rows over `shards` shards, or over more if needed for shards of at most `most_rows` rows.
    ///
    /// # Errors
    /// See [`ShardAssignment::new`]; [`ShardError::TooLarge`] if no number of shards is large enough.
    pub fn fitting(
        strategy: ShardingStrategy,
        rows: usize,
        shards: usize,
        most_rows: usize,
    ) -> Result<ShardManager, ShardError> {
        let mut shards = match shards {
            0 => 0,
            _ => shards.max(rows.div_ceil(most_rows.max(1))),
        };
        loop {
            let assignment = ShardAssignment::new(strategy, rows, shards)?;
            if assignment.layout().most_rows() <= most_rows {
                return Ok(assignment.into());
            }
            // A hash makes the largest shard slightly larger than the mean; a few more shards suffice.
            shards += (shards / 16).max(1);
            if shards > MOST_SHARDS || most_rows == 0 {
                return Err(ShardError::TooLarge {
                    rows,
                    strategy,
                    most: most_rows,
                });
            }
        }
    }

    /// Current assignment.
    pub fn assignment(&self) -> &Arc<ShardAssignment> {
        &self.assignment
    }

    /// Plans another number of shards for the same rows.
    ///
    /// With hash and round robin, growing by one shard moves only the rows of the new shard, about one in
    /// `shards`, and shrinking only the rows of removed shards. See [`ShardingStrategy::Range`] for ranges.
    ///
    /// # Errors
    /// See [`ShardAssignment::new`].
    pub fn reshard(&self, shards: usize) -> Result<Reshard, ShardError> {
        self.plan(TableSize {
            rows: self.assignment.rows(),
            shards,
        })
    }

    /// Plans `more_rows` new rows after the current ones, over the same shards. Round robin continues where it
    /// stopped. Only ranges move old rows.
    ///
    /// # Errors
    /// See [`ShardAssignment::new`].
    pub fn extend(&self, more_rows: usize) -> Result<Reshard, ShardError> {
        self.plan(TableSize {
            rows: self.assignment.rows().saturating_add(more_rows),
            shards: self.assignment.shards(),
        })
    }

    /// Makes a planned change the current assignment.
    ///
    /// # Errors
    /// [`ShardError::Stale`] if another change was adopted since this one was planned. Nothing changes then.
    pub fn adopt(&mut self, change: Reshard) -> Result<(), ShardError> {
        if !Arc::ptr_eq(&self.assignment, &change.before) {
            return Err(ShardError::Stale);
        }
        self.assignment = change.assignment;
        Ok(())
    }

    fn plan(&self, size: TableSize) -> Result<Reshard, ShardError> {
        let before = &self.assignment;
        let assignment = before.resized(size)?;
        let rows = 0..before.rows() as u32;
        let moves = |&row: &u32| before.shard_of(row) != assignment.shard_of(row);
        Ok(Reshard {
            moved: rows.filter(moves).collect(),
            before: before.clone(),
            assignment: assignment.into(),
        })
    }
}

impl From<ShardAssignment> for ShardManager {
    fn from(assignment: ShardAssignment) -> ShardManager {
        Arc::new(assignment).into()
    }
}

impl From<Arc<ShardAssignment>> for ShardManager {
    fn from(assignment: Arc<ShardAssignment>) -> ShardManager {
        ShardManager { assignment }
    }
}

#[cfg(test)]
mod tests;
