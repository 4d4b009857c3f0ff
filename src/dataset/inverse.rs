use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::{Dataset, Split, Triple};

/// Fraction of reversed triples over all splits from which two relations count as inverse.
const SHARE: f64 = 0.8;
/// An overlap of fewer reversed triples may be chance.
const FEWEST: usize = 10;

/// Held-out triples whose answer training shows in reverse.
///
/// Most triples of some relations occur in reverse under another relation, or under the same one if
/// it is symmetric. If the reverse of a held-out triple is in training, a model can look the answer
/// up (Toutanova & Chen 2015).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InverseLeaks {
    /// Pairs of inverse relations, by relation, then by inverse.
    pub pairs: Vec<InversePair>,
    /// Validation triples whose reverse is in training under one of the pairs.
    pub valid: usize,
    /// Test triples whose reverse is in training under one of the pairs.
    pub test: usize,
}

/// Relation most of whose triples occur in reverse under another one, or under itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InversePair {
    /// Id of the relation.
    pub relation: u32,
    /// Id of the relation that reverses it; the same id if it is symmetric.
    pub inverse: u32,
    /// Distinct triples of the relation over all splits, without loops.
    pub triples: usize,
    /// Of `triples`, those whose reverse occurs in any split under `inverse`.
    pub reversed: usize,
    /// Validation triples of the relation whose reverse is in training.
    pub valid: usize,
    /// Test triples of the relation whose reverse is in training.
    pub test: usize,
}

impl InversePair {
    /// Returns true if the relation reverses itself.
    pub fn is_symmetric(&self) -> bool {
        self.relation == self.inverse
    }

    /// Fraction of the relation's triples that occur in reverse, 0 to 1.
    pub fn share(&self) -> f64 {
        self.reversed as f64 / self.triples as f64
    }
}

/// Triple, ordered by the pair of entities that it connects.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Link {
    /// The smaller and the larger entity.
    ends: (u32, u32),
    relation: u32,
    /// True if the head is the larger entity.
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
        // A fact in two splits counts once.
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
        let indices: HashMap<(u32, u32), usize> = pairs
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
                        && let Some(&index) = indices.get(&(link.relation, other.relation))
                    {
                        inverses.insert(index);
                    }
                }
                for &index in &inverses {
                    leaks.pairs[index].add(link.split);
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

/// Returns all distinct links, sorted, so that links between the same entities are adjacent. Loops
/// are left out: a loop is its own reverse.
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
