use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::{Dataset, Split, Triple};

/// Two relations count as inverse from this share of reversed triples on, over all splits.
const SHARE: f64 = 0.8;
/// Below this many reversed triples an overlap may be chance.
const FEWEST: usize = 10;

/// Held-out triples that training gives away backwards.
///
/// Where most triples of a relation stand reversed under another one, or under the same one if it
/// is symmetric, a held-out triple whose reverse is in training asks for no more than looking that
/// up (Toutanova & Chen 2015).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InverseLeaks {
    /// The pairs, by the relation's id, then its inverse's.
    pub pairs: Vec<InversePair>,
    /// Validation triples whose reverse is in training under one of the pairs.
    pub valid: usize,
    /// Test triples whose reverse is in training under one of the pairs.
    pub test: usize,
}

/// A relation most of whose triples stand reversed under another, or itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InversePair {
    /// The relation's id.
    pub relation: u32,
    /// The id of the relation that reverses it; the same id if it is symmetric.
    pub inverse: u32,
    /// Distinct triples of the relation over all splits, loops left out.
    pub triples: usize,
    /// Those of them whose reverse stands in some split under `inverse`.
    pub reversed: usize,
    /// Validation triples of the relation whose reverse is in training.
    pub valid: usize,
    /// Test triples of the relation whose reverse is in training.
    pub test: usize,
}

impl InversePair {
    /// Whether the relation reverses itself.
    pub fn is_symmetric(&self) -> bool {
        self.relation == self.inverse
    }

    /// The share of the relation's triples that stand reversed, 0 to 1.
    pub fn share(&self) -> f64 {
        self.reversed as f64 / self.triples as f64
    }
}

/// A triple seen from the pair of entities it connects.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Link {
    /// The smaller and the larger entity.
    ends: (u32, u32),
    relation: u32,
    /// Whether the head is the larger one.
    backwards: bool,
    split: Split,
}

impl Link {
    fn new(triple: &Triple, split: Split) -> Self {
        let Triple {
            head,
            relation,
            tail,
        } = *triple;
        let ends = (head.min(tail), head.max(tail));
        Self {
            ends,
            relation,
            backwards: head > tail,
            split,
        }
    }

    fn is_copy_of(&self, other: &Self) -> bool {
        (self.ends, self.relation, self.backwards) == (other.ends, other.relation, other.backwards)
    }
}

impl InverseLeaks {
    pub(super) fn new(dataset: &Dataset) -> Self {
        let links = links(dataset);
        // Facts over all splits: a fact in two splits counts once.
        let mut triples = vec![0; dataset.relations.len()];
        let mut reversed: HashMap<(u32, u32), usize> = HashMap::new();
        for group in links.chunk_by(|a, b| a.ends == b.ends) {
            let mut facts = group.to_vec();
            facts.dedup_by(|a, b| a.is_copy_of(b));
            for link in &facts {
                triples[link.relation as usize] += 1;
                for other in facts
                    .iter()
                    .filter(|other| other.backwards != link.backwards)
                {
                    *reversed.entry((link.relation, other.relation)).or_default() += 1;
                }
            }
        }
        let mut pairs: Vec<InversePair> = reversed
            .into_iter()
            .map(|((relation, inverse), reversed)| {
                let triples = triples[relation as usize];
                InversePair {
                    relation,
                    inverse,
                    triples,
                    reversed,
                    valid: 0,
                    test: 0,
                }
            })
            .filter(|pair| pair.reversed >= FEWEST && pair.share() >= SHARE)
            .collect();
        pairs.sort_unstable_by_key(|pair| (pair.relation, pair.inverse));
        Self::count(pairs, &links)
    }

