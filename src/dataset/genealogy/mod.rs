//! The built-in graph: families over six generations, whose facts follow from one another.
//!
//! # People
//!
//! Couples of one generation have the children of the next. Siblings and first cousins do not
//! marry; some people stay single. In each generation a few people with unknown parents marry in.
//! No person marries twice, so siblings share both parents.
//!
//! # Facts
//!
//! A *bond* of two people gives two facts, one in each direction:
//!
//! | bond | one direction | the other direction |
//! |---|---|---|
//! | parent | `father_of` or `mother_of` | `child_of` |
//! | marriage | `spouse_of` | `spouse_of` |
//! | sibling | `sibling_of` | `sibling_of` |
//! | grandparent: a parent's parent | `grandparent_of` | `grandchild_of` |
//! | aunt or uncle: a parent's sibling | `aunt_or_uncle_of` | `niece_or_nephew_of` |
//! | cousin: child of a parent's sibling | `cousin_of` | `cousin_of` |
//! | parent-in-law: the spouse's parent | `parent_in_law_of` | `child_in_law_of` |
//! | sibling-in-law: the spouse's sibling | `sibling_in_law_of` | `sibling_in_law_of` |
//!
//! # Held-out facts
//!
//! Every fact of valid and test follows from the training split alone:
//!
//! 1. For nine of ten held-out facts, training has the other direction of the same bond. Of a
//!    parent bond only `child_of` is held out: `father_of` or `mother_of` does not follow from it.
//! 2. For the tenth, both directions are held out, and the bond is one of the last five in the
//!    table, which follow from parent, marriage and sibling bonds. Training always has one or
//!    both directions of the bonds that these follow from.
//!
//! So the graph measures whether a model learns symmetric, inverse and composed relations. Every
//! person appears in training.

mod bonds;
mod names;
mod people;

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::{Dataset, DatasetError, Reading, Triple, Vocabulary};
use bonds::{Bond, Kind, RELATIONS};
use people::People;

/// Name that loads the graph.
pub(super) const NAME: &str = "genealogy";

/// Fewer people could leave a generation without a couple.
const FEWEST: usize = 100;
const MOST: usize = 1_000_000;
/// Fraction of facts in valid, and in test.
const HELD_OUT: f64 = 0.05;
/// Fraction of held-out facts that must be composed from others.
const COMPOSED: f64 = 0.1;

/// Settings of a genealogy. The same settings always make the same graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Genealogy {
    /// Number of people, from 100 to a million.
    pub people: usize,
    /// Seed of the families and of the held-out facts.
    pub seed: u64,
}

impl Default for Genealogy {
    fn default() -> Self {
        Self {
            people: 2400,
            seed: 0,
        }
    }
}

impl Genealogy {
    /// Generates the graph.
    ///
    /// # Errors
    /// [`DatasetError::People`] if the number of people is below 100 or above a million.
    pub fn generate(&self) -> Result<Dataset, DatasetError> {
        if !(FEWEST..=MOST).contains(&self.people) {
            let people = self.people;
            return Err(DatasetError::People {
                people,
                minimum: FEWEST,
                maximum: MOST,
            });
        }
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(self.seed);
        let people = People::generate(self.people, &mut rng);
        let bonds = bonds::all(&people);
        let [train, valid, test] = hold_out(&bonds, &mut rng);
        let mut entities = Vocabulary::new();
        for name in people.names(&mut rng) {
            entities.intern(&name);
        }
        let mut relations = Vocabulary::new();
        for name in RELATIONS {
            relations.intern(name);
        }
        Ok(Dataset {
            name: NAME.to_owned(),
            entities,
            relations,
            train: train.into(),
            weights: Vec::new(),
            valid,
            test,
            sharing: None,
            reading: Reading::default(),
        })
    }
}

/// Assigns the facts to train, valid and test by the rules of the module documentation.
fn hold_out(bonds: &[Bond], rng: &mut Xoshiro256PlusPlus) -> [Vec<Triple>; 3] {
    let mut order: Vec<&Bond> = bonds.iter().collect();
    order.shuffle(rng);
    // Of F facts in F / 2 bonds, holding out a bond takes two facts and holding out a direction
    // one.
    let held_out = 2.0 * HELD_OUT * (2 * bonds.len()) as f64;
    let mut whole_bonds = (held_out * COMPOSED / 2.0).round() as usize;
    let mut single_ways = (held_out * (1.0 - COMPOSED)).round() as usize;

    let mut train = Vec::new();
    let mut held = [Vec::new(), Vec::new()];
    for bond in order {
        let [forth, back] = bond.facts();
        if whole_bonds > 0 && bond.kind.is_composed() {
            whole_bonds -= 1;
            held[whole_bonds % 2].extend([forth, back]);
        } else if single_ways > 0 {
            single_ways -= 1;
            let keep_forth = bond.kind == Kind::Parent || rng.random();
            let (kept, away) = if keep_forth {
                (forth, back)
            } else {
                (back, forth)
            };
            train.push(kept);
            held[single_ways % 2].push(away);
        } else {
            train.extend([forth, back]);
        }
    }
    train.sort_unstable();
    let [valid, test] = held;
    [train, valid, test]
}

#[cfg(test)]
mod tests;
