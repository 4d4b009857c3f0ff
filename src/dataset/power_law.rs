//! Graphs of any size whose degrees follow a power law, to measure how training scales.
//!
//! Triple *i* of a split is a function of seed, split and *i* alone. So triples need no memory, and
//! any thread can make any of them, at any time.
//!
//! A rank below *n* is drawn as ⌊n·uᵏ⌋ from a uniform u. The probability of rank r then falls as
//! r^(1/k − 1), and the number of entities of degree d as d^(−1 − k/(k − 1)). Tails and relations
//! have k = 4 (d^−2.33, as for links between web pages), heads k = 2 (d^−3): heads are distributed
//! more evenly than tails. Powers are products, so that every machine makes the same graph.
//!
//! The first training triples take all entities as heads in turn, so that training shows each
//! entity. Ranks are permuted over ids, differently for heads and tails. Triples may repeat; none
//! is a loop.

use std::path::Path;
use std::sync::Arc;

use rand::RngExt;
use rayon::prelude::*;

use super::write::Splits;
use super::{Dataset, DatasetError, Reading, Split, Triple, Vocabulary};
use crate::rng::{Purpose, Stream, stream};

/// Name of the dataset.
const NAME: &str = "power-law";
/// Ids and indices of triples are numbers of 32 bits.
const MOST: u32 = u32::MAX - 1;
/// Most facts in each of valid and test; a twentieth of training if that is less.
const HELD_OUT: u32 = 1000;
/// Primes above any number of entities: multiplying by one of them modulo that number permutes the
/// ids.
const STEPS: [u64; 2] = [4_294_967_311, 4_294_967_357];

/// Settings of a power-law graph. The same settings always make the same graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerLaw {
    /// Number of entities, at least 2.
    pub entities: u32,
    /// Number of relations, at least 1.
    pub relations: u32,
    /// Number of training triples, at least 1.
    pub triples: u32,
    /// Seed of the triples.
    pub seed: u64,
}

impl Default for PowerLaw {
    fn default() -> Self {
        Self::sized(10_000)
    }
}

impl PowerLaw {
    /// Settings of a graph with `entities` entities and ten times as many training triples.
    pub fn sized(entities: u32) -> Self {
        let triples = entities.saturating_mul(10).min(MOST);
        Self {
            entities,
            relations: Self::relations_for(triples),
            triples,
            seed: 0,
        }
    }

    /// Number of relations for a number of triples: one for each thousand triples, from 1 to 1000.
    pub fn relations_for(triples: u32) -> u32 {
        (triples / 1000).clamp(1, 1000)
    }

    /// Number of triples of a split.
    pub fn len(&self, split: Split) -> u32 {
        match split {
            Split::Train => self.triples,
            Split::Valid | Split::Test => (self.triples / 20).clamp(1, HELD_OUT),
        }
    }

    /// Returns triple `index` of a split; the index may exceed the length of the split.
    pub fn triple(&self, split: Split, index: u32) -> Triple {
        let name = [split as u64, u64::from(index)];
        let mut random = stream(self.seed, Purpose::Graph, name);
        let spread = |rank: u32, step: u64| {
            (u64::from(rank) * (step % u64::from(self.entities)) % u64::from(self.entities)) as u32
        };
        let head = match split {
            Split::Train if index < self.entities => index,
            _ => spread(square(&mut random, self.entities), STEPS[0]),
        };
        let relation = fourth(&mut random, self.relations);
        let tail = spread(fourth(&mut random, self.entities), STEPS[1]);
        Triple {
            head,
            relation,
            tail: match tail == head {
                true => (tail + 1) % self.entities,
                false => tail,
            },
        }
    }

    /// Name of an entity.
    pub fn entity(id: u32) -> String {
        format!("e{id}")
    }

    /// Name of a relation.
    pub fn relation(id: u32) -> String {
        format!("r{id}")
    }

    /// Generates the graph in memory, on all cores.
    ///
    /// # Errors
    /// [`DatasetError::Size`] for fewer than 2 entities, no relation or no triple, or more than
    /// 32-bit ids can number.
    pub fn generate(&self) -> Result<Dataset, DatasetError> {
        self.check()?;
        let split = |split| -> Vec<Triple> {
            let indices = 0..self.len(split);
            indices
                .into_par_iter()
                .map(|i| self.triple(split, i))
                .collect()
        };
        let names = |count: u32, name: fn(u32) -> String| {
            let mut names = Vocabulary::new();
            for id in 0..count {
                names.intern(&name(id));
            }
            names
        };
        Ok(Dataset {
            name: NAME.to_owned(),
            entities: names(self.entities, Self::entity),
            relations: names(self.relations, Self::relation),
            train: Arc::new(split(Split::Train)),
            weights: Vec::new(),
            valid: split(Split::Valid),
            test: split(Split::Test),
            sharing: None,
            reading: Reading::default(),
        })
    }

    /// Writes the files that [`Dataset::write_tsv`] would write for the [generated](Self::generate)
    /// graph, without holding the graph in memory.
    ///
    /// # Errors
    /// The errors of [`generate`](Self::generate) and [`Dataset::write_tsv`].
    pub fn write_tsv(&self, directory: &Path) -> Result<(), DatasetError> {
        self.check()?;
        Splits::create(directory)?.write(|split, out| {
            for index in 0..self.len(split) {
                let Triple {
                    head,
                    relation,
                    tail,
                } = self.triple(split, index);
                writeln!(out, "e{head}\tr{relation}\te{tail}")?;
            }
            Ok(())
        })
    }

