//! Splitting the facts of one file into train, valid and test.
//!
//! A keyed hash of its names decides the split of a fact: distinct facts are sorted by hash, the
//! lowest are test facts, the next ones valid facts, and the rest are trained on. Copies of a fact
//! have one hash, and so the same split. The counts are exact, so a file that grows or shrinks
//! moves the two borders a little: the few facts near a border may then cross it, from train to
//! valid or from valid to test, and back. All others stay in their split, whatever lines are added,
//! removed or reordered.

use std::fmt;

use rayon::prelude::*;
use serde::Serialize;

use super::digest::NameHashes;
use super::earlier::Earlier;
use super::{Split, Triple, Vocabulary};

/// Options for splitting the facts of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shares<'a> {
    /// Fractions of train, valid and test among distinct facts.
    pub fractions: [f64; 3],
    /// Key of the hash.
    pub seed: u64,
    /// True if every entity and relation of valid and test must be in train.
    pub cover: bool,
    /// Facts of an earlier run, which keep their splits; only other facts are split.
    pub earlier: Option<&'a Earlier>,
}

/// Facts of a file in three splits, each in the order of the hash.
#[derive(Debug, Default)]
pub(super) struct SharedOut {
    pub train: Vec<Triple>,
    /// Weight of each training fact; empty if the file has no weights.
    pub weights: Vec<f32>,
    pub valid: Vec<Triple>,
    pub test: Vec<Triple>,
    /// Distinct facts that were split: all except those of an earlier run.
    pub free: usize,
    pub report: Sharing,
}

/// Report on how the splits of a graph were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sharing {
    /// Distinct facts that were due to be held out, and are trained on because no other training
    /// fact has one of their names. Others were held out in their place.
    pub covering: usize,
    /// Distinct facts that were due to be held out but could not be, for lack of others.
    pub missing: usize,
    /// Counts of the facts that an earlier run knows, and of the others, if an earlier run was
    /// given.
    pub earlier: Option<EarlierFacts>,
}

/// Distinct facts of a graph compared with those of an earlier run, from which training starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EarlierFacts {
    /// Facts that the earlier run learned, and that are trained on.
    pub learned: usize,
    /// Facts that are valid facts both in the earlier run and here.
    pub valid: usize,
    /// Facts that are test facts both in the earlier run and here.
    pub test: usize,
    /// Facts that the earlier run does not know, in train, valid and test.
    pub new: [usize; 3],
    /// Valid and test facts that the earlier run learned: a model that starts from that run knows
    /// the answers. Always 0 if the facts of one file were split.
    pub given_away: [usize; 2],
}

impl Sharing {
    /// Returns a sentence for each count worth knowing.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(earlier) = &self.earlier {
            notes.push(earlier.to_string());
        }
        if self.covering > 0 {
            notes.push(format!(
                "split: {} facts moved to train, which alone shows an entity or a relation of theirs; \
                 others are held out in their place (split_cover=false leaves them where they fall)",
                self.covering
            ));
        }
        if self.missing > 0 {
            notes.push(format!(
                "split: {} facts fewer than asked for are held out: all others are needed in train",
                self.missing
            ));
        }
        notes
    }
}

impl fmt::Display for EarlierFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            learned,
            valid,
            test,
            new,
            given_away,
        } = self;
        if given_away.iter().sum::<usize>() > 0 {
            return write!(
                f,
                "warning: {} valid and {} test facts were learned by the run that training starts \
                 from: figures will look better than they are",
                given_away[0], given_away[1]
            );
        }
        write!(
            f,
            "the run that training starts from learned {learned} of these facts, which are trained \
             on; {valid} valid and {test} test facts stay held out; of {} new facts, {} are valid \
             and {} test facts",
            new.iter().sum::<usize>(),
            new[1],
            new[2]
        )
    }
}

/// Fact with its hash and weight.
#[derive(Clone, Copy, Debug)]
struct Keyed {
    hash: u64,
    fact: Triple,
    weight: f32,
}

/// Number of distinct training facts that each name occurs in.
struct TrainingCounts {
    entities: Vec<u32>,
    relations: Vec<u32>,
}

impl TrainingCounts {
    fn new(entities: usize, relations: usize) -> Self {
        Self {
            entities: vec![0; entities],
            relations: vec![0; relations],
        }
    }

    fn add(&mut self, fact: Triple) {
        self.entities[fact.head as usize] += 1;
        if fact.tail != fact.head {
            self.entities[fact.tail as usize] += 1;
        }
        self.relations[fact.relation as usize] += 1;
    }

