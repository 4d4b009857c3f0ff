//! Order of the items of an epoch.

use std::ops::Range;

use rand::seq::SliceRandom;

use super::permutation::Permutation;
use crate::rng::{Purpose, stream};

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
            Items::Computed(permutation) => permutation.count() as usize,
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

#[cfg(test)]
mod tests {
    use super::*;
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
