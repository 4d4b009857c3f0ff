use super::Triple;

/// Which tails go with a head and a relation, and which heads with a relation and a tail.
///
/// Filtered ranking leaves the other known answers out, and samplers avoid false negatives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterIndex {
    by_head: Rows,
    by_tail: Rows,
}

/// For each entity its (relation, other entity) pairs, sorted and unique.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rows {
    /// Row `e` spans `starts[e]..starts[e + 1]`.
    starts: Vec<usize>,
    relations: Vec<u32>,
    others: Vec<u32>,
}

impl FilterIndex {
    /// Indexes the triples of all `splits`, whose ids must lie below `entities` and `relations`.
    ///
    /// # Panics
    /// If an id does not.
    pub fn new(entities: usize, relations: usize, splits: &[&[Triple]]) -> Self {
        let triples = || splits.iter().copied().flatten();
        let known = |t: &Triple| (t.relation as usize) < relations;
        assert!(triples().all(known), "a relation's id is out of range");
        Self {
            by_head: Rows::new(entities, || triples().map(|t| (t.head, t.relation, t.tail))),
            by_tail: Rows::new(entities, || triples().map(|t| (t.tail, t.relation, t.head))),
        }
    }

    /// The known tails of `(head, relation, ?)`, sorted and unique; empty for unknown ids.
    pub fn tails(&self, head: u32, relation: u32) -> &[u32] {
        self.by_head.others(head, relation)
    }

    /// The known heads of `(?, relation, tail)`, sorted and unique; empty for unknown ids.
    pub fn heads(&self, relation: u32, tail: u32) -> &[u32] {
        self.by_tail.others(tail, relation)
    }

    /// Whether the triple is a known one.
    pub fn contains(&self, triple: Triple) -> bool {
        self.tails(triple.head, triple.relation)
            .binary_search(&triple.tail)
            .is_ok()
    }

    /// How many distinct triples are known.
    pub fn len(&self) -> usize {
        self.by_head.others.len()
    }

    /// Whether no triple is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Rows {
    fn new<I: Iterator<Item = (u32, u32, u32)>>(entities: usize, triples: impl Fn() -> I) -> Self {
        // A counting sort by entity, then a short sort within each row.
        let mut starts = vec![0; entities + 1];
        for (entity, ..) in triples() {
            starts[entity as usize + 1] += 1;
        }
        for entity in 0..entities {
            starts[entity + 1] += starts[entity];
        }
        let mut next = starts.clone();
        let mut keys = vec![0u64; starts[entities]];
        for (entity, relation, other) in triples() {
            let place = &mut next[entity as usize];
            keys[*place] = u64::from(relation) << 32 | u64::from(other);
            *place += 1;
        }
        let mut rows = Self {
            starts: Vec::with_capacity(entities + 1),
            relations: Vec::with_capacity(keys.len()),
            others: Vec::with_capacity(keys.len()),
        };
        rows.starts.push(0);
        for row in starts.windows(2) {
            let row = &mut keys[row[0]..row[1]];
            row.sort_unstable();
            for (index, &key) in row.iter().enumerate() {
                if index == 0 || row[index - 1] != key {
                    rows.relations.push((key >> 32) as u32);
                    rows.others.push(key as u32);
                }
            }
            rows.starts.push(rows.others.len());
        }
        rows
    }

    fn others(&self, entity: u32, relation: u32) -> &[u32] {
        let entity = entity as usize;
        if entity + 1 >= self.starts.len() {
            return &[];
        }
        let (start, end) = (self.starts[entity], self.starts[entity + 1]);
        let row = &self.relations[start..end];
        let first = row.partition_point(|&r| r < relation);
        let count = row[first..].partition_point(|&r| r == relation);
        &self.others[start + first..start + first + count]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn triple((head, relation, tail): (u32, u32, u32)) -> Triple {
        Triple {
            head,
            relation,
            tail,
        }
    }

    #[test]
    fn unknown_ids_have_no_answers() {
        let index = FilterIndex::new(2, 1, &[&[triple((0, 0, 1))]]);
        assert_eq!(index.tails(0, 0), [1]);
        assert!(index.tails(0, 1).is_empty());
        assert!(index.tails(2, 0).is_empty());
        assert!(index.heads(0, u32::MAX).is_empty());
        assert!(!index.contains(triple((1, 0, 0))));
        assert!(FilterIndex::new(0, 0, &[]).is_empty());
    }

    #[test]
    #[should_panic(expected = "out of range")]
    fn refuses_relations_out_of_range() {
        FilterIndex::new(2, 1, &[&[triple((0, 1, 1))]]);
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(
            a in proptest::collection::vec((0..8u32, 0..3u32, 0..8u32), 0..80),
            b in proptest::collection::vec((0..8u32, 0..3u32, 0..8u32), 0..20),
        ) {
            let a: Vec<Triple> = a.into_iter().map(triple).collect();
            let b: Vec<Triple> = b.into_iter().map(triple).collect();
            let known: BTreeSet<Triple> = a.iter().chain(&b).copied().collect();
            let index = FilterIndex::new(8, 3, &[&a, &b]);
            prop_assert_eq!(index.len(), known.len());
            for (entity, relation) in (0..8).flat_map(|e| (0..3).map(move |r| (e, r))) {
                let tails: Vec<u32> = known.iter()
                    .filter(|t| t.head == entity && t.relation == relation)
                    .map(|t| t.tail).collect();
                let heads: Vec<u32> = known.iter()
                    .filter(|t| t.tail == entity && t.relation == relation)
                    .map(|t| t.head).collect();
                prop_assert_eq!(index.tails(entity, relation), &tails[..]);
                prop_assert_eq!(index.heads(relation, entity), &heads[..]);
                for other in 0..8 {
                    let t = triple((entity, relation, other));
                    prop_assert_eq!(index.contains(t), known.contains(&t));
                }
            }
        }
    }
}
