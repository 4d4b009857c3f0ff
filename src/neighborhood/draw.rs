//! Keyed random numbers: every row of every batch has numbers of its own.

use crate::rng::{Purpose, key};

/// Name of a batch. Equal names, of the same graph and plan, are equal batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draw {
    /// Seed of the store or run.
    pub seed: u64,
    /// Epoch.
    pub epoch: u64,
    /// Index of the batch in its epoch.
    pub index: u64,
}

/// Key of a batch, from which the keys of its rows are made.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchKey(u64);

/// Use of random numbers. Numbers of different uses have nothing to do with one another.
#[derive(Clone, Copy, Debug)]
pub(super) enum Use {
    /// Random walks.
    Walks = 1,
    /// Candidates near a fact.
    Near = 2,
    /// Negative facts.
    NegativeFacts = 3,
}

impl Draw {
    /// Key of a batch of neighbourhoods.
    pub(super) fn key(self) -> BatchKey {
        BatchKey(key(self.seed, Purpose::Neighbors, [self.epoch, self.index]))
    }

    /// Key of another use.
    pub(super) fn key_of(self, of: Use) -> BatchKey {
        BatchKey(finish(
            self.key().0 ^ (of as u64).wrapping_mul(0xd1b5_4a32_d192_ed03),
        ))
    }
}

impl BatchKey {
    /// Numbers for the row of a node at a hop.
    #[inline]
    pub fn row(self, hop: usize, node: u32) -> Draws {
        Draws {
            state: finish(self.0 ^ ((hop as u64) << 32 | u64::from(node)).wrapping_mul(GAMMA)),
        }
    }
}

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64's finaliser (Steele et al. 2014).
#[inline]
fn finish(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Stream of random numbers: a Weyl sequence, each number of which is multiplied by a function of itself (wyrand, Wang
/// 2019). One multiplication a number.
#[derive(Clone, Debug)]
pub(super) struct Draws {
    state: u64,
}

impl Draws {
    /// Another stream, for a part of the row.
    #[inline]
    pub fn part(&self, part: u64) -> Draws {
        Draws {
            state: finish(self.state ^ (part + 1).wrapping_mul(GAMMA)),
        }
    }

    #[inline]
    fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0xa076_1d64_78bd_642f);
        let product = u128::from(self.state) * u128::from(self.state ^ 0xe703_7ed1_a0b4_28db);
        (product >> 64) as u64 ^ product as u64
    }

    /// Uniform number below `bound`, which is at least 1 (Lemire 2019).
    #[inline]
    pub fn below(&mut self, bound: u32) -> u32 {
        let mut product = (self.number() >> 32) * u64::from(bound);
        if (product as u32) < bound {
            // Rare: fewer than 2³² divide evenly.
            let threshold = bound.wrapping_neg() % bound;
            while (product as u32) < threshold {
                product = (self.number() >> 32) * u64::from(bound);
            }
        }
        (product >> 32) as u32
    }

    /// Uniform number in the open interval from 0 to 1, with 53 bits.
    #[inline]
    pub fn unit(&mut self) -> f64 {
        ((self.number() >> 12) as f64 + 0.5) * (1.0 / (1u64 << 52) as f64)
    }
}