    /// Checks that a graph can have these numbers of entities, relations and triples.
    ///
    /// # Errors
    /// The errors of [`generate`](Self::generate).
    pub fn check(&self) -> Result<(), DatasetError> {
        let sizes = [
            ("entities", self.entities, 2),
            ("relations", self.relations, 1),
            ("triples", self.triples, 1),
        ];
        for (what, found, least) in sizes {
            if !(least..=MOST).contains(&found) {
                return Err(DatasetError::Size {
                    what,
                    found,
                    least,
                    most: MOST,
                });
            }
        }
        Ok(())
    }
}

/// Draws a rank below `count`, with a density that falls as rank^(−1/2).
fn square(random: &mut Stream, count: u32) -> u32 {
    let u: f64 = random.random();
    below(u * u, count)
}

/// Draws a rank below `count`, with a density that falls as rank^(−3/4).
fn fourth(random: &mut Stream, count: u32) -> u32 {
    let u: f64 = random.random();
    below(u * u * (u * u), count)
}

/// Scales a number below 1 to a rank below `count`. The product may round to `count`.
fn below(share: f64, count: u32) -> u32 {
    ((share * f64::from(count)) as u32).min(count - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(entities: u32) -> PowerLaw {
        PowerLaw::sized(entities)
    }

    #[test]
    fn triples_stay_what_they_are() {
        let of = |split, index| {
            let t = graph(10_000_000).triple(split, index);
            (t.head, t.relation, t.tail)
        };
        let first = [0, 1, 50_000_000].map(|i| of(Split::Train, i));
        assert_eq!(first, TRAIN);
        assert_eq!(of(Split::Valid, 0), VALID);
        assert_eq!(of(Split::Test, 0), TEST);
    }
    const TRAIN: [(u32, u32, u32); 3] = [(0, 0, 8234543), (1, 16, 5642554), (3064087, 0, 4029686)];
    const VALID: (u32, u32, u32) = (8509164, 9, 4469225);
    const TEST: (u32, u32, u32) = (9447106, 9, 1043140);

    #[test]
    fn settings_make_the_graph() {
        let graph = graph(300);
        let same = graph.generate().unwrap();
        assert_eq!(same, graph.generate().unwrap());
        let other = PowerLaw { seed: 1, ..graph };
        assert_ne!(same.train, other.generate().unwrap().train);
        let sizes = [&same.train[..], &same.valid, &same.test].map(<[Triple]>::len);
        assert_eq!(sizes, [3000, 150, 150]);
        assert_eq!((same.entities.len(), same.relations.len()), (300, 3));
    }

    #[test]
    fn every_entity_is_a_head_and_none_is_its_own_tail() {
        for (entities, triples) in [(2, 40), (3, 2), (1000, 10_000)] {
            let graph = PowerLaw {
                entities,
                triples,
                relations: 2,
                seed: 3,
            };
            let graph = graph.generate().unwrap();
            let mut heads: Vec<u32> = graph.train.iter().map(|t| t.head).collect();
            heads.sort_unstable();
            heads.dedup();
            assert_eq!(heads.len(), entities.min(triples) as usize);
            assert!(graph.train.iter().all(|t| t.head != t.tail));
        }
    }

    /// Degrees of the tails, largest first: the r-th of n is n·(r/n)^(−3/4)/4 times the mean.
    #[test]
    fn degrees_follow_a_power_law() {
        let graph = graph(100_000);
        let mut degrees = vec![0u32; graph.entities as usize];
        for index in 0..graph.triples {
            degrees[graph.triple(Split::Train, index).tail as usize] += 1;
        }
        degrees.sort_unstable_by(|a, b| b.cmp(a));
        let upto = |rank: usize| degrees[..rank].iter().map(|&d| f64::from(d)).sum::<f64>();
        for rank in [1, 10, 100, 1000, 10_000] {
            let want = f64::from(graph.triples) * (rank as f64 / 100_000.0).powf(0.25);
            let ratio = upto(rank) / want;
            assert!((0.97..1.03).contains(&ratio), "{rank}: {ratio}");
        }
    }

    #[test]
    fn streams_what_it_would_hold() {
        let home = tempfile::tempdir().unwrap();
        let (streamed, held) = (home.path().join("streamed"), home.path().join("held"));
        let graph = graph(500);
        graph.write_tsv(&streamed).unwrap();
        graph.generate().unwrap().write_tsv(&held).unwrap();
        for split in Split::ALL {
            let read = |at: &Path| std::fs::read(at.join(format!("{split}.tsv"))).unwrap();
            assert_eq!(read(&streamed), read(&held));
            assert_eq!(
                read(&held).split(|&b| b == b'\n').count() as u32 - 1,
                graph.len(split)
            );
        }
        assert!(graph.write_tsv(&held).is_err(), "nothing is written over");
    }

    #[test]
    fn sizes_are_checked() {
        for (entities, relations, triples) in [(1, 1, 1), (2, 0, 1), (2, 1, 0), (u32::MAX, 1, 1)] {
            let graph = PowerLaw {
                entities,
                relations,
                triples,
                seed: 0,
            };
            assert!(matches!(graph.generate(), Err(DatasetError::Size { .. })));
        }
    }
}
