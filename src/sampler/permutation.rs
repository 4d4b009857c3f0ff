//! Permutations of many items, without a list.

use rand::RngExt;

use crate::rng::{Stream, cell};

/// Permutation without a list: a Feistel network on a grid with hardly more cells than items.
///
/// An item is a row and a column. Each round shifts the row by a hash of the column, and the column by a hash
/// of the row. Each shift can be undone, so the rounds are one-to-one on the grid. A cell beyond the items
/// passes through the rounds again until it becomes an item (Black and Rogaway 2002).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permutation {
    count: u32,
    rows: u32,
    columns: u32,
    keys: [u32; ROUNDS],
}

/// Shifts of rows and columns, in turn; half of them for each.
const ROUNDS: usize = 6;

impl Permutation {
    /// Makes the permutation of `count` items that a stream chooses.
    pub fn new(count: u32, random: &mut Stream) -> Permutation {
        let rows = count.isqrt().max(1);
        Permutation {
            count,
            rows,
            columns: count.div_ceil(rows),
            keys: random.random(),
        }
    }

    /// Number of items.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Item at a place of the order; both are below the number of items.
    pub fn at(&self, place: u32) -> u32 {
        let moved = |from: u32, key: u32, by: u32, of: u32| {
            let hash = u64::from(cell(key, by, of));
            ((u64::from(from) + ((hash * u64::from(of)) >> 32)) % u64::from(of)) as u32
        };
        let mut item = u64::from(place);
        loop {
            let (columns, rows) = (self.columns, self.rows);
            let mut row = (item / u64::from(columns)) as u32;
            let mut column = (item % u64::from(columns)) as u32;
            for keys in self.keys.chunks_exact(2) {
                row = moved(row, keys[0], column, rows);
                column = moved(column, keys[1], row, columns);
            }
            item = u64::from(row) * u64::from(columns) + u64::from(column);
            if item < u64::from(self.count) {
                return item as u32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, stream};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_item_comes_once(count in 1u32..3000, seed: u64) {
            let permutation = Permutation::new(count, &mut stream(seed, Purpose::Shuffle, [1, 0]));
            let mut items: Vec<u32> = (0..count).map(|place| permutation.at(place)).collect();
            items.sort_unstable();
            prop_assert!(items.into_iter().eq(0..count));
        }
    }
}
