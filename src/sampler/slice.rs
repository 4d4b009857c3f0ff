//! Slices of a plan: one worker's part of a step.
//!
//! For disjoint slices with *n*ₖ queries each and *n* in total, every quantity of the whole plan is Σₖ *n*ₖ/*n*
//! × the quantity of slice *k*: weights, penalties, the loss, and so every row's gradient. A mean over workers,
//! weighted by their queries, equals the result of one worker.

use std::ops::Range;

use super::{Candidates, Pair, Place, Plan, PlanId, Query, Rows, StepSize};

/// Least common multiple of a chunk that shares negatives, and of the queries of a fact, which are one or two.
pub(super) fn unit(chunk: usize, queries_per_fact: usize) -> usize {
    match chunk.is_multiple_of(queries_per_fact) {
        true => chunk,
        false => chunk * queries_per_fact,
    }
}

impl Plan {
    /// Number of neighbouring queries, counted from the first, that slices must not separate, because they come
    /// from one fact or share negatives.
    pub fn unit(&self) -> usize {
        match self.candidates {
            Candidates::Sampled { chunk, .. } => unit(chunk, self.queries_per_fact),
            Candidates::All { .. } => self.queries_per_fact,
        }
    }

    /// Sizes of the step.
    pub fn size(&self) -> StepSize {
        StepSize {
            id: PlanId {
                epoch: self.epoch,
                step: self.step,
            },
            queries: self.queries.len(),
            unit: self.unit(),
            facts: self.facts,
        }
    }

    /// Returns the part of a step with these queries. The slice has only the rows that these queries touch, all
    /// relations if relations are predicted, and the core. Lists keep their order, dropout masks stay those of
    /// the whole step, and weights and penalties are scaled as if the slice were the whole; `queries` may be
    /// empty.
    ///
    /// # Panics
    /// If `queries` does not lie within the plan, or cuts through a chunk of queries that share negatives.
    pub fn slice(&self, queries: Range<usize>) -> Plan {
        let scale = self.queries.len() as f64 / queries.len().max(1) as f64;
        self.cut(queries, scale)
    }

    /// Returns the part of a step with these queries, as [`Plan::slice`] does, but with the weights and
    /// penalties of the whole: for disjoint lanes that hold all queries, every row's gradient is the sum of the
    /// lanes' gradients.
    ///
    /// # Panics
    /// As [`Plan::slice`].
    pub fn lane(&self, queries: Range<usize>) -> Plan {
        self.cut(queries, 1.0)
    }

    /// Returns the part of a step with these queries, with weights and penalties times `scale`.
    fn cut(&self, queries: Range<usize>, scale: f64) -> Plan {
        let (all, n) = (self.queries.len(), queries.len());
        assert!(
            queries.start <= queries.end && queries.end <= all,
            "queries {queries:?} of a plan of {all}"
        );
        let mut entities = Part::new(&self.entities);
        let mut relations = Part::new(&self.relations);
        if n > 0 {
            let (len, core) = (self.relations.len(), self.relations.len() - self.core_rows);
            let first = if self.predicts_relations { 0 } else { core };
            (first..len).for_each(|row| relations.keep(row as u32));
        }
        for (q, query) in queries.clone().zip(&self.queries[queries.clone()]) {
            entities.keep(query.target);
            let facts = match &self.candidates {
                Candidates::Sampled { .. } => {
                    entities.count(query.target, 1);
                    1
                }
                Candidates::All { offsets, positives } => {
                    let answers = &positives[offsets[q] as usize..offsets[q + 1] as usize];
                    entities.count_ids(answers);
                    answers.len() as u32
                }
            };
            entities.count(query.entity, facts);
            relations.count(query.relation, facts);
        }
        let slots = self.slots(&queries);
        if let Candidates::Sampled { slots: all, .. } = &self.candidates {
            all[slots.clone()]
                .iter()
                .for_each(|&row| entities.keep(row));
        }

        let pairs = self.pairs_of(&queries);
        let places = |word| place(word, &queries, &slots, &pairs);
        let entity_rows = entities.rows(scale, places);
        let relation_rows = relations.rows(scale, places);
        let query = |query: &Query| Query {
            entity: entities.at(query.entity),
            relation: relations.at(query.relation),
            inverse: query.inverse,
            target: entities.at(query.target),
        };
        let fact_counts = self.fact_counts[queries.clone()].to_vec();
        Plan {
            epoch: self.epoch,
            step: self.step,
            dropout_seed: self.dropout_seed,
            first_query: self.first_query + queries.start as u32,
            facts: fact_counts.iter().map(|&n| n as usize).sum(),
            fact_counts,
            queries_per_fact: self.queries_per_fact,
            queries: self.queries[queries.clone()].iter().map(query).collect(),
            weights: self.weights[queries.clone()]
                .iter()
                .map(|&weight| (f64::from(weight) * scale) as f32)
                .collect(),
            candidates: self.candidates.slice(&queries, slots, &entities),
            entities: entity_rows,
            relations: relation_rows,
            core_rows: if n > 0 { self.core_rows } else { 0 },
            predicts_relations: self.predicts_relations,
            pairs: self.pairs[pairs]
                .iter()
                .map(|pair| Pair {
                    query: pair.query - queries.start as u32,
                    answer: entities.at(pair.answer),
                })
                .collect(),
        }
    }

