//! How a table is cut into shards.

use std::ops::Range;

use crate::optim::OptimizerKind;

/// Contiguous shards of equal size; the last may be smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardLayout {
    rows: usize,
    rows_per_shard: usize,
}

impl ShardLayout {
    /// Cuts `rows` rows into at least `shards` shards of at most `most_rows` rows.
    ///
    /// More shards than rows gives one row a shard.
    pub fn new(rows: usize, shards: usize, most_rows: usize) -> ShardLayout {
        let even = rows.div_ceil(shards.clamp(1, rows.max(1)));
        ShardLayout {
            rows,
            rows_per_shard: even.clamp(1, most_rows.max(1)),
        }
    }

    /// Rows of the table.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of shards.
    pub fn shards(&self) -> usize {
        self.rows.div_ceil(self.rows_per_shard)
    }

    /// The shard that holds a row, and the row's place in it.
    #[inline(always)]
    pub fn locate(&self, row: u32) -> (usize, usize) {
        let row = row as usize;
        (row / self.rows_per_shard, row % self.rows_per_shard)
    }

    /// The table rows of a shard.
    pub fn range(&self, shard: usize) -> Range<usize> {
        let first = shard * self.rows_per_shard;
        first..self.rows.min(first + self.rows_per_shard)
    }

    /// The stretch of ascending row numbers that fall into a shard.
    pub fn stretch(&self, shard: usize, ids: &[u32]) -> Range<usize> {
        let range = self.range(shard);
        let below = |end: usize| ids.partition_point(|&id| (id as usize) < end);
        below(range.start)..below(range.end)
    }
}

/// What a table is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSpec {
    /// `"entities"` or `"relations"`.
    pub name: &'static str,
    /// Values in a row.
    pub width: usize,
    /// How its rows are spread over shards.
    pub layout: ShardLayout,
    /// Decides the state tables kept beside it.
    pub optimizer: OptimizerKind,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_row_has_one_place(rows in 1usize..500, shards in 0usize..600, most in 0usize..200) {
            let layout = ShardLayout::new(rows, shards, most);
            let mut covered = 0;
            for shard in 0..layout.shards() {
                let range = layout.range(shard);
                prop_assert_eq!(range.start, covered);
                prop_assert!(!range.is_empty() && range.len() <= most.max(1));
                for row in range.clone() {
                    prop_assert_eq!(layout.locate(row as u32), (shard, row - range.start));
                }
                covered = range.end;
            }
            prop_assert_eq!(covered, rows);
            prop_assert!(layout.shards() >= shards.min(rows).min(1));
        }

        #[test]
        fn stretches_partition_the_ids(ids in prop::collection::btree_set(0u32..300, 0..100), shards in 1usize..9) {
            let layout = ShardLayout::new(300, shards, 300);
            let ids: Vec<u32> = ids.into_iter().collect();
            let mut next = 0;
            for shard in 0..layout.shards() {
                let stretch = layout.stretch(shard, &ids);
                prop_assert_eq!(stretch.start, next);
                prop_assert!(ids[stretch.clone()].iter().all(|&id| layout.locate(id).0 == shard));
                next = stretch.end;
            }
            prop_assert_eq!(next, ids.len());
        }
    }
}
