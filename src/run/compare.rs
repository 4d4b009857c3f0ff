//! Checks whether a graph is still the one that a run was trained on.

use std::collections::HashMap;
use std::fmt;

use super::{Run, RunError};
use crate::dataset::{Dataset, GraphDigest, LoadedFacts, NameHashes, Split, Vocabulary};
use crate::graph::load_facts;

/// Differences of a graph from the one that a run was trained on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// The graph as it is now.
    pub found: GraphDigest,
    /// The graph that the run was made with.
    pub expected: GraphDigest,
    /// Facts that are there now and were not, by split; a copy counts as a fact.
    pub added: [usize; 3],
    /// Facts that were there and are not now.
    pub removed: [usize; 3],
    /// Entities and relations that the run does not know.
    pub unknown: [usize; 2],
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        for split in Split::ALL {
            let (added, removed) = (self.added[split as usize], self.removed[split as usize]);
            let (found, expected) = (self.found.split(split), self.expected.split(split));
            if found == expected {
                continue;
            }
            let what = match (added, removed) {
                (0, 0) => "the same facts with other weights".to_owned(),
                _ => format!("{added} facts that were not there and lacks {removed} that were"),
            };
            parts.push(format!(
                "{split} has {what} (found {} facts with the digest {}, expected {} with {})",
                found.facts, found.digest, expected.facts, expected.digest
            ));
        }
        let [entities, relations] = self.unknown;
        if entities + relations > 0 {
            parts.push(format!(
                "the run has no rows for {entities} unknown entities and {relations} unknown relations"
            ));
        }
        f.write_str(&parts.join("; "))
    }
}

/// The facts of a graph in three parts, under their own names.
struct Parts {
    dataset: Dataset,
    hashes: NameHashes,
}

impl Parts {
    fn new(dataset: Dataset) -> Self {
        let hashes = NameHashes::new(&dataset.entities, &dataset.relations);
        Self { dataset, hashes }
    }

    /// The hashes of a split's facts, without weights, sorted.
    fn sorted(&self, split: Split) -> Vec<u128> {
        let facts = self.dataset.split(split).iter();
        let mut hashes: Vec<u128> = facts.map(|&fact| self.hashes.fact(fact, None)).collect();
        hashes.sort_unstable();
        hashes
    }
}

impl Run {
    /// Compares the graph that `spec` stands for with the run's own facts, `own`. The order of facts
    /// does not matter. The facts of a single file are told apart by what the run holds out.
    ///
    /// # Errors
    /// [`RunError::GraphChanged`] if it is another graph; and that it does not load.
    pub fn check_graph(&self, own: &Dataset, spec: &str) -> Result<(), RunError> {
        let own = Parts::new(own.clone());
        let found = match load_facts(spec, &self.config.load_options())? {
            LoadedFacts::Splits(dataset) => Parts::new(dataset),
            LoadedFacts::List { dataset, weights } => Parts::new(parted(&own, dataset, &weights)),
        };
        let expected = own.dataset.digest();
        let digest = found.dataset.digest();
        if digest == expected {
            return Ok(());
        }
        let [mut added, mut removed] = [[0; 3]; 2];
        for split in Split::ALL {
            let (old, new) = (own.sorted(split), found.sorted(split));
            let common = in_common(&old, &new);
            added[split as usize] = new.len() - common;
            removed[split as usize] = old.len() - common;
        }
        let unknown = |own: &Vocabulary, found: &Vocabulary| {
            let new = found.iter().filter(|name| own.id(name).is_none());
            new.count()
        };
        Err(RunError::GraphChanged {
            graph: spec.to_owned(),
            path: self.path.clone(),
            changes: Box::new(Changes {
                found: digest,
                expected,
                added,
                removed,
                unknown: [
                    unknown(&self.entities, &found.dataset.entities),
                    unknown(&self.relations, &found.dataset.relations),
                ],
            }),
        })
    }
}

/// A list of facts, of which those that a run holds out are valid and test facts.
fn parted(own: &Parts, list: Dataset, weights: &[f32]) -> Dataset {
    let mut held_out = HashMap::new();
    for split in [Split::Valid, Split::Test] {
        let facts = own.dataset.split(split).iter();
        held_out.extend(facts.map(|&fact| (own.hashes.fact(fact, None), split)));
    }
    let hashes = NameHashes::new(&list.entities, &list.relations);
    let (mut parts, mut kept) = ([Vec::new(), Vec::new(), Vec::new()], Vec::new());
    for (index, &fact) in list.test.iter().enumerate() {
        let side = held_out.get(&hashes.fact(fact, None)).copied();
        let side = side.unwrap_or(Split::Train);
        parts[side as usize].push(fact);
        if side == Split::Train {
            kept.extend(weights.get(index));
        }
    }
    let [train, valid, test] = parts;
    Dataset {
        train: train.into(),
        weights: kept,
        valid,
        test,
        ..list
    }
}

/// Number of values that two sorted lists have in common, with multiplicity.
fn in_common(a: &[u128], b: &[u128]) -> usize {
    let (mut i, mut j, mut common) = (0, 0, 0);
    while i < a.len() && j < b.len() {
        match a[i].cmp(&b[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                (i, j, common) = (i + 1, j + 1, common + 1);
            }
        }
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_count_as_often_as_both_have_them() {
        assert_eq!(in_common(&[1, 1, 2, 5], &[1, 1, 1, 3, 5]), 3);
        assert_eq!(in_common(&[], &[1]), 0);
    }
}
