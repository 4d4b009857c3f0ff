//! The cut of a table into shards.

use std::ops::Range;
use std::sync::Arc;

use super::Dtype;
use crate::optim::OptimizerKind;

/// Contiguous shards of any sizes, some of them empty. Cloning is cheap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardLayout {
    /// The row that each shard starts with, and after the last the number of rows.
    starts: Arc<[usize]>,
    /// The shard of every block's first row, so that a row is found without a division and, where
    /// no shard starts in its block, without a search. One more than there are blocks.
    hints: Arc<[u32]>,
    /// A block has 2^`block` rows.
    block: u32,
}

/// Blocks for each shard: so many that few of them hold the start of one.
const BLOCKS: usize = 16;

impl ShardLayout {
    /// Cuts `rows` rows into at least `shards` shards of at most `most_rows` rows, equal but for
    /// the last.
    ///
    /// More shards than rows gives one row a shard.
    pub fn new(rows: usize, shards: usize, most_rows: usize) -> ShardLayout {
        let even = rows.div_ceil(shards.clamp(1, rows.max(1)));
        let even = even.clamp(1, most_rows.max(1));
        ShardLayout::from_starts((0..rows).step_by(even).chain([rows]).collect())
    }

    /// Shards of these sizes, one after the other.
    pub fn from_sizes(sizes: &[usize]) -> ShardLayout {
        let starts = sizes.iter().scan(0, |end, size| {
            *end += size;
            Some(*end)
        });
        ShardLayout::from_starts([0].into_iter().chain(starts).collect())
    }

    fn from_starts(starts: Arc<[usize]>) -> ShardLayout {
        let (shards, rows) = (starts.len() - 1, starts[starts.len() - 1]);
        let block = (rows / (BLOCKS * shards.max(1))).max(1).ilog2();
        let mut shard = 0;
        let hint = |b: usize| {
            while shard + 1 < shards && starts[shard + 1] <= b << block {
                shard += 1;
            }
            shard as u32
        };
        ShardLayout {
            hints: (0..=(rows >> block) + 1).map(hint).collect(),
            starts,
            block,
        }
    }

    /// Rows of the table.
    pub fn rows(&self) -> usize {
        self.starts[self.shards()]
    }

    /// Number of shards.
    pub fn shards(&self) -> usize {
        self.starts.len() - 1
    }

    /// Rows of the largest shard.
    pub fn most_rows(&self) -> usize {
        let sizes = self.starts.windows(2).map(|ends| ends[1] - ends[0]);
        sizes.max().unwrap_or(0)
    }

    /// The shard that holds a row of the table, and the row's place in it.
    #[inline(always)]
    pub fn locate(&self, row: u32) -> (usize, usize) {
        let row = row as usize;
        let block = row >> self.block;
        let (first, last) = (self.hints[block] as usize, self.hints[block + 1] as usize);
        let mut shard = first;
        if first != last {
            shard += self.starts[first + 1..=last].partition_point(|&start| start <= row);
        }
        (shard, row - self.starts[shard])
    }

    /// The table rows of a shard.
    pub fn range(&self, shard: usize) -> Range<usize> {
        self.starts[shard]..self.starts[shard + 1]
    }

    /// Successive rows of the table, shard by shard: the shard, their places in it, and where they
    /// are among the rows asked for.
    pub fn parts(
        &self,
        rows: Range<usize>,
    ) -> impl Iterator<Item = (usize, Range<usize>, Range<usize>)> + '_ {
        (0..self.shards()).filter_map(move |shard| {
            let range = self.range(shard);
            let (first, end) = (range.start.max(rows.start), range.end.min(rows.end));
            (first < end).then(|| {
                let places = first - range.start..end - range.start;
                (shard, places, first - rows.start..end - rows.start)
            })
        })
    }

    /// The shard that holds just these rows of the table, in this order.
    pub fn shard_of_all(&self, rows: &[u32]) -> Option<usize> {
        let (shard, _) = self.locate(*rows.first()?);
        let range = self.range(shard);
        let same = rows.len() == range.len()
            && (range.zip(rows)).all(|(mine, &theirs)| mine == theirs as usize);
        same.then_some(shard)
    }

    /// The stretch of ascending row numbers that fall into a shard.
    pub fn stretch(&self, shard: usize, ids: &[u32]) -> Range<usize> {
        let range = self.range(shard);
        let below = |end: usize| ids.partition_point(|&id| (id as usize) < end);
        below(range.start)..below(range.end)
    }
}

/// Description of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSpec {
    /// `"entities"` or `"relations"`.
    pub name: &'static str,
    /// Values in a row.
    pub width: usize,
    /// Rows of every shard.
    pub layout: ShardLayout,
    /// Decides the state tables kept beside it.
    pub optimizer: OptimizerKind,
    /// Stored type of values.
    pub dtype: Dtype,
}

impl TableSpec {
    /// Bytes that a row takes on a device, with the optimizer's state.
    pub fn row_bytes(&self) -> usize {
        let states: usize = self.optimizer.state_widths(self.width).iter().sum();
        self.width * self.dtype.size() + states * size_of::<f32>()
    }
}

/// The rows of a shard that gradient rows are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Places<'a> {
    /// All rows of the shard, in order.
    All,
    /// Rows by their places in the shard, in any order. The gradients of a place that is listed
    /// more than once are added up.
    Listed(&'a [u32]),
}

impl Places<'_> {
    /// Number of places in a shard with `rows` rows.
    pub fn count(&self, rows: usize) -> usize {
        match self {
            Places::All => rows,
            Places::Listed(places) => places.len(),
        }
    }
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
                prop_assert_eq!(range.len() < layout.most_rows(), shard + 1 == layout.shards() && range.len() < layout.range(0).len());
                for row in range.clone() {
                    prop_assert_eq!(layout.locate(row as u32), (shard, row - range.start));
                }
                covered = range.end;
            }
            prop_assert_eq!(covered, rows);
            prop_assert!(layout.shards() >= shards.min(rows).min(1));
        }

        #[test]
        fn shards_of_any_sizes(
            sizes in prop::collection::vec(prop_oneof![Just(0usize), 0usize..4, 0usize..2000], 0..60)
        ) {
            let layout = ShardLayout::from_sizes(&sizes);
            prop_assert_eq!(layout.shards(), sizes.len());
            prop_assert_eq!(layout.rows(), sizes.iter().sum::<usize>());
            prop_assert_eq!(layout.most_rows(), sizes.iter().copied().max().unwrap_or(0));
            for (shard, &size) in sizes.iter().enumerate() {
                let range = layout.range(shard);
                prop_assert_eq!(range.len(), size);
                for row in range.clone() {
                    prop_assert_eq!(layout.locate(row as u32), (shard, row - range.start));
                }
            }
        }

        #[test]
        fn stretches_partition_the_ids(
            ids in prop::collection::btree_set(0u32..300, 0..100),
            ends in prop::collection::vec(0usize..=300, 0..9),
        ) {
            let mut ends = [&ends[..], &[0, 300]].concat();
            ends.sort_unstable();
            let sizes: Vec<usize> = ends.windows(2).map(|ends| ends[1] - ends[0]).collect();
            let layout = ShardLayout::from_sizes(&sizes);
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
