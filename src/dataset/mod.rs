//! Triples and filters (in progress).

/// A fact.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Triple {
    /// Head entity.
    pub head: u32,
    /// Relation.
    pub relation: u32,
    /// Tail entity.
    pub tail: u32,
}

/// Known facts, by query.
#[derive(Debug)]
pub struct FilterIndex {
    tails: std::collections::HashMap<(u32, u32), Vec<u32>>,
    heads: std::collections::HashMap<(u32, u32), Vec<u32>>,
}

impl FilterIndex {
    /// Over splits.
    pub fn new(_entities: usize, _relations: usize, splits: &[&[Triple]]) -> FilterIndex {
        let (mut tails, mut heads) = (
            std::collections::HashMap::<_, Vec<u32>>::new(),
            std::collections::HashMap::<_, Vec<u32>>::new(),
        );
        for t in splits.iter().copied().flatten() {
            tails.entry((t.head, t.relation)).or_default().push(t.tail);
            heads.entry((t.relation, t.tail)).or_default().push(t.head);
        }
        for list in tails.values_mut().chain(heads.values_mut()) {
            list.sort_unstable();
            list.dedup();
        }
        FilterIndex { tails, heads }
    }
    /// Tails of (head, relation, ?).
    pub fn tails(&self, head: u32, relation: u32) -> &[u32] {
        self.tails.get(&(head, relation)).map_or(&[], |v| v)
    }
    /// Heads of (?, relation, tail).
    pub fn heads(&self, relation: u32, tail: u32) -> &[u32] {
        self.heads.get(&(relation, tail)).map_or(&[], |v| v)
    }
}
