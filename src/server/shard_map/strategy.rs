//! Strategies that spread rows over shards.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Strategy that spreads rows over shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShardingStrategy {
    /// By a hash of the row's number. Resharding moves the rows that new shards take over or removed shards
    /// leave, and no others. The sizes of shards differ by chance.
    #[serde(rename = "hash")]
    EntityHash,
    /// In turn. Sizes differ by at most one, and resharding moves as few rows as that allows.
    #[serde(rename = "round-robin")]
    RoundRobin,
    /// Consecutive rows. Sizes differ by at most one. Adding or removing one of many shards moves about half of
    /// all rows; adding rows also moves some.
    #[serde(rename = "range")]
    Range,
}

impl ShardingStrategy {
    /// All strategies.
    pub const ALL: [ShardingStrategy; 3] = [
        ShardingStrategy::EntityHash,
        ShardingStrategy::RoundRobin,
        ShardingStrategy::Range,
    ];

    /// The name in config files.
    pub fn name(self) -> &'static str {
        match self {
            ShardingStrategy::EntityHash => "hash",
            ShardingStrategy::RoundRobin => "round-robin",
            ShardingStrategy::Range => "range",
        }
    }
}

impl fmt::Display for ShardingStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ShardingStrategy {
    type Err = String;

    fn from_str(name: &str) -> Result<ShardingStrategy, String> {
        let all = ShardingStrategy::ALL;
        let found = all.into_iter().find(|strategy| strategy.name() == name);
        found.ok_or_else(|| {
            let names = all.map(ShardingStrategy::name).join(", ");
            format!("unknown sharding strategy {name:?}; there are {names}")
        })
    }
}

/// Seed of the hash behind [`ShardingStrategy::EntityHash`]: "ShardLoo" in ASCII. The seed is part of the
/// meaning of saved tables and never changes.
pub const HASH_SEED: u64 = 0x5368_6172_644c_6f6f;

/// Computes the shard of a row by hash: XXH3 (64 bits) of the row's number as eight little-endian bytes, then
/// [`jump`].
pub(in crate::server) fn hashed(row: u32, shards: usize) -> u32 {
    let key = xxh3_64_with_seed(&u64::from(row).to_le_bytes(), HASH_SEED);
    jump(key, shards as u64) as u32
}

/// Jump consistent hash (Lamping and Veach 2014). Each floating-point operation is exactly rounded, so the
/// result is the same on all machines.
fn jump(mut key: u64, shards: u64) -> u64 {
    let (mut shard, mut next) = (0, 0);
    while next < shards {
        shard = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        let stride = (1u64 << 31) as f64 / ((key >> 33) + 1) as f64;
        next = ((shard + 1) as f64 * stride) as u64;
    }
    shard
}

/// Deals rows to shards in turn, for sizes that differ by at most one.
#[derive(Debug)]
pub(in crate::server) struct Turns {
    sizes: Vec<usize>,
    /// Size of the smallest shards; below, number of shards of that size.
    low: usize,
    lows: usize,
    /// Shard whose turn is next.
    next: usize,
}

impl Turns {
    /// Continues from shards of these sizes, with shard `next`. `sizes` must not be empty.
    pub fn new(sizes: Vec<usize>, next: usize) -> Turns {
        let low = sizes.iter().copied().min().unwrap_or(0);
        Turns {
            lows: sizes.iter().filter(|&&size| size == low).count(),
            low,
            next: if next < sizes.len() { next } else { 0 },
            sizes,
        }
    }

    /// Deals the next row, to the first shard from `next` on that is not larger than the smallest.
    pub fn deal(&mut self) -> u32 {
        while self.sizes[self.next] > self.low {
            self.pass();
        }
        let shard = self.next;
        self.sizes[shard] += 1;
        self.lows -= 1;
        if self.lows == 0 {
            self.low += 1;
            self.lows = self.sizes.len();
        }
        self.pass();
        shard as u32
    }

    /// Shard whose turn is next.
    pub fn next(&self) -> usize {
        self.next
    }

    fn pass(&mut self) {
        self.next = (self.next + 1) % self.sizes.len();
    }
}

/// Moves rows from existing shards to new ones, until there are `shards` shards; moves the fewest rows that
/// make the sizes differ by at most one. `of` holds the shard of every row; `sizes` must differ by at most one.
pub(in crate::server) fn spread(of: &mut [u32], sizes: &[usize], shards: usize) {
    let even = of.len() / shards;
    let mut larger = of.len() % shards;
    // Shards with one row more than an even share keep it while rows are left over.
    let leaving: Vec<usize> = sizes
        .iter()
        .map(|&size| {
            let keeps = usize::from(size > even && larger > 0);
            larger -= keeps;
            size - even - keeps
        })
        .collect();
    let new = (shards - sizes.len()) as u32;
    let (mut left, mut places) = (0, vec![0u64; sizes.len()]);
    for shard in of {
        let s = *shard as usize;
        let (size, share) = (sizes[s] as u64, leaving[s] as u64);
        let place = places[s];
        places[s] += 1;
        // Every k-th row leaves, so that new shards get old and young rows alike.
        if (place + 1) * share / size > place * share / size {
            *shard = sizes.len() as u32 + left % new;
            left += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_config_files() {
        for strategy in ShardingStrategy::ALL {
            let name = strategy.to_string();
            assert_eq!(name.parse(), Ok(strategy));
            let json = serde_json::to_string(&strategy).unwrap();
            assert_eq!(json, format!("\"{name}\""));
        }
        let error = "mod".parse::<ShardingStrategy>().unwrap_err();
        assert!(error.contains("hash, round-robin, range"), "{error}");
    }

    /// Fails if hashing depends on the machine, the pointer width or the compiler. The expected values come
    /// from other implementations of both hashes.
    #[test]
    fn hashing_depends_on_the_compiler_version() {
        let keys = [0u32, 1, 2, 41, 1_000_000, u32::MAX]
            .map(|row| xxh3_64_with_seed(&u64::from(row).to_le_bytes(), HASH_SEED));
        assert_eq!(keys, KEYS);
        let shards = |n| ROWS.map(|row| hashed(row, n));
        assert_eq!(shards(1), [0; 12]);
        assert_eq!(shards(2), SHARDS_2);
        assert_eq!(shards(8), SHARDS_8);
        assert_eq!(shards(9), SHARDS_9);
        assert_eq!(shards(1000), SHARDS_1000);
    }

    const ROWS: [u32; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 41, 1_000_000, 0x8000_0000, u32::MAX];
    const KEYS: [u64; 6] = [
        0x82c1_dbff_f0f9_f388,
        0x3af0_7c49_66a5_749b,
        0xd129_87f1_0e9d_a8b7,
        0xa8a6_b774_67d8_ee25,
        0x13e5_9454_8626_de8f,
        0x1369_5181_ea1a_29bf,
    ];
    const SHARDS_2: [u32; 12] = [1, 0, 0, 1, 1, 0, 1, 0, 1, 1, 1, 1];
    const SHARDS_8: [u32; 12] = [6, 4, 2, 6, 1, 4, 2, 0, 5, 1, 1, 4];
    const SHARDS_9: [u32; 12] = [6, 4, 2, 6, 1, 4, 2, 0, 5, 1, 1, 4];
    const SHARDS_1000: [u32; 12] = [383, 92, 625, 768, 83, 357, 285, 651, 901, 584, 304, 275];
}
