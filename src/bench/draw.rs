//! Random batches of rows.

use rand::{RngExt, SeedableRng, seq};
use rand_distr::{Distribution as _, Zipf};

use crate::rng::Stream;

/// Distribution of the rows of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Distribution {
    /// All rows with the same probability.
    Uniform,
    /// The k-th most frequent row with probability ∝ 1/k, as in real graphs: the same hot rows are
    /// in every batch.
    Zipf,
}

/// Draws `batches` batches of `batch` distinct rows out of `rows`, in random order. Uniform batches
/// share no row as long as there are enough rows. Workers add up the gradients of a repeated row before
/// a push, so rows of a Zipf batch are drawn until enough of them are distinct.
pub fn draw(
    distribution: Distribution,
    seed: u64,
    rows: usize,
    batch: usize,
    batches: usize,
) -> Vec<Vec<u32>> {
    let mut stream = Stream::seed_from_u64(seed);
    let batch = batch.min(rows);
    match distribution {
        Distribution::Uniform => {
            let mut rest: Vec<u32> = Vec::new();
            let batches = (0..batches).map(|drawn| {
                if rest.len() < batch {
                    let wanted = (batch * (batches - drawn)).min(rows / batch.max(1) * batch);
                    let sample = seq::index::sample(&mut stream, rows, wanted);
                    rest = sample.into_iter().map(|row| row as u32).collect();
                }
                rest.split_off(rest.len() - batch)
            });
            batches.collect()
        }
        Distribution::Zipf => (0..batches)
            .map(|_| zipf(&mut stream, rows, batch))
            .collect(),
    }
}

fn zipf(stream: &mut Stream, rows: usize, batch: usize) -> Vec<u32> {
    // A prime larger than any table spreads the ranks over it, each to a row of its own.
    const SPREAD: u64 = 4_294_967_311;
    let row = |rank: usize| (rank as u64 * (SPREAD % rows as u64) % rows as u64) as u32;
    let mut seen = vec![false; rows];
    let mut drawn = Vec::with_capacity(batch);
    let mut take = |rank: usize| {
        if drawn.len() < batch && !std::mem::replace(&mut seen[rank], true) {
            drawn.push(row(rank));
        }
        drawn.len() < batch
    };
    if let Ok(ranks) = Zipf::new(rows as f64, 1.0) {
        // The last of many rows would take forever to come.
        for _ in 0..batch.saturating_mul(32) {
            let rank = ranks.sample(stream) as usize;
            if !take(rank.clamp(1, rows) - 1) {
                break;
            }
        }
    }
    let _ = (0..rows).all(&mut take);
    // The hottest came first.
    for i in (1..drawn.len()).rev() {
        drawn.swap(i, stream.random_range(0..=i));
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    proptest! {
        #[test]
        fn batches_are_distinct_rows_of_the_table(
            zipf: bool, rows in 1usize..400, share in 1usize..5, batches in 1usize..6, seed: u64,
        ) {
            let distribution = [Distribution::Uniform, Distribution::Zipf][usize::from(zipf)];
            let batch = rows.div_ceil(share);
            let drawn = draw(distribution, seed, rows, batch, batches);
            prop_assert_eq!(drawn.len(), batches);
            for rows_of in &drawn {
                let distinct: HashSet<u32> = rows_of.iter().copied().collect();
                prop_assert_eq!(distinct.len(), batch);
                prop_assert!(rows_of.iter().all(|&row| (row as usize) < rows));
            }
            if !zipf && batch * batches <= rows {
                let all: HashSet<u32> = drawn.iter().flatten().copied().collect();
                prop_assert_eq!(all.len(), batch * batches, "no row is in two batches");
            }
        }
    }

    #[test]
    fn hot_rows_are_in_every_zipf_batch() {
        let drawn = draw(Distribution::Zipf, 1, 100_000, 1000, 4);
        let sets = drawn.iter().map(|rows| rows.iter().copied().collect());
        let common = sets.reduce(|a: HashSet<u32>, b| &a & &b).unwrap();
        // Uniform batches of these sizes would have none.
        assert!(common.len() > 20, "{}", common.len());
    }
}
