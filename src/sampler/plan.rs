//! Plans: all data that a step needs before its arithmetic runs.
//!
//! A plan lists the *unique rows* that a step touches and, for each row, the places that contribute to its
//! gradient, as compressed lists (`offsets`, `places`). Sums over a list run in its order, so a plan fixes the
//! order of every reduction.

use bytemuck::{Pod, Zeroable};

/// A query: a known entity and a relation, with the other entity missing.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Query {
    /// Position of the known entity in [`Plan::entities`].
    pub entity: u32,
    /// Position of the relation in [`Plan::relations`].
    pub relation: u32,
    /// 1 if the operator is applied backwards (the head is missing), else 0.
    pub inverse: u32,
    /// Position of the right answer in [`Plan::entities`].
    pub target: u32,
}

/// A query and one of its right answers, between which the relation is predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Number of the query.
    pub query: u32,
    /// Position of the answer in [`Plan::entities`].
    pub answer: u32,
}

/// Source of a contribution to a row's gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The row is the input (entity or relation) of query `q`.
    Input(u32),
    /// The row is the right answer of query `q`.
    Positive(u32),
    /// The row is slot `s` of the negatives: candidate `s % negatives` of chunk `s / negatives`.
    Slot(u32),
    /// The row is the answer (2·`p`) or the known entity (2·`p` + 1) of pair `p`, whose relation is
    /// predicted from both.
    Pair(u32),
}

impl Place {
    const TAG: u32 = 30;
    /// Exclusive limit of the numbers of queries, slots and ends of pairs.
    pub const LIMIT: u32 = 1 << Self::TAG;

    /// Packs the place into one word: kind in the top two bits, number below.
    pub fn pack(self) -> u32 {
        match self {
            Place::Input(q) => q,
            Place::Positive(q) => (1 << Self::TAG) | q,
            Place::Slot(s) => (2 << Self::TAG) | s,
            Place::Pair(end) => (3 << Self::TAG) | end,
        }
    }

    /// Unpacks a word.
    #[inline(always)]
    pub fn unpack(word: u32) -> Place {
        let number = word & (Self::LIMIT - 1);
        match word >> Self::TAG {
            0 => Place::Input(number),
            1 => Place::Positive(number),
            2 => Place::Slot(number),
            _ => Place::Pair(number),
        }
    }
}

/// Unique rows of one table that a step touches, and the contributions to each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// Row numbers in the table, ascending, each once.
    pub ids: Vec<u32>,
    /// Row `i` of `ids` owns `places[offsets[i]..offsets[i + 1]]`.
    pub offsets: Vec<u32>,
    /// Packed [`Place`]s.
    pub places: Vec<u32>,
    /// Weight of each row in the regularizer, without λ: its occurrences in facts divided by the number of
    /// queries, or 1 if the regularizer is not weighted; 0 for rows that are only negatives.
    pub penalty: Vec<f32>,
    /// Number of occurrences of each row in the queries' facts, as head, relation or tail.
    pub occurrences: Vec<u32>,
}

impl Rows {
    /// Number of unique rows.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Returns whether no row is touched.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Packed places of unique row `i`.
    #[inline(always)]
    pub fn places_of(&self, i: usize) -> &[u32] {
        &self.places[self.offsets[i] as usize..self.offsets[i + 1] as usize]
    }
}

/// Candidates of each query.
#[derive(Clone, Debug, PartialEq)]
pub enum Candidates {
    /// The right answer, as candidate 0, and sampled negatives.
    Sampled {
        /// Number of queries that share one list of negatives; the last chunk may be short.
        chunk: usize,
        /// Number of negatives of a chunk.
        negatives: usize,
        /// Positions in [`Plan::entities`]: `negatives` for every chunk. A slot that all queries of a chunk
        /// mask is not among the places of its row.
        slots: Vec<u32>,
        /// One bit per query and negative, `negatives.div_ceil(32)` words per query. A set bit masks the
        /// negative: it is a known fact, or beyond the query's number of negatives. Empty if nothing is masked.
        masks: Vec<u32>,
    },
    /// All entities.
    All {
        /// Query `q` has the right answers `positives[offsets[q]..offsets[q + 1]]`.
        offsets: Vec<u32>,
        /// Rows of the entity table, ascending within a query.
        positives: Vec<u32>,
    },
}

