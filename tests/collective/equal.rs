//! Equal bits with the backend of one process, on random calls.

use std::sync::Arc;

use proptest::prelude::*;
use shardloom::collective::{Call, CollectiveExt, Element, Reduce, Wire, local};
use shardloom::ids::Generation;

use crate::conformance::{Rank, noise};
use crate::processes::members;

/// A random call of every operation.
#[derive(Clone, Debug)]
struct Case {
    world: usize,
    /// Ranks of a process.
    each: usize,
    len: usize,
    wire: Wire,
    reduce: usize,
    root: usize,
    seed: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    // Small calls, and calls of several frames for each rank.
    let len = prop_oneof![0..100usize, 16_000..17_000usize, 60_000..400_000usize];
    let wire = prop_oneof![Just(Wire::Exact), Just(Wire::F16), Just(Wire::Bf16)];
    (
        1..6usize,
        1..4usize,
        len,
        wire,
        0..3usize,
        0..5usize,
        any::<u64>(),
    )
        .prop_map(|(world, each, len, wire, reduce, root, seed)| Case {
            world,
            each,
            len,
            wire,
            reduce,
            root: root % world,
            seed,
        })
}

impl Case {
    /// Any bits: also infinities, NaNs and subnormal numbers.
    fn values<T: Element>(&self, rank: usize, from_bits: fn(u64) -> T) -> Vec<T> {
        let start = noise(self.seed ^ rank as u64);
        let values = 0..self.len as u64;
        values
            .map(|i| from_bits(noise(start.wrapping_add(i))))
            .collect()
    }

    fn reduce(&self, rank: usize) -> Reduce {
        match self.reduce {
            0 => Reduce::Sum,
            1 => Reduce::Mean,
            _ => Reduce::WeightedMean([0.3, 7.0, 1e-3][rank % 3]),
        }
    }

    /// All results of a rank as bytes, or the text of the first error.
    async fn of<T: Element>(
        &self,
        c: &Rank,
        wire: Wire,
        from_bits: fn(u64) -> T,
    ) -> Result<Vec<u8>, String> {
        let (rank, world) = (c.rank(), self.world);
        let own = || self.values(rank, from_bits);
        let long = std::time::Duration::from_secs(600);
        let call = |sequence| Call::new(c.generation(), sequence, long).wire(wire);
        let mut bytes = Vec::new();
        let mut add = |values: &[T]| {
            bytes.extend_from_slice(&values.len().to_le_bytes());
            bytes.extend_from_slice(bytemuck::cast_slice(values));
        };
        // Integers have no means.
        let reduce = match T::TYPE.is_float() {
            true => self.reduce(rank),
            false => Reduce::Sum,
        };
        let text = |error: shardloom::collective::CollectiveError| error.to_string();
        add(&c.all_reduce(call(0), own(), reduce).await.map_err(text)?);
        add(&c
            .reduce_scatter(call(1), own(), reduce)
            .await
            .map_err(text)?);
        add(&c.broadcast(call(2), self.root, own()).await.map_err(text)?);
        let mut some = own();
        some.truncate(self.len * rank / world);
        for part in c.all_gather(call(3), some).await.map_err(text)? {
            add(&part);
        }
        let part = |to: usize| own().split_off(self.len * (to + rank) / (2 * world));
        let parts = (0..world).map(part).collect();
        for part in c.all_to_all(call(4), parts).await.map_err(text)? {
            add(&part);
        }
        Ok(bytes)
    }

    /// All results of all ranks, for `f32` with the wire format, and for `f64` and `u64`.
    async fn all(&self, ranks: [Vec<Rank>; 3]) -> Vec<Result<Vec<u8>, String>> {
        let mut tasks = Vec::new();
        for (kind, ranks) in ranks.into_iter().enumerate() {
            for c in ranks {
                let case = self.clone();
                tasks.push(tokio::spawn(async move {
                    match kind {
                        0 => case.of(&c, case.wire, |x| f32::from_bits(x as u32)).await,
                        1 => case.of(&c, Wire::Exact, f64::from_bits).await,
                        _ => case.of(&c, Wire::Exact, |x| x).await,
                    }
                }));
            }
        }
        let mut results = Vec::new();
        for task in tasks {
            results.push(task.await.unwrap());
        }
        results
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn processes_have_the_bits_of_one(case in cases()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (one, several) = runtime.block_on(async {
            let of_one = || local::group(case.world).into_iter().map(|c| Arc::new(c) as Rank);
            let of_several = || {
                let members = members(Generation(0), case.world, case.each);
                members.into_iter().map(|c| Arc::new(c) as Rank)
            };
            let one = case.all([0, 1, 2].map(|_| of_one().collect())).await;
            let several = case.all([0, 1, 2].map(|_| of_several().collect())).await;
            (one, several)
        });
        prop_assert!(one.iter().all(Result::is_ok), "{one:?}");
        prop_assert!(one == several, "the bits differ");
    }
}
