//! The shard manager: who holds which rows, and what has to move when that changes.

use std::sync::Arc;

use crate::server::shard_map::assignment::{MOST_SHARDS, ShardAssignment, TableSize};
use crate::server::shard_map::strategy::ShardingStrategy;

/// What can be wrong with a spreading of rows over shards.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShardError {
    /// Nowhere to put rows.
    #[error("{rows} rows need at least one shard, not none")]
    NoShards {
        /// Rows of the table.
        rows: usize,
    },
    /// More than can be numbered.
    #[error("{found} {what} are too many: there can be {most}")]
    TooMany {
        /// `"rows"` or `"shards"`.
        what: &'static str,
        /// What was asked for.
        found: usize,
        /// What is possible.
        most: usize,
    },
    /// Rows are never taken away.
    #[error("a table of {before} rows cannot shrink to {rows}")]
    FewerRows {
        /// Rows of the table.
        before: usize,
        /// What was asked for.
        rows: usize,
    },
    /// A record that holds nothing.
    #[error("a shard record needs at least one size of its table")]
    NoSize,
    /// Shards that stay larger than they may be.
    #[error(
        "no number of shards spreads {rows} rows by {strategy} so that each has at most {most}"
    )]
    TooLarge {
        /// Rows of the table.
        rows: usize,
        /// How they are spread.
        strategy: ShardingStrategy,
        /// The most rows of a shard.
        most: usize,
    },
    /// More shards than rows.
    #[error("{shards} shards are too many for {rows} rows: expected at most {rows}")]
    TooFine {
        /// Rows of the table.
        rows: usize,
        /// What was asked for.
        shards: usize,
    },
    /// A change made for another assignment than there is.
    #[error("the shards have changed since this change was planned")]
    Stale,
}

/// Knows which shard holds which rows of one table, and plans changes of that.
///
/// A change is planned first, so that rows and optimizer states can be moved by it, and adopted
/// when they have been.
#[derive(Clone, Debug)]
pub struct ShardManager {
    assignment: Arc<ShardAssignment>,
}

/// A planned change of shards.
#[derive(Clone, Debug)]
pub struct Reshard {
    /// Where rows are now.
    pub before: Arc<ShardAssignment>,
    /// Where they will be.
    pub assignment: Arc<ShardAssignment>,
    /// The rows, ascending, that leave their shard for another. New rows are not among them, nor
    /// are those that only get another place in their shard.
    pub moved: Vec<u32>,
}

impl Reshard {
    /// Whether a shard is the same before and after, place by place.
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

    /// Spreads `rows` rows over `shards` shards, or over as many more as it takes for none to have
    /// more than `most_rows`.
    ///
    /// # Errors
    /// See [`ShardAssignment::new`]; [`ShardError::TooLarge`] if nothing is small enough.
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
            // The largest shard of a hash is a little over the mean; a few more shards will do.
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

    /// Where rows are.
    pub fn assignment(&self) -> &Arc<ShardAssignment> {
        &self.assignment
    }

    /// Plans another number of shards for the same rows.
    ///
    /// By hash and in turn, growing moves the rows that new shards take over, about one in
    /// `shards` for one more, and shrinking those of the removed shards; see
    /// [`ShardingStrategy::Range`] for ranges.
    ///
    /// # Errors
    /// See [`ShardAssignment::new`].
    pub fn reshard(&self, shards: usize) -> Result<Reshard, ShardError> {
        self.plan(TableSize {
            rows: self.assignment.rows(),
            shards,
        })
    }

    /// Plans `more_rows` new rows after those there are, over the same shards. Dealing in turn
    /// goes on where it stopped. Only ranges move old rows.
    ///
    /// # Errors
    /// See [`ShardAssignment::new`].
    pub fn extend(&self, more_rows: usize) -> Result<Reshard, ShardError> {
        self.plan(TableSize {
            rows: self.assignment.rows().saturating_add(more_rows),
            shards: self.assignment.shards(),
        })
    }

    /// Makes a planned change the assignment there is.
    ///
    /// # Errors
    /// [`ShardError::Stale`], and no change, if another change was adopted since it was planned.
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
        ShardManager {
            assignment: Arc::new(assignment),
        }
    }
}

#[cfg(test)]
mod tests;