/// Work of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Epoch, from 1.
    pub epoch: u32,
    /// Step within the epoch, from 0.
    pub step: u32,
    /// Seed of the step's dropout masks; see [`crate::rng::cell`].
    pub dropout_seed: u32,
    /// Number of this plan's first query in the plan of the whole step; 0 except in a slice. Dropout masks
    /// depend on the number of a query in the whole step.
    pub first_query: u32,
    /// Number of training facts behind the step's queries; for K-vs-all, of those with a query for their tail.
    pub facts: usize,
    /// Number of facts that each query counts for; the sum is `facts`.
    pub fact_counts: Vec<u32>,
    /// Number of neighbouring queries that come from one fact.
    pub queries_per_fact: usize,
    /// Entity rows: inputs, right answers and negatives.
    pub entities: Rows,
    /// Relation rows: the relations of the queries, or all of the table if relations are predicted; then the
    /// rows of the model's core.
    pub relations: Rows,
    /// Number of rows of the core: the last ones of [`Plan::relations`], and of the relation table. Every query
    /// uses them without naming them.
    pub core_rows: usize,
    /// True if the relation of each query is also predicted, from its entity and each right answer.
    pub predicts_relations: bool,
    /// Every query with every right answer, in the order of queries, if relations are predicted; else empty.
    pub pairs: Vec<Pair>,
    /// The queries.
    pub queries: Vec<Query>,
    /// Weight of each query's loss. Without weights of facts, the sum is 1.
    pub weights: Vec<f32>,
    /// Candidates of the queries.
    pub candidates: Candidates,
}

impl Plan {
    /// Number of right answers of a query.
    pub fn answers(&self, query: u32) -> usize {
        match &self.candidates {
            Candidates::Sampled { .. } => 1,
            Candidates::All { offsets, .. } => {
                (offsets[query as usize + 1] - offsets[query as usize]) as usize
            }
        }
    }

    /// Number of candidates per query if they are sampled: the right answer and the negatives; else 0.
    pub fn sampled_width(&self) -> usize {
        match &self.candidates {
            Candidates::Sampled { negatives, .. } => negatives + 1,
            Candidates::All { .. } => 0,
        }
    }
}

/// Largest number of table rows per touched row for which a scan over all rows is faster than sorting the
/// touched ones.
const DENSE: usize = 16;

/// Collects touched rows, makes them unique and lists their places; reused from step to step.
#[derive(Debug, Default)]
pub struct RowsBuilder {
    notes: Vec<Note>,
    round: u32,
    touched: Vec<(u32, u32)>,
    ids: Vec<u32>,
}

/// Data on a row of the table in the current step, in one struct because rows are touched in random order.
#[derive(Clone, Copy, Debug, Default)]
struct Note {
    /// Step of the other fields: they are current if equal to the builder's `round`.
    stamp: u32,
    /// Number of places of the row; in [`RowsBuilder::finish`], index of the next place to list.
    count_or_next: u32,
    /// Position of the row in the step's `ids`.
    position: u32,
}

impl RowsBuilder {
    /// Bytes per row of the table.
    pub const BYTES_A_ROW: usize = size_of::<Note>();

    /// Makes a builder for a table of `rows` rows.
    pub fn new(rows: usize) -> RowsBuilder {
        RowsBuilder {
            notes: vec![Note::default(); rows],
            ..RowsBuilder::default()
        }
    }

    /// Starts a step.
    pub fn begin(&mut self) {
        if self.round == u32::MAX {
            self.notes.fill(Note::default());
            self.round = 0;
        }
        self.round += 1;
        self.touched.clear();
        self.ids.clear();
    }

