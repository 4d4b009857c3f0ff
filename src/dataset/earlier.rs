//! The facts of an earlier run, from which training starts, compared with those of a graph.

use super::digest::NameHashes;
use super::share::EarlierFacts;
use super::{Dataset, Split, Triple, Vocabulary};

/// Data of an earlier run, from which training starts.
#[derive(Clone, Debug)]
pub struct EarlierRun {
    /// Facts of the run.
    pub dataset: Dataset,
    /// Hashes of the facts that runs before the earlier run learned, and that the earlier run was
    /// not trained on itself, sorted. The rows of the earlier run know these facts.
    pub learned_before: Vec<u128>,
}

/// Facts of an earlier run under the ids of another graph, without facts whose names that graph
/// does not have.
#[derive(Debug)]
pub(super) struct Earlier {
    /// Train, valid and test, each sorted and without repetition.
    splits: [Vec<Triple>; 3],
    /// Facts that runs before the earlier run learned, with the hashes of names.
    before: Option<(Vec<u128>, NameHashes)>,
}

impl Earlier {
    pub fn new(run: &EarlierRun, entities: &Vocabulary, relations: &Vocabulary) -> Self {
        let dataset = &run.dataset;
        let before = (!run.learned_before.is_empty()).then(|| {
            let hashes = NameHashes::new(entities, relations);
            (run.learned_before.clone(), hashes)
        });
        let ids = |old: &Vocabulary, new: &Vocabulary| -> Vec<Option<u32>> {
            old.iter().map(|name| new.id(name)).collect()
        };
        let entities = ids(&dataset.entities, entities);
        let relations = ids(&dataset.relations, relations);
        let known = |fact: &Triple| {
            Some(Triple {
                head: entities[fact.head as usize]?,
                relation: relations[fact.relation as usize]?,
                tail: entities[fact.tail as usize]?,
            })
        };
        let splits = Split::ALL.map(|split| {
            let mut facts: Vec<_> = dataset.split(split).iter().filter_map(known).collect();
            facts.sort_unstable();
            facts.dedup();
            facts
        });
        Self { splits, before }
    }

    /// Returns the split that a fact has in the earlier run. A learned fact counts as a training
    /// fact, whichever other split it is in.
    pub fn side(&self, fact: Triple) -> Option<Split> {
        if let Some((learned, hashes)) = &self.before
            && learned.binary_search(&hashes.fact(fact, None)).is_ok()
        {
            return Some(Split::Train);
        }
        let mut splits = Split::ALL.into_iter();
        splits.find(|&split| self.splits[split as usize].binary_search(&fact).is_ok())
    }

    /// Compares the facts of a graph that has its own splits with those of the earlier run.
    pub fn compare(&self, dataset: &Dataset) -> EarlierFacts {
        let mut found = EarlierFacts::default();
        for split in Split::ALL {
            let mut facts = dataset.split(split).to_vec();
            facts.sort_unstable();
            facts.dedup();
            for fact in facts {
                match (split, self.side(fact)) {
                    (_, None) => found.new[split as usize] += 1,
                    (Split::Train, Some(Split::Train)) => found.learned += 1,
                    (Split::Valid, Some(Split::Train)) => found.given_away[0] += 1,
                    (Split::Test, Some(Split::Train)) => found.given_away[1] += 1,
                    (Split::Valid, Some(Split::Valid)) => found.valid += 1,
                    (Split::Test, Some(Split::Test)) => found.test += 1,
                    _ => {}
                }
            }
        }
        found
    }
}