    fn count(pairs: Vec<InversePair>, links: &[Link]) -> Self {
        let places: HashMap<(u32, u32), usize> = pairs
            .iter()
            .enumerate()
            .map(|(i, p)| ((p.relation, p.inverse), i))
            .collect();
        let mut leaks = Self {
            pairs,
            valid: 0,
            test: 0,
        };
        for group in links.chunk_by(|a, b| a.ends == b.ends) {
            for link in group.iter().filter(|link| link.split != Split::Train) {
                let mut inverses = HashSet::new();
                for other in group {
                    if other.split == Split::Train
                        && other.backwards != link.backwards
                        && let Some(&place) = places.get(&(link.relation, other.relation))
                    {
                        inverses.insert(place);
                    }
                }
                for &place in &inverses {
                    leaks.pairs[place].add(link.split);
                }
                match link.split {
                    Split::Train => {}
                    Split::Valid => leaks.valid += usize::from(!inverses.is_empty()),
                    Split::Test => leaks.test += usize::from(!inverses.is_empty()),
                }
            }
        }
        leaks
    }
}

impl InversePair {
    fn add(&mut self, split: Split) {
        match split {
            Split::Train => {}
            Split::Valid => self.valid += 1,
            Split::Test => self.test += 1,
        }
    }
}

/// All distinct links, sorted, so that those between the same entities stand together. A loop is
/// its own reverse and says nothing.
fn links(dataset: &Dataset) -> Vec<Link> {
    let mut links: Vec<Link> = Split::ALL
        .into_iter()
        .flat_map(|split| {
            dataset
                .split(split)
                .iter()
                .map(move |t| Link::new(t, split))
        })
        .filter(|link| link.ends.0 != link.ends.1)
        .collect();
    links.sort_unstable();
    links.dedup();
    links
}

#[cfg(test)]
mod tests {
    use super::super::{Reading, Vocabulary};
    use super::*;

    const PARENT: u32 = 0;
    const CHILD: u32 = 1;
    const SPOUSE: u32 = 2;
    const LIKES: u32 = 3;

    fn triple(head: u32, relation: u32, tail: u32) -> Triple {
        Triple {
            head,
            relation,
            tail,
        }
    }

    #[test]
    fn finds_inverse_and_symmetric_relations_and_what_they_give_away() {
        let mut train = Vec::new();
        for i in 0..20 {
            train.push(triple(i, PARENT, i + 20));
            train.push(triple(i + 20, CHILD, i));
            train.push(triple(i, SPOUSE, i + 40));
            train.push(triple(i + 40, SPOUSE, i));
            train.push(triple(i, LIKES, i + 1)); // one way
            train.push(triple(i, LIKES, i)); // loops: not symmetric for that
        }
        let moved = |from: u32, relation| triple(from + 20, relation, from);
        train.retain(|t| *t != moved(0, CHILD) && *t != moved(1, CHILD));
        train.retain(|t| *t != triple(41, SPOUSE, 1));
        let dataset = Dataset {
            name: "test".into(),
            entities: Vocabulary::from_names((0..60).map(|i| i.to_string())).unwrap(),
            relations: Vocabulary::from_names(["parent", "child", "spouse", "likes"]).unwrap(),
            train: train.into(),
            weights: Vec::new(),
            valid: vec![moved(0, CHILD), triple(5, LIKES, 9)],
            test: vec![moved(1, CHILD), triple(41, SPOUSE, 1), triple(2, SPOUSE, 3)],
            sharing: None,
            reading: Reading::default(),
        };
        let leaks = dataset.inverse_leaks();
        let found: Vec<_> = leaks
            .pairs
            .iter()
            .map(|p| (p.relation, p.inverse, p.valid, p.test))
            .collect();
        assert_eq!(
            found,
            [
                (PARENT, CHILD, 0, 0),
                (CHILD, PARENT, 1, 1),
                (SPOUSE, SPOUSE, 0, 1)
            ]
        );
        assert_eq!((leaks.valid, leaks.test), (1, 2));
        assert!(leaks.pairs[2].is_symmetric());
        assert_eq!((leaks.pairs[2].triples, leaks.pairs[2].reversed), (41, 40));
    }
}
