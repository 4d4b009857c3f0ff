use super::Triple;

/// Index of known triples: the tails of each head and relation, and the heads of each relation and
/// tail.
///
/// Filtered ranking leaves out the other known answers, and samplers avoid false negatives. One
/// index serves both, since it separates the answers that training shows from the held-out ones.
///
/// The index takes [`bytes`](Self::bytes): 16 for a distinct triple and 8 for an entity. Building
/// it takes no further memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterIndex {
    relations: usize,
    by_head: Rows,
    by_tail: Rows,
}

/// (relation, other entity) pairs of each entity, without repetition, sorted by relation, then by
/// held out or not, then by the other entity.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rows {
    /// Row `e` is `pairs[starts[e]..starts[e + 1]]`.
    starts: Vec<u32>,
    /// As 32-bit words: the keys of a row's relations, 2 · relation + 1 if the pair is held out and
    /// 2 · relation if not, then the other entities.
    pairs: Vec<u64>,
}

/// Counts of a relation in training. Repeated triples count once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RelationCounts {
    pub triples: usize,
    /// Distinct entities that are head, and tail, of the relation.
    pub heads: usize,
    pub tails: usize,
}

/// Bit of a key that marks a held-out pair.
const HELD_OUT: u32 = 1;
/// Ids of relations are below this, so that a key has a bit for the mark.
const MOST_RELATIONS: usize = 1 << 31;

impl FilterIndex {
    /// Indexes the triples of all `splits`, none of which count as held out.
    ///
    /// # Panics
    /// If an entity id is not below `entities`, a relation id is not below `relations`, or the
    /// splits have 2³² triples.
    pub fn new(entities: usize, relations: usize, splits: &[&[Triple]]) -> Self {
        Self::with_held_out(entities, relations, splits, &[])
    }

    /// Indexes training and held-out triples. A triple in both counts as a training triple.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    pub fn with_held_out(
        entities: usize,
        relations: usize,
        train: &[&[Triple]],
        held_out: &[&[Triple]],
    ) -> Self {
        fn marked(splits: &[&[Triple]], mark: u32) -> impl Iterator<Item = (Triple, u32)> {
            splits.iter().copied().flatten().map(move |&t| (t, mark))
        }
        let triples = || marked(train, 0).chain(marked(held_out, HELD_OUT));
        let known = |(t, _): (Triple, u32)| (t.relation as usize) < relations.min(MOST_RELATIONS);
        assert!(triples().all(known), "a relation's id is out of range");
        let key = |t: Triple, mark| t.relation << 1 | mark;
        let (by_head, by_tail) = rayon::join(
            || {
                Rows::new(entities, || {
                    triples().map(|(t, m)| (t.head, key(t, m), t.tail))
                })
            },
            || {
                Rows::new(entities, || {
                    triples().map(|(t, m)| (t.tail, key(t, m), t.head))
                })
            },
        );
        Self {
            relations,
            by_head,
            by_tail,
        }
    }

    /// Known tails of `(head, relation, ?)`, without repetition: first those of training, then
    /// held-out ones, both sorted. Empty for unknown ids.
    pub fn tails(&self, head: u32, relation: u32) -> &[u32] {
        self.by_head.others(head, relation).0
    }

    /// Known heads of `(?, relation, tail)`, in the same order. Empty for unknown ids.
    pub fn heads(&self, relation: u32, tail: u32) -> &[u32] {
        self.by_tail.others(tail, relation).0
    }

    /// [`tails`](Self::tails) that training shows, sorted.
    pub fn trained_tails(&self, head: u32, relation: u32) -> &[u32] {
        let (others, trained) = self.by_head.others(head, relation);
        &others[..trained]
    }

    /// [`heads`](Self::heads) that training shows, sorted.
    pub fn trained_heads(&self, relation: u32, tail: u32) -> &[u32] {
        let (others, trained) = self.by_tail.others(tail, relation);
        &others[..trained]
    }

    /// Returns true if the triple is known.
    pub fn contains(&self, triple: Triple) -> bool {
        let (tails, trained) = self.by_head.others(triple.head, triple.relation);
        let (trained, held_out) = tails.split_at(trained);
        [trained, held_out]
            .iter()
            .any(|tails| tails.binary_search(&triple.tail).is_ok())
    }

    /// Number of distinct known triples.
    pub fn len(&self) -> usize {
        self.by_head.pairs.len()
    }

    /// Returns true if no triple is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Size of the index, in bytes.
    pub fn bytes(&self) -> usize {
        self.by_head.bytes() + self.by_tail.bytes()
    }

    /// Counts of every relation in training.
    pub(crate) fn relation_counts(&self) -> Vec<RelationCounts> {
        let mut counts = vec![RelationCounts::default(); self.relations];
        self.by_head.trained(|relation, _, triples| {
            counts[relation as usize].triples += triples;
            counts[relation as usize].heads += 1;
        });
        self.by_tail
            .trained(|relation, _, _| counts[relation as usize].tails += 1);
        counts
    }

    /// Visits the distinct (relation, head) and then (relation, tail) of training. The first
    /// argument of `visit` is true for a tail.
    pub(crate) fn trained_queries(&self, mut visit: impl FnMut(bool, u32, u32)) {
        self.by_head
            .trained(|relation, head, _| visit(false, relation, head));
        self.by_tail
            .trained(|relation, tail, _| visit(true, relation, tail));
    }
}

