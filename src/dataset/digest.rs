//! Hashes of facts by name, which depend neither on the order of lines nor on ids.
//!
//! The hash of a name is the XXH3-128 of its UTF-8 bytes. A fact is the 48 bytes of the hashes of
//! head, relation and tail, each little-endian; a weighted training fact has the four bytes of its
//! weight after them. The digest of a split is the sum, modulo 2¹²⁸, of the XXH3-128 of its facts.

use std::fmt;
use std::str::FromStr;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128};

use super::{Dataset, Split, Triple, Vocabulary};

/// Hashes of all names of a graph.
#[derive(Debug)]
pub(crate) struct NameHashes {
    entities: Vec<u128>,
    relations: Vec<u128>,
}

/// Hashes of head, relation and tail, each little-endian.
type FactBytes = [u8; 48];

impl NameHashes {
    /// Computes the hashes of all names, 16 bytes each.
    pub fn new(entities: &Vocabulary, relations: &Vocabulary) -> Self {
        let hashes = |names: &Vocabulary| -> Vec<u128> {
            let ids = (0..names.len() as u32).into_par_iter();
            ids.map(|id| xxh3_128(names.name(id).as_bytes())).collect()
        };
        Self {
            entities: hashes(entities),
            relations: hashes(relations),
        }
    }

    fn bytes(&self, fact: Triple) -> FactBytes {
        let mut bytes = [0; 48];
        bytes[..16].copy_from_slice(&self.entities[fact.head as usize].to_le_bytes());
        bytes[16..32].copy_from_slice(&self.relations[fact.relation as usize].to_le_bytes());
        bytes[32..].copy_from_slice(&self.entities[fact.tail as usize].to_le_bytes());
        bytes
    }

    /// Returns the keyed hash that decides which split a fact belongs to.
    pub fn keyed(&self, fact: Triple, seed: u64) -> u64 {
        xxh3_64_with_seed(&self.bytes(fact), seed)
    }

    /// Returns the hash of a fact, and of its weight if the fact has one.
    pub fn fact(&self, fact: Triple, weight: Option<f32>) -> u128 {
        let bytes = self.bytes(fact);
        match weight {
            None => xxh3_128(&bytes),
            Some(weight) => {
                let mut weighted = [0; 52];
                weighted[..48].copy_from_slice(&bytes);
                weighted[48..].copy_from_slice(&weight.to_bits().to_le_bytes());
                xxh3_128(&weighted)
            }
        }
    }

    /// Returns the digest of a split. `weights` has a weight for each fact, or is empty.
    pub fn digest(&self, facts: &[Triple], weights: &[f32]) -> SplitDigest {
        let hashes = (facts.par_iter().enumerate())
            .map(|(index, &fact)| self.fact(fact, weights.get(index).copied()));
        SplitDigest {
            facts: facts.len(),
            digest: Digest(hashes.reduce(|| 0, u128::wrapping_add)),
        }
    }
}

/// Sum of the hashes of facts, written as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest(u128);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// Error of a text that is not a digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a digest: expected 32 hexadecimal digits")]
pub struct ParseDigestError(String);

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let value = digits.then(|| u128::from_str_radix(text, 16).ok());
        let value = value.flatten();
        value
            .map(Digest)
            .ok_or_else(|| ParseDigestError(text.to_owned()))
    }
}

impl TryFrom<String> for Digest {
    type Error = ParseDigestError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// Number and digest of the facts of a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitDigest {
    /// Number of facts, repeated ones included.
    pub facts: usize,
    /// Digest of the facts in any order; the digest of train includes the weights.
    pub digest: Digest,
}

/// Digests of the splits of a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraphDigest {
    /// Digest of the training split.
    pub train: SplitDigest,
    /// Digest of the validation split.
    pub valid: SplitDigest,
    /// Digest of the test split.
    pub test: SplitDigest,
}

impl GraphDigest {
    /// Returns the digest of a split.
    pub fn split(&self, split: Split) -> &SplitDigest {
        match split {
            Split::Train => &self.train,
            Split::Valid => &self.valid,
            Split::Test => &self.test,
        }
    }
}

impl fmt::Display for GraphDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, split) in Split::ALL.into_iter().enumerate() {
            let SplitDigest { facts, digest } = self.split(split);
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{split} {facts} facts {digest}")?;
        }
        Ok(())
    }
}

impl Dataset {
    /// Computes the digests of the splits, which depend on names and weights but not on the order
    /// of facts.
    pub fn digest(&self) -> GraphDigest {
        let names = NameHashes::new(&self.entities, &self.relations);
        GraphDigest {
            train: names.digest(&self.train, &self.weights),
            valid: names.digest(&self.valid, &[]),
            test: names.digest(&self.test, &[]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vocabulary {
        Vocabulary::from_names(names).unwrap()
    }

    #[test]
    fn digests_follow_names_and_weights_but_not_order_or_ids() {
        let one = NameHashes::new(&names(&["a", "b", "c"]), &names(&["r", "s"]));
        let other = NameHashes::new(&names(&["c", "a", "b"]), &names(&["s", "r"]));
        let triple = |head, relation, tail| Triple {
            head,
            relation,
            tail,
        };
        let facts = [triple(0, 0, 1), triple(1, 1, 2), triple(1, 1, 2)];
        let moved = [triple(2, 0, 0), triple(1, 1, 2), triple(2, 0, 0)];
        let digest = one.digest(&facts, &[]);
        assert_eq!(digest, other.digest(&moved, &[]));
        assert_eq!(digest.facts, 3);
        // A further copy, another name, swapped ends and weights all count.
        assert_ne!(digest, one.digest(&facts[..2], &[]));
        let swapped = [triple(1, 0, 0), facts[1], facts[2]];
        assert_ne!(digest, one.digest(&swapped, &[]));
        let weighted = one.digest(&facts, &[1.0, 2.0, 3.0]);
        assert_ne!(digest, weighted);
        assert_ne!(weighted, one.digest(&facts, &[2.0, 1.0, 3.0]));
        assert_eq!(
            weighted,
            other.digest(&[moved[0], moved[1], moved[2]], &[3.0, 1.0, 2.0])
        );
    }

    #[test]
    fn a_digest_is_what_the_documentation_says() {
        let hashes = NameHashes::new(&names(&["Ada", "Charles"]), &names(&["met"]));
        let fact = Triple {
            head: 0,
            relation: 0,
            tail: 1,
        };
        let mut bytes = Vec::new();
        for name in ["Ada", "met", "Charles"] {
            bytes.extend(xxh3_128(name.as_bytes()).to_le_bytes());
        }
        assert_eq!(hashes.digest(&[fact], &[]).digest, Digest(xxh3_128(&bytes)));
        assert_eq!(hashes.keyed(fact, 7), xxh3_64_with_seed(&bytes, 7));
    }

    #[test]
    fn digests_read_back() {
        let digest = Digest(0x0123);
        assert_eq!(digest.to_string().parse(), Ok(digest));
        for bad in [
            "",
            "12",
            "+0000000000000000000000000000001",
            &"g".repeat(32),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