    /// Range of the pairs that belong to these queries.
    fn pairs_of(&self, queries: &Range<usize>) -> Range<usize> {
        let below = |end: usize| (self.pairs).partition_point(|pair| (pair.query as usize) < end);
        below(queries.start)..below(queries.end)
    }

    /// Range of the slots of negatives that belong to these queries.
    fn slots(&self, queries: &Range<usize>) -> Range<usize> {
        let Candidates::Sampled {
            chunk, negatives, ..
        } = self.candidates
        else {
            return 0..0;
        };
        let whole = |at: usize| at.is_multiple_of(chunk) || at == self.queries.len();
        assert!(
            queries.is_empty() || whole(queries.start) && whole(queries.end),
            "queries {queries:?} cut through a chunk of {chunk}"
        );
        let slot = |query: usize| query.div_ceil(chunk) * negatives;
        slot(queries.start)..slot(queries.end)
    }
}

impl Candidates {
    fn slice(&self, queries: &Range<usize>, at: Range<usize>, entities: &Part) -> Candidates {
        match self {
            Candidates::Sampled {
                chunk,
                negatives,
                slots,
                masks,
            } => {
                let words = negatives.div_ceil(32);
                let masks = masks
                    .get(queries.start * words..queries.end * words)
                    .filter(|masks| masks.iter().any(|&word| word != 0))
                    .unwrap_or_default();
                Candidates::Sampled {
                    chunk: *chunk,
                    negatives: *negatives,
                    slots: slots[at].iter().map(|&row| entities.at(row)).collect(),
                    masks: masks.to_vec(),
                }
            }
            Candidates::All { offsets, positives } => {
                let offsets = &offsets[queries.start..=queries.end];
                let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
                Candidates::All {
                    offsets: offsets.iter().map(|offset| offset - first).collect(),
                    positives: positives[first as usize..last as usize].to_vec(),
                }
            }
        }
    }
}

/// Converts a packed place of the whole plan to the slice with these queries, slots and pairs; `None` if it
/// lies outside.
fn place(
    word: u32,
    queries: &Range<usize>,
    slots: &Range<usize>,
    pairs: &Range<usize>,
) -> Option<u32> {
    let ends = 2 * pairs.start..2 * pairs.end;
    let within = |number: u32, range: &Range<usize>| {
        let inside = range.contains(&(number as usize));
        inside.then(|| number - range.start as u32)
    };
    let place = match Place::unpack(word) {
        Place::Input(q) => Place::Input(within(q, queries)?),
        Place::Positive(q) => Place::Positive(within(q, queries)?),
        Place::Slot(s) => Place::Slot(within(s, slots)?),
        Place::Pair(end) => Place::Pair(within(end, &ends)?),
    };
    Some(place.pack())
}

/// Marks a row that the slice does not touch.
const NONE: u32 = u32::MAX;

/// Rows of one table that a slice touches.
struct Part<'a> {
    whole: &'a Rows,
    /// By position in the whole plan: the position in the slice, or [`NONE`]. Before [`Part::rows`], any other
    /// value marks a touched row.
    positions: Vec<u32>,
    occurrences: Vec<u32>,
}

impl Part<'_> {
    fn new(whole: &Rows) -> Part<'_> {
        Part {
            positions: vec![NONE; whole.len()],
            occurrences: vec![0; whole.len()],
            whole,
        }
    }

    fn keep(&mut self, position: u32) {
        self.positions[position as usize] = 0;
    }

    fn count(&mut self, position: u32, times: u32) {
        self.keep(position);
        self.occurrences[position as usize] += times;
    }

    /// Counts rows of the table; `ids` must ascend.
    fn count_ids(&mut self, ids: &[u32]) {
        let mut first = 0;
        for id in ids {
            if let Ok(at) = self.whole.ids[first..].binary_search(id) {
                first += at;
                self.count(first as u32, 1);
            }
        }
    }

    /// Position of a row in the slice.
    fn at(&self, position: u32) -> u32 {
        self.positions[position as usize]
    }

    /// Makes the touched rows. `place` converts a place, or leaves it out.
    fn rows(&mut self, scale: f64, place: impl Fn(u32) -> Option<u32>) -> Rows {
        let mut rows = Rows {
            offsets: vec![0],
            ..Rows::default()
        };
        for (i, position) in self.positions.iter_mut().enumerate() {
            if *position == NONE {
                continue;
            }
            *position = rows.ids.len() as u32;
            rows.ids.push(self.whole.ids[i]);
            let places = self.whole.places_of(i).iter();
            rows.places.extend(places.filter_map(|&word| place(word)));
            rows.offsets.push(rows.places.len() as u32);
            let (times, all) = (self.occurrences[i], self.whole.occurrences[i]);
            let share = f64::from(times) / f64::from(all.max(1));
            rows.penalty
                .push((f64::from(self.whole.penalty[i]) * share * scale) as f32);
            rows.occurrences.push(times);
        }
        rows
    }
}

#[cfg(test)]
mod tests;