    fn remove(&mut self, fact: Triple) {
        self.entities[fact.head as usize] -= 1;
        if fact.tail != fact.head {
            self.entities[fact.tail as usize] -= 1;
        }
        self.relations[fact.relation as usize] -= 1;
    }

    /// Returns true if training without the fact shows all of its names. `own` is true if the
    /// counts include the fact.
    fn covers(&self, fact: Triple, own: bool) -> bool {
        let own = u32::from(own);
        [fact.head, fact.tail]
            .iter()
            .all(|&entity| self.entities[entity as usize] > own)
            && self.relations[fact.relation as usize] > own
    }
}

/// Splits facts. `weights` has a weight for each fact, or is empty.
pub(super) fn share_out(
    facts: Vec<Triple>,
    weights: Vec<f32>,
    entities: &Vocabulary,
    relations: &Vocabulary,
    shares: &Shares,
) -> SharedOut {
    let weighted = !weights.is_empty();
    let mut keyed = keyed(facts, weights, entities, relations, shares.seed);
    let names = |fact: Triple| {
        let (head, tail) = (entities.name(fact.head), entities.name(fact.tail));
        (head, relations.name(fact.relation), tail)
    };
    // Distinct facts with one hash are next to impossible, but their order must not depend on ids.
    keyed.par_sort_unstable_by(|a, b| {
        let same = |a: &Keyed, b: &Keyed| match a.fact == b.fact {
            true => a.weight.total_cmp(&b.weight),
            false => names(a.fact).cmp(&names(b.fact)),
        };
        a.hash.cmp(&b.hash).then_with(|| same(a, b))
    });
    let copies = || keyed.chunk_by(|a, b| a.fact == b.fact);
    let earlier = |fact: Triple| shares.earlier.and_then(|earlier| earlier.side(fact));

    // Facts of weight 0 are not learned from, so they do not show their names to training.
    let shows = |copies: &[Keyed]| copies.iter().any(|copy| copy.weight > 0.0);
    let mut training = TrainingCounts::new(entities.len(), relations.len());
    let mut free = 0usize;
    for copies in copies() {
        let side = earlier(copies[0].fact);
        free += usize::from(side.is_none());
        let trained = !matches!(side, Some(Split::Valid | Split::Test));
        if shares.cover && trained && shows(copies) {
            training.add(copies[0].fact);
        }
    }
    let share = |fraction: f64| ((fraction * free as f64).round() as usize).min(free);
    let mut test = share(shares.fractions[2]);
    let mut valid = share(shares.fractions[1]).min(free - test);

    let mut out = SharedOut {
        free,
        ..SharedOut::default()
    };
    let mut known = EarlierFacts::default();
    for copies in copies() {
        let fact = copies[0].fact;
        let side = match earlier(fact) {
            Some(side) => {
                match side {
                    Split::Train => known.learned += 1,
                    Split::Valid => known.valid += 1,
                    Split::Test => known.test += 1,
                }
                side
            }
            None => {
                let shows = shows(copies);
                let due = test + valid > 0;
                let side = match due && (!shares.cover || training.covers(fact, shows)) {
                    true if test > 0 => Split::Test,
                    true => Split::Valid,
                    false => Split::Train,
                };
                match side {
                    Split::Train => out.report.covering += usize::from(due),
                    Split::Valid => valid -= 1,
                    Split::Test => test -= 1,
                }
                if side != Split::Train && shares.cover && shows {
                    training.remove(fact);
                }
                known.new[side as usize] += 1;
                side
            }
        };
        let facts = match side {
            Split::Train => &mut out.train,
            Split::Valid => &mut out.valid,
            Split::Test => &mut out.test,
        };
        facts.extend(copies.iter().map(|copy| copy.fact));
        if weighted && side == Split::Train {
            out.weights.extend(copies.iter().map(|copy| copy.weight));
        }
    }
    out.report.missing = test + valid;
    out.report.earlier = shares.earlier.map(|_| known);
    out
}

fn keyed(
    facts: Vec<Triple>,
    weights: Vec<f32>,
    entities: &Vocabulary,
    relations: &Vocabulary,
    seed: u64,
) -> Vec<Keyed> {
    let hashes = NameHashes::new(entities, relations);
    let keyed = facts.par_iter().enumerate().map(|(index, &fact)| Keyed {
        hash: hashes.keyed(fact, seed),
        fact,
        weight: weights.get(index).copied().unwrap_or(1.0),
    });
    keyed.collect()
}

#[cfg(test)]
mod tests;
