//! Random streams that depend only on a seed and a few numbers (epoch, step, row …): the same on every machine
//! and for every number of threads and shards.

use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

/// Generator of every random stream of the crate.
pub type Stream = Xoshiro256PlusPlus;

/// Purpose of a stream. Streams of different purposes never overlap, whatever their indices.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub enum Purpose {
    /// Initial values of a table; indices: table, row.
    Init = 1,
    /// Order of the training facts; index: epoch.
    Shuffle = 2,
    /// Negatives of a step; indices: epoch, step.
    Negatives = 3,
    /// Dropout masks of a step; indices: epoch, step.
    Dropout = 4,
    /// Splitting a single file into train, valid and test.
    Split = 5,
    /// Stochastic rounding of a step's updates; index: number of the step.
    Rounding = 6,
    /// A trial of a hyper-parameter search; indices: trial, hash of the parameter's name.
    Search = 7,
    /// A triple of a generated graph; indices: split, triple.
    Graph = 8,
    /// Waits of a standby before it tries to lead; indices: epoch of leadership, attempt.
    BackOff = 9,
    /// Neighbours of a batch; indices: epoch, index of the batch.
    Neighbors = 10,
}

/// Makes the random stream of a seed, a purpose and indices.
pub fn stream(seed: u64, purpose: Purpose, indices: [u64; 2]) -> Stream {
    Stream::seed_from_u64(key(seed, purpose, indices))
}

/// 64-bit key of a stream: SplitMix64's finaliser (Steele et al. 2014), chained over seed, purpose and indices.
pub fn key(seed: u64, purpose: Purpose, indices: [u64; 2]) -> u64 {
    [purpose as u64, indices[0], indices[1]]
        .into_iter()
        .fold(mix(seed), |state, part| {
            mix(state ^ mix(part.wrapping_add(0x9e37_79b9_7f4a_7c15)))
        })
}

fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// 32-bit hash of a cell, the same on the host and in `shaders/shared/hash.wgsl`: two rounds of the PCG output
/// permutation (Jarzynski and Olano 2020). Dropout masks compare it to a threshold; stochastic rounding adds it
/// to the digits that are cut off.
#[inline(always)]
pub fn cell(seed: u32, row: u32, column: u32) -> u32 {
    pcg(pcg(seed ^ row.wrapping_mul(0x9e37_79b9)).wrapping_add(column))
}

#[inline(always)]
fn pcg(x: u32) -> u32 {
    let state = x.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
    let word =
        (state.wrapping_shr((state >> 28).wrapping_add(4)) ^ state).wrapping_mul(277_803_737);
    (word >> 22) ^ word
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    #[test]
    fn streams_are_named_by_all_their_parts() {
        let first = |seed, purpose, at| stream(seed, purpose, at).random::<u64>();
        let base = first(1, Purpose::Init, [2, 3]);
        assert_eq!(base, first(1, Purpose::Init, [2, 3]));
        assert_ne!(base, first(2, Purpose::Init, [2, 3]));
        assert_ne!(base, first(1, Purpose::Shuffle, [2, 3]));
        assert_ne!(base, first(1, Purpose::Init, [3, 2]));
    }

    #[test]
    fn streams_are_stable_across_versions() {
        assert_eq!(key(7, Purpose::Negatives, [1, 2]), KEY);
        assert_eq!(cell(1, 2, 3), CELL);
    }
    const KEY: u64 = 6056486054100537743;
    const CELL: u32 = 3733039312;

    #[test]
    fn cells_are_uniform() {
        let below = (0..100_000u32)
            .filter(|&i| cell(9, i / 100, i % 100) < u32::MAX / 10 * 3)
            .count();
        assert!((29_000..31_000).contains(&below), "{below}");
    }
}
