use super::FilterIndex;

/// Entities that may answer queries.
#[derive(Clone, Debug)]
pub enum Candidates {
    /// Fixed entities for every query: ascending, without repetition.
    Listed(Vec<u32>),
    /// The entities that training shows on the side of the relation that the query leaves open.
    Typed(RelationSides),
}

impl Candidates {
    /// Creates candidates from a list of entities in any order.
    pub fn listed(mut entities: Vec<u32>) -> Candidates {
        entities.sort_unstable();
        entities.dedup();
        Candidates::Listed(entities)
    }

    /// Creates candidates from the entities that training shows on either side of every relation.
    pub fn typed(filter: &FilterIndex) -> Candidates {
        Candidates::Typed(RelationSides::new(filter))
    }

    /// Candidates for (?, relation, tail), ascending.
    pub fn heads(&self, relation: u32) -> &[u32] {
        match self {
            Candidates::Listed(entities) => entities,
            Candidates::Typed(sides) => sides.heads(relation),
        }
    }

    /// Candidates for (head, relation, ?), ascending.
    pub fn tails(&self, relation: u32) -> &[u32] {
        match self {
            Candidates::Listed(entities) => entities,
            Candidates::Typed(sides) => sides.tails(relation),
        }
    }
}

/// Entities that training shows on each side of each relation.
#[derive(Clone, Debug)]
pub struct RelationSides {
    heads: Lists,
    tails: Lists,
}

/// List of entities for each relation, ascending.
#[derive(Clone, Debug)]
struct Lists {
    /// The list of relation `r` is `entities[starts[r]..starts[r + 1]]`.
    starts: Vec<usize>,
    entities: Vec<u32>,
}

impl RelationSides {
    /// Collects the entities from training facts; held-out facts do not count.
    pub fn new(filter: &FilterIndex) -> RelationSides {
        let counts = filter.relation_counts();
        let mut heads = Lists::new(counts.iter().map(|counts| counts.heads));
        let mut tails = Lists::new(counts.iter().map(|counts| counts.tails));
        let mut ends = [heads.starts.clone(), tails.starts.clone()];
        filter.trained_queries(|tail, relation, entity| {
            let lists = if tail { &mut tails } else { &mut heads };
            let end = &mut ends[usize::from(tail)][relation as usize];
            lists.entities[*end] = entity;
            *end += 1;
        });
        RelationSides { heads, tails }
    }

    /// Heads of a relation, ascending; none if training does not show the relation.
    pub fn heads(&self, relation: u32) -> &[u32] {
        self.heads.of(relation)
    }

    /// Tails of a relation, ascending; none if training does not show the relation.
    pub fn tails(&self, relation: u32) -> &[u32] {
        self.tails.of(relation)
    }
}

impl Lists {
    /// Creates lists of the given lengths, filled with 0.
    fn new(lengths: impl Iterator<Item = usize>) -> Lists {
        let mut starts = vec![0];
        let mut end = 0;
        starts.extend(lengths.map(|length| {
            end += length;
            end
        }));
        Lists {
            starts,
            entities: vec![0; end],
        }
    }

    fn of(&self, relation: u32) -> &[u32] {
        let relation = relation as usize;
        match self.starts.get(relation..relation + 2) {
            Some(&[start, end]) => &self.entities[start..end],
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Triple;
    use super::*;

    fn triple(head: u32, relation: u32, tail: u32) -> Triple {
        Triple {
            head,
            relation,
            tail,
        }
    }

    #[test]
    fn sides_are_what_training_shows() {
        let train = [(4, 0, 1), (0, 0, 1), (0, 0, 2), (4, 2, 4), (0, 0, 1)]
            .map(|(h, r, t)| triple(h, r, t));
        let held_out = [(3, 0, 3), (0, 1, 0)].map(|(h, r, t)| triple(h, r, t));
        let filter = FilterIndex::with_held_out(5, 4, &[&train], &[&held_out]);
        let typed = Candidates::typed(&filter);
        assert_eq!((typed.heads(0), typed.tails(0)), (&[0, 4][..], &[1, 2][..]));
        assert_eq!((typed.heads(2), typed.tails(2)), (&[4][..], &[4][..]));
        for relation in [1, 3, 4, 99] {
            assert!(typed.heads(relation).is_empty() && typed.tails(relation).is_empty());
        }
        let listed = Candidates::listed(vec![3, 1, 3]);
        assert_eq!(
            (listed.heads(0), listed.tails(9)),
            (&[1, 3][..], &[1, 3][..])
        );
    }
}