    /// Records a place that contributes to a row's gradient.
    #[inline]
    pub fn touch(&mut self, row: u32, place: Place) {
        self.note(row).count_or_next += 1;
        self.touched.push((row, place.pack()));
    }

    /// Records a row that a step needs without a contribution from a place.
    pub fn keep(&mut self, row: u32) {
        self.note(row);
    }

    #[inline]
    fn note(&mut self, row: u32) -> &mut Note {
        let note = &mut self.notes[row as usize];
        if note.stamp != self.round {
            *note = Note {
                stamp: self.round,
                ..Note::default()
            };
            self.ids.push(row);
        }
        note
    }

    /// Sorts the rows and lists their places in the order of recording. `penalty` and `occurrences` start at 0.
    pub fn finish(&mut self) -> Rows {
        if self.ids.len() * DENSE >= self.notes.len() {
            let touched = |row: &u32| self.notes[*row as usize].stamp == self.round;
            self.ids.clear();
            self.ids
                .extend((0..self.notes.len() as u32).filter(touched));
        } else {
            self.ids.sort_unstable();
        }
        let mut offsets = Vec::with_capacity(self.ids.len() + 1);
        let mut end = 0;
        for (i, &row) in self.ids.iter().enumerate() {
            let note = &mut self.notes[row as usize];
            note.position = i as u32;
            offsets.push(end);
            end += std::mem::replace(&mut note.count_or_next, end);
        }
        offsets.push(end);
        let mut places = vec![0u32; self.touched.len()];
        for &(row, place) in &self.touched {
            let next = &mut self.notes[row as usize].count_or_next;
            places[*next as usize] = place;
            *next += 1;
        }
        Rows {
            penalty: vec![0.0; self.ids.len()],
            occurrences: vec![0; self.ids.len()],
            ids: self.ids.clone(),
            offsets,
            places,
        }
    }

    /// Position of a recorded row among the unique rows; valid after [`RowsBuilder::finish`].
    #[inline]
    pub fn position(&self, row: u32) -> u32 {
        self.notes[row as usize].position
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn places_survive_packing(n in 0..Place::LIMIT, kind in 0..4) {
            let place = match kind {
                0 => Place::Input(n),
                1 => Place::Positive(n),
                2 => Place::Slot(n),
                _ => Place::Pair(n),
            };
            prop_assert_eq!(Place::unpack(place.pack()), place);
        }

        #[test]
        fn every_touch_is_listed_once_and_in_order(
            rounds in prop::collection::vec(prop::collection::vec((0u32..50, 0u32..1000), 0..200), 1..4),
            kept in prop::collection::vec(0u32..50, 0..9),
            sparse: bool,
        ) {
            // A table much larger than the touched rows, and one of about their size.
            let mut builder = RowsBuilder::new(if sparse { 50_000 } else { 50 });
            for touches in rounds {
                builder.begin();
                let (before, after) = kept.split_at(kept.len() / 2);
                before.iter().for_each(|&row| builder.keep(row));
                for &(row, n) in &touches {
                    builder.touch(row, Place::Slot(n));
                }
                after.iter().for_each(|&row| builder.keep(row));
                let rows = builder.finish();
                prop_assert!(rows.ids.is_sorted_by(|a, b| a < b));
                prop_assert_eq!(rows.places.len(), touches.len());
                prop_assert!(kept.iter().all(|row| rows.ids.binary_search(row).is_ok()));
                for (i, &id) in rows.ids.iter().enumerate() {
                    prop_assert_eq!(builder.position(id), i as u32);
                    let want: Vec<u32> = touches.iter().filter(|t| t.0 == id)
                        .map(|t| Place::Slot(t.1).pack()).collect();
                    prop_assert_eq!(rows.places_of(i), &want[..]);
                    prop_assert!(!want.is_empty() || kept.contains(&id));
                }
            }
        }
    }
}
