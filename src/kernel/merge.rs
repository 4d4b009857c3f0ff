//! Merges rows that several workers pushed.

use std::ops::Range;

use super::cpu::{L1, prefetch};
use super::{KernelError, Places};

/// Sources whose place is asked for ahead of its use.
const AHEAD: usize = 32;

/// Position of a part of a row's gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Number of the push.
    pub push: u32,
    /// Number of the row in the push.
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
    rows: usize,
    /// A bit for every row of the shard, all of them clear between two calls.
    seen: Vec<u64>,
    /// Index of a place among the distinct ones, valid where its bit is set.
    index: Vec<u32>,
    /// Index of the distinct place for every source, in the order of the sources.
    slots: Vec<u32>,
    /// Position of the next source of every distinct place.
    next: Vec<u32>,
    merge: Merge,
}

impl Merger {
    /// Starts to look at pushes to so many rows.
    fn begin(&mut self, rows: usize) {
        if self.rows != rows {
            *self = Merger::default();
            self.rows = rows;
            self.seen = vec![0; rows.div_ceil(64)];
        }
    }

    /// Notes a place, and says whether it is new.
    #[inline(always)]
    fn see(&mut self, place: u32) -> bool {
        let (word, bit) = (&mut self.seen[place as usize / 64], 1 << (place % 64));
        let new = *word & bit == 0;
        *word |= bit;
        new
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
        check(table, rows, &[Places::Listed(places)])?;
        self.begin(rows);
        let distinct = places.iter().all(|&place| self.see(place));
        forget(&mut self.seen, places, 0);
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
    ) -> Result<&Merge, KernelError> {
        check(table, rows, pushes)?;
        Ok(self.merge_sources(0..rows as u32, sources(pushes, rows)))
    }

    /// Brings sources together, given with their places, which are all of this part of a shard.
    pub fn merge_sources(
        &mut self,
        part: Range<u32>,
        sources: impl Iterator<Item = (u32, Source)> + Clone,
    ) -> &Merge {
        self.begin(part.len());
        self.index.resize(part.len(), 0);
        let most = sources.clone().count();
        self.slots.resize(most, 0);
        self.next.clear();
        self.next.resize(most, 0);
        self.merge.places.resize(most, 0);
        // First which rows and how many sources each has, then the sources. Whether a row is new is
        // anybody's guess, so there is no branch that depends on it.
        let mut distinct = 0u32;
        let mut later = sources.clone().skip(AHEAD);
        for ((place, _), slot) in sources.clone().zip(&mut self.slots) {
            if let Some((place, _)) = later.next() {
                prefetch::<_, L1>(&self.index[(place - part.start) as usize..][..1]);
            }
            let at = place - part.start;
            let new = self.seen[at as usize / 64] >> (at % 64) & 1 == 0;
            self.seen[at as usize / 64] |= 1 << (at % 64);
            let index = &mut self.index[at as usize];
            *index = std::hint::select_unpredictable(new, distinct, *index);
            // Written again until the next new row is here.
            self.merge.places[distinct as usize] = place;
            *slot = *index;
            self.next[*slot as usize] += 1;
            distinct += u32::from(new);
        }
        self.next.truncate(distinct as usize);
        self.merge.places.truncate(distinct as usize);
        let Merge {
            places,
            offsets,
            sources: lists,
        } = &mut self.merge;
        forget(&mut self.seen, places, part.start);
        offsets.clear();
        let mut end = 0;
        for count in &mut self.next {
            offsets.push(end);
            end += std::mem::replace(count, end);
        }
        offsets.push(end);
        lists.resize(end as usize, Source { push: 0, row: 0 });
        let mut slots = self.slots.iter();
        sources.for_each(|(_, source)| {
            if let Some(&slot) = slots.next() {
                let at = &mut self.next[slot as usize];
                lists[*at as usize] = source;
                *at += 1;
            }
        });
        &self.merge
    }
}

/// Checks that pushes name rows of the shard.
///
/// # Errors
/// [`KernelError::Row`] if a place is beyond the shard's rows.
pub fn check(table: &'static str, rows: usize, pushes: &[Places<'_>]) -> Result<(), KernelError> {
    for push in pushes {
        let Places::Listed(places) = push else {
            continue;
        };
        // One pass that vectorises; only if a row is wrong is it looked for.
        let most = places.iter().fold(0, |most, &place| most.max(place));
        if most as usize >= rows
            && let Some(&row) = places.iter().find(|&&place| place as usize >= rows)
        {
            return Err(KernelError::Row { table, row, rows });
        }
    }
    Ok(())
}

/// Every row of every push, with its place.
pub fn sources<'a>(
    pushes: &'a [Places<'a>],
    rows: usize,
) -> impl Iterator<Item = (u32, Source)> + Clone {
    (0..).zip(pushes).flat_map(move |(push, places)| {
        (0..places.count(rows) as u32).map(move |row| {
            let place = match places {
                Places::All => row,
                Places::Listed(places) => places[row as usize],
            };
            (place, Source { push, row })
        })
    })
}

/// Clears the bits of these places, of which the first bit is `first`.
fn forget(seen: &mut [u64], places: &[u32], first: u32) {
    if places.len() < seen.len() {
        (places.iter()).for_each(|&place| seen[(place - first) as usize / 64] = 0);
    } else {
        seen.fill(0);
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