impl Rows {
    fn new<I: Iterator<Item = (u32, u32, u32)>>(entities: usize, triples: impl Fn() -> I) -> Self {
        // A counting sort by entity, then a short sort within each row, all in one buffer.
        let mut starts = vec![0u32; entities + 1];
        let mut total = 0u64;
        for (entity, ..) in triples() {
            starts[..entities][entity as usize] += 1;
            total += 1;
        }
        assert!(total <= u64::from(u32::MAX), "an index of 2^32 triples");
        let mut before = 0;
        for start in &mut starts {
            before += std::mem::replace(start, before);
        }
        let mut pairs = vec![0u64; total as usize];
        for (entity, relation, other) in triples() {
            let next = &mut starts[entity as usize];
            pairs[*next as usize] = u64::from(relation) << 32 | u64::from(other);
            *next += 1;
        }
        // Now every start is the end of its row.
        let (mut from, mut to) = (0, 0);
        let mut kept = Vec::new();
        for start in &mut starts[..entities] {
            let end = std::mem::replace(start, to as u32) as usize;
            let row = &mut pairs[from..end];
            row.sort_unstable();
            kept.clear();
            for &key in row.iter() {
                const MARK: u64 = (HELD_OUT as u64) << 32;
                let again = kept.last() == Some(&key)
                    || key & MARK != 0 && row.binary_search(&(key ^ MARK)).is_ok();
                if !again {
                    kept.push(key);
                }
            }
            let words = &mut pairs[to..to + kept.len()];
            let words: &mut [u32] = bytemuck::cast_slice_mut(words);
            let (relations, others) = words.split_at_mut(kept.len());
            for ((relation, other), key) in relations.iter_mut().zip(others).zip(&kept) {
                (*relation, *other) = ((key >> 32) as u32, *key as u32);
            }
            (from, to) = (end, to + kept.len());
        }
        starts[entities] = to as u32;
        pairs.truncate(to);
        pairs.shrink_to_fit();
        Self { starts, pairs }
    }

    fn bytes(&self) -> usize {
        size_of_val(&self.starts[..]) + size_of_val(&self.pairs[..])
    }

    /// Keys of a row's relations, and its other entities.
    fn row(&self, entity: usize) -> (&[u32], &[u32]) {
        let row = &self.pairs[self.starts[entity] as usize..self.starts[entity + 1] as usize];
        bytemuck::cast_slice(row).split_at(row.len())
    }

    /// Other entities of a row with a relation, and the number of those, the first ones, that
    /// training shows.
    fn others(&self, entity: u32, relation: u32) -> (&[u32], usize) {
        let entity = entity as usize;
        if entity + 1 >= self.starts.len() || relation as usize >= MOST_RELATIONS {
            return (&[], 0);
        }
        let (relations, others) = self.row(entity);
        let key = relation << 1;
        let first = relations.partition_point(|&r| r < key);
        let trained = relations[first..].partition_point(|&r| r == key);
        let held_out = relations[first + trained..].partition_point(|&r| r == key | HELD_OUT);
        (&others[first..first + trained + held_out], trained)
    }

