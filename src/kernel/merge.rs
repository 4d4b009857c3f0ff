//! How rows that several workers pushed come together.

use super::{KernelError, Places};

/// Where a part of a row's gradient lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Which of the pushes.
    pub push: u32,
    /// Which of its rows.
    pub row: u32,
}

/// The distinct rows of one or more pushes, and for each of them the list of its sources: pushes in
/// their order, and within a push as they come. Sums over a list run in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merge {
    /// Distinct places in the shard.
    pub places: Vec<u32>,
    /// Place `i` has the sources `sources[offsets[i]..offsets[i + 1]]`.
    pub offsets: Vec<u32>,
    /// The lists.
    pub sources: Vec<Source>,
}

impl Merge {
    /// The sources of the place at index `i`.
    #[inline(always)]
    pub fn sources_of(&self, i: usize) -> &[Source] {
        &self.sources[self.offsets[i] as usize..self.offsets[i + 1] as usize]
    }
}

/// Finds out which rows are pushed more than once; reused from push to push.
#[derive(Clone, Debug, Default)]
pub struct Merger {
    /// Index of a place among the distinct ones, valid where `stamp` is `round`.
    index: Vec<u32>,
    stamp: Vec<u32>,
    round: u32,
}

impl Merger {
    fn new(rows: usize) -> Merger {
        Merger {
            index: vec![0; rows],
            stamp: vec![0; rows],
            round: 0,
        }
    }

    /// Starts to look at pushes to a shard of so many rows.
    fn begin(&mut self, rows: usize) {
        if self.stamp.len() != rows {
            *self = Merger::new(rows);
        }
        if self.round == u32::MAX {
            self.stamp.fill(0);
            self.round = 0;
        }
        self.round += 1;
    }

    /// Whether each place is named once.
    ///
    /// # Errors
    /// [`KernelError::Row`] if a place is beyond the shard's `rows` rows.
    pub fn distinct(
        &mut self,
        table: &'static str,
        rows: usize,
        places: &[u32],
    ) -> Result<bool, KernelError> {
        self.begin(rows);
        let mut distinct = true;
        for &row in places {
            let stamp = self.stamp.get_mut(row as usize);
            let stamp = stamp.ok_or(KernelError::Row { table, row, rows })?;
            distinct &= std::mem::replace(stamp, self.round) != self.round;
        }
        Ok(distinct)
    }

    /// Brings pushes together.
    ///
    /// # Errors
    /// [`KernelError::Row`] if a place is beyond the shard's rows.
    pub fn merge(
        &mut self,
        table: &'static str,
        rows: usize,
        pushes: &[Places<'_>],
    ) -> Result<Merge, KernelError> {
        self.begin(rows);
        let mut merge = Merge::default();
        let mut counts: Vec<u32> = Vec::new();
        // First which rows and how many sources each has, then the sources.
        for push in pushes {
            each(push, rows, |_, place| {
                let stamp = self.stamp.get_mut(place as usize);
                let stamp = stamp.ok_or(KernelError::Row {
                    table,
                    row: place,
                    rows,
                })?;
                if *stamp != self.round {
                    *stamp = self.round;
                    self.index[place as usize] = merge.places.len() as u32;
                    merge.places.push(place);
                    counts.push(0);
                }
                counts[self.index[place as usize] as usize] += 1;
                Ok(())
            })?;
        }
        let mut end = 0;
        merge.offsets = std::iter::once(0)
            .chain(counts.iter().map(|count| {
                end += count;
                end
            }))
            .collect();
        let mut next = merge.offsets.clone();
        merge.sources = vec![Source { push: 0, row: 0 }; end as usize];
        for (push, places) in (0..).zip(pushes) {
            each(places, rows, |row, place| {
                let slot = &mut next[self.index[place as usize] as usize];
                merge.sources[*slot as usize] = Source { push, row };
                *slot += 1;
                Ok(())
            })?;
        }
        Ok(merge)
    }
}

/// Calls `f` with the index and the place of every row of a push.
fn each(
    places: &Places<'_>,
    rows: usize,
    mut f: impl FnMut(u32, u32) -> Result<(), KernelError>,
) -> Result<(), KernelError> {
    match places {
        Places::All => (0..rows as u32).try_for_each(|row| f(row, row)),
        Places::Listed(places) => (0..)
            .zip(*places)
            .try_for_each(|(row, &place)| f(row, place)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_pushed_row_is_one_source_in_order(
            rounds in prop::collection::vec(
                prop::collection::vec(prop::option::of(prop::collection::vec(0u32..20, 0..40)), 0..5),
                1..4,
            )
        ) {
            let mut merger = Merger::default();
            for pushes in rounds {
                let all: Vec<u32> = (0..20).collect();
                let places: Vec<Places> = pushes.iter()
                    .map(|p| p.as_deref().map_or(Places::All, Places::Listed)).collect();
                let merge = merger.merge("entities", 20, &places).unwrap();
                let listed: Vec<&[u32]> = pushes.iter().map(|p| p.as_deref().unwrap_or(&all)).collect();
                prop_assert_eq!(merge.sources.len(), listed.iter().map(|p| p.len()).sum::<usize>());
                for (i, &place) in merge.places.iter().enumerate() {
                    let wanted: Vec<Source> = (0..).zip(&listed).flat_map(|(push, places)| {
                        (0..).zip(*places).filter(move |(_, p)| **p == place)
                            .map(move |(row, _)| Source { push, row })
                    }).collect();
                    prop_assert!(!wanted.is_empty());
                    prop_assert_eq!(merge.sources_of(i), &wanted[..]);
                }
                for places in listed {
                    let mut sorted = places.to_vec();
                    sorted.sort_unstable();
                    prop_assert_eq!(merger.distinct("entities", 20, places).unwrap(), sorted.is_sorted_by(|a, b| a < b));
                }
            }
        }
    }

    #[test]
    fn rows_beyond_the_shard_are_refused() {
        let mut merger = Merger::default();
        let beyond = |error| {
            matches!(
                error,
                KernelError::Row {
                    row: 3,
                    rows: 3,
                    ..
                }
            )
        };
        let merged = merger.merge("entities", 3, &[Places::Listed(&[1, 3])]);
        assert!(beyond(merged.unwrap_err()));
        assert!(beyond(merger.distinct("entities", 3, &[3]).unwrap_err()));
    }
}
