//! Order of the items of an epoch.

use std::ops::Range;

use rand::RngExt;
use rand::seq::SliceRandom;

use crate::rng::{Purpose, Stream, cell, stream};

/// Number of items from which the order is computed instead of stored.
const MANY: u32 = 1 << 22;

/// Order of the items of an epoch, each once. An order of many items is computed and takes no memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochOrder {
    pub(super) epoch: u32,
    items: Items,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Items {
    Listed(Vec<u32>),
    Computed(Permutation),
}

impl EpochOrder {
    /// Makes the order of `items` items.
    pub(super) fn new(seed: u64, epoch: u32, items: u32) -> EpochOrder {
        let mut random = stream(seed, Purpose::Shuffle, [u64::from(epoch), 0]);
        let items = if items < MANY {
            let mut listed: Vec<u32> = (0..items).collect();
            listed.shuffle(&mut random);
            Items::Listed(listed)
        } else {
            Items::Computed(Permutation::new(items, &mut random))
        };
        EpochOrder { epoch, items }
    }

    fn len(&self) -> usize {
        match &self.items {
            Items::Listed(items) => items.len(),
            Items::Computed(permutation) => permutation.count as usize,
        }
    }

    /// Items of a step, with `size` items per step.
    pub(super) fn step(&self, step: u32, size: usize) -> Vec<u32> {
        let first = step as usize * size;
        let range: Range<usize> = first..self.len().min(first + size);
        match &self.items {
            Items::Listed(items) => items[range].to_vec(),
            Items::Computed(permutation) => range.map(|i| permutation.at(i as u32)).collect(),
        }
    }
}

/// Permutation without a list: a Feistel network on a grid with hardly more cells than items.
///
/// An item is a row and a column. Each round shifts the row by a hash of the column, and the column by a hash
/// of the row. Each shift can be undone, so the rounds are one-to-one on the grid. A cell beyond the items
/// passes through the rounds again until it becomes an item (Black and Rogaway 2002).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Permutation {
    count: u32,
    rows: u32,
    columns: u32,
    keys: [u32; ROUNDS],
}

/// Shifts of rows and columns, in turn; half of them for each.
const ROUNDS: usize = 6;

impl Permutation {
    fn new(count: u32, random: &mut Stream) -> Permutation {
        let rows = count.isqrt().max(1);
        Permutation {
            count,
            rows,
            columns: count.div_ceil(rows),
            keys: random.random(),
        }
    }

    /// Item at a place of the order; both are below `count`.
    fn at(&self, place: u32) -> u32 {
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

    #[test]
    fn many_items_are_shuffled_without_a_list() {
        let order = |seed, epoch| EpochOrder::new(seed, epoch, MANY);
        let (first, size) = (order(0, 1), 4096);
        assert!(matches!(first.items, Items::Computed(_)));
        assert_ne!(first.step(0, size), order(0, 2).step(0, size));
        assert_ne!(first.step(0, size), order(1, 1).step(0, size));
        // The values must stay the same on every machine and in every version.
        assert_eq!(first.step(1023, size)[..3], KNOWN);
        // For uniform draws, neighbours differ by a third of the range on average, and by more than half of it
        // in a quarter of the cases.
        let items = first.step(17, size);
        let gaps = items
            .windows(2)
            .map(|w| f64::from(w[0].abs_diff(w[1])) / f64::from(MANY));
        let (sum, far) = gaps.fold((0.0, 0), |(sum, far), gap| {
            (sum + gap, far + u32::from(gap > 0.5))
        });
        assert!((sum / 4095.0 - 1.0 / 3.0).abs() < 0.02, "{sum}");
        assert!((900..1150).contains(&far), "{far}");
        let spread: Vec<u32> = (0..16)
            .map(|part| {
                let part = part * (MANY / 16)..(part + 1) * (MANY / 16);
                items.iter().filter(|i| part.contains(i)).count() as u32
            })
            .collect();
        assert!(spread.iter().all(|n| (190..325).contains(n)), "{spread:?}");
    }
    const KNOWN: [u32; 3] = [520329, 3398857, 2762078];

    #[test]
    fn few_items_keep_their_list() {
        let order = EpochOrder::new(0, 1, 10);
        let mut listed: Vec<u32> = (0..10).collect();
        listed.shuffle(&mut stream(0, Purpose::Shuffle, [1, 0]));
        assert_eq!(order.step(0, 4), listed[..4]);
        assert_eq!(order.step(2, 4), listed[8..]);
    }
}