    /// Visits every relation of every row in training, with the relation, the entity, and the
    /// number of pairs.
    fn trained(&self, mut visit: impl FnMut(u32, u32, usize)) {
        for entity in 0..self.starts.len() - 1 {
            for alike in self.row(entity).0.chunk_by(|a, b| a == b) {
                if alike[0] & HELD_OUT == 0 {
                    visit(alike[0] >> 1, entity as u32, alike.len());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn triple(head: u32, relation: u32, tail: u32) -> Triple {
        Triple {
            head,
            relation,
            tail,
        }
    }

    #[test]
    fn unknown_ids_have_no_answers() {
        let index = FilterIndex::new(2, 1, &[&[triple(0, 0, 1)]]);
        assert_eq!(index.tails(0, 0), [1]);
        assert!(index.tails(0, 1).is_empty());
        assert!(index.tails(2, 0).is_empty());
        assert!(index.heads(0, u32::MAX).is_empty());
        assert!(!index.contains(triple(1, 0, 0)));
        assert!(FilterIndex::new(0, 0, &[]).is_empty());
    }

    #[test]
    #[should_panic(expected = "out of range")]
    fn refuses_relations_out_of_range() {
        FilterIndex::new(2, 1, &[&[triple(0, 1, 1)]]);
    }

    #[test]
    fn takes_16_bytes_for_a_triple_and_8_for_an_entity() {
        let known = [(0, 0, 1), (0, 0, 2), (1, 0, 1), (0, 0, 1)].map(|(h, r, t)| triple(h, r, t));
        let index = FilterIndex::new(10, 1, &[&known]);
        assert_eq!(index.bytes(), 3 * 16 + 2 * 11 * 4);
        assert_eq!(index.by_head.pairs.capacity(), 3, "repeats leave no room");
    }

    #[test]
    fn counts_what_training_shows() {
        let train = [(0, 0, 1), (0, 0, 2), (1, 0, 2), (0, 0, 1), (3, 2, 3)]
            .map(|(h, r, t)| triple(h, r, t));
        let held_out = [(2, 1, 0), (2, 0, 0)].map(|(h, r, t)| triple(h, r, t));
        let index = FilterIndex::with_held_out(4, 4, &[&train], &[&held_out]);
        let counts = index.relation_counts();
        let counts: Vec<_> = counts
            .iter()
            .map(|c| (c.triples, c.heads, c.tails))
            .collect();
        assert_eq!(counts, [(3, 2, 2), (0, 0, 0), (1, 1, 1), (0, 0, 0)]);
        let mut queries = Vec::new();
        index.trained_queries(|tail, relation, entity| queries.push((tail, relation, entity)));
        let heads = [(false, 0, 0), (false, 0, 1), (false, 2, 3)];
        let tails = [(true, 0, 1), (true, 0, 2), (true, 2, 3)];
        assert_eq!(queries, [heads, tails].concat());
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(
            a in proptest::collection::vec((0..8u32, 0..3u32, 0..8u32), 0..80),
            b in proptest::collection::vec((0..8u32, 0..3u32, 0..8u32), 0..20),
        ) {
            let a: Vec<Triple> = a.into_iter().map(|(h, r, t)| triple(h, r, t)).collect();
            let b: Vec<Triple> = b.into_iter().map(|(h, r, t)| triple(h, r, t)).collect();
            let known: BTreeSet<Triple> = a.iter().chain(&b).copied().collect();
            let index = FilterIndex::with_held_out(8, 3, &[&a], &[&b]);
            prop_assert_eq!(index.len(), known.len());
            for (entity, relation) in (0..8).flat_map(|e| (0..3).map(move |r| (e, r))) {
                let tails: Vec<u32> = known.iter()
                    .filter(|t| t.head == entity && t.relation == relation)
                    .map(|t| t.tail).collect();
                let heads: Vec<u32> = known.iter()
                    .filter(|t| t.tail == entity && t.relation == relation)
                    .map(|t| t.head).collect();
                let sorted = |others: &[u32]| {
                    let mut sorted = others.to_vec();
                    sorted.sort_unstable();
                    sorted
                };
                prop_assert_eq!(sorted(index.tails(entity, relation)), &tails[..]);
                prop_assert_eq!(sorted(index.heads(relation, entity)), &heads[..]);
                let trained = FilterIndex::new(8, 3, &[&a]);
                prop_assert_eq!(index.trained_tails(entity, relation), trained.tails(entity, relation));
                prop_assert_eq!(index.trained_heads(relation, entity), trained.heads(relation, entity));
                for other in 0..8 {
                    let t = triple(entity, relation, other);
                    prop_assert_eq!(index.contains(t), known.contains(&t));
                }
            }
        }
    }
}
