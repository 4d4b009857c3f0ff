//! What calls return, against sums written down plainly.

use half::{bf16, f16};
use shardloom::collective::{Call, CollectiveExt, Element, Reduce, Wire, segment};

use super::{Rank, call, group, noise, together};

/// Lengths that fill nothing evenly, and one that takes several threads.
const LENGTHS: [usize; 8] = [0, 1, 2, 3, 17, 1000, 4097, 300_007];

/// Values and their arithmetic, one at a time.
pub(super) trait Value: Element {
    const WIRES: &'static [Wire];
    const REDUCTIONS: usize;
    /// A value with a full mantissa.
    fn at(seed: u64) -> Self;
    fn received(self, _wire: Wire) -> Self {
        self
    }
    fn add(self, other: Self) -> Self;
    fn weigh(self, weight: f64) -> Self;
    fn divide(self, divisor: f64) -> Self;
}

macro_rules! float {
    ($type:ty, $wires:expr, $($through:item)?) => {
        impl Value for $type {
            const WIRES: &'static [Wire] = $wires;
            const REDUCTIONS: usize = 3;
            fn at(seed: u64) -> $type {
                (noise(seed) as i64) as $type / (1u64 << 59) as $type
            }
            $($through)?
            fn add(self, other: $type) -> $type {
                self + other
            }
            fn weigh(self, weight: f64) -> $type {
                self * weight as $type
            }
            fn divide(self, divisor: f64) -> $type {
                self / divisor as $type
            }
        }
    };
}

macro_rules! integer {
    ($type:ty) => {
        impl Value for $type {
            const WIRES: &'static [Wire] = &[Wire::Exact];
            const REDUCTIONS: usize = 1;
            fn at(seed: u64) -> $type {
                noise(seed) as $type
            }
            fn add(self, other: $type) -> $type {
                self.wrapping_add(other)
            }
            fn weigh(self, _: f64) -> $type {
                unreachable!("integers have no means")
            }
            fn divide(self, _: f64) -> $type {
                unreachable!("integers have no means")
            }
        }
    };
}

float!(
    f32,
    &[Wire::Exact, Wire::F16, Wire::Bf16],
    fn received(self, wire: Wire) -> f32 {
        match wire {
            Wire::Exact => self,
            Wire::F16 => f16::from_f32(self).to_f32(),
            Wire::Bf16 => bf16::from_f32(self).to_f32(),
        }
    }
);
float!(f64, &[Wire::Exact],);
integer!(u32);
integer!(u64);

/// The reduction number `kind`, with the weight of a rank: ranks 1, 4, … have none.
pub(super) fn reduction(kind: usize, rank: usize) -> Reduce {
    match kind {
        0 => Reduce::Sum,
        1 => Reduce::Mean,
        _ => Reduce::WeightedMean([250.0, 0.0, 3.5][rank % 3]),
    }
}

/// A rank's values, unlike all others'.
pub(super) fn values<T: Value>(rank: usize, tag: u64, len: usize) -> Vec<T> {
    let start = noise(tag.wrapping_mul(64).wrapping_add(rank as u64));
    (0..len as u64)
        .map(|i| T::at(start.wrapping_add(i)))
        .collect()
}

/// The reduced values, before they travel back.
pub(super) fn reduced<T: Value>(
    world: usize,
    tag: u64,
    len: usize,
    wire: Wire,
    kind: usize,
) -> Vec<T> {
    let ranks: Vec<Vec<T>> = (0..world).map(|rank| values(rank, tag, len)).collect();
    let weights = (0..world).map(|rank| match reduction(kind, rank) {
        Reduce::WeightedMean(weight) => weight,
        _ => 1.0,
    });
    let weights: Vec<f64> = weights.collect();
    let one = |i: usize| {
        let mut terms = ranks.iter().zip(&weights).map(|(values, &w)| {
            let x = values[i].received(wire);
            if kind == 2 { x.weigh(w) } else { x }
        });
        let first = terms.next().unwrap();
        let sum = terms.fold(first, T::add);
        if kind == 0 {
            sum
        } else {
            sum.divide(weights.iter().sum())
        }
    };
    (0..len).map(one).collect()
}

pub(super) fn through<T: Value>(mut values: Vec<T>, wire: Wire) -> Vec<T> {
    values.iter_mut().for_each(|x| *x = x.received(wire));
    values
}

/// Bits, because equality of floats would forgive zeros their signs.
#[track_caller]
pub(super) fn assert_same<T: Element>(found: &[T], expected: &[T], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let same = bytemuck::cast_slice::<T, u8>(found) == bytemuck::cast_slice::<T, u8>(expected);
    assert!(same, "{what}");
}

/// Every operation, in worlds of one to five, with all types, wires and lengths.
pub async fn results(make: impl Fn(usize) -> Vec<Rank>) {
    for world in 1..=5 {
        let ranks = group(&make, world);
        let mut sequence = 0;
        for len in LENGTHS {
            typed::<f32>(&ranks, &mut sequence, len).await;
            typed::<f64>(&ranks, &mut sequence, len).await;
            typed::<u32>(&ranks, &mut sequence, len).await;
            typed::<u64>(&ranks, &mut sequence, len).await;
        }
    }
}

async fn typed<T: Value>(ranks: &[Rank], sequence: &mut u64, len: usize) {
    for &wire in T::WIRES {
        let mut next = || {
            *sequence += 1;
            call(&*ranks[0], *sequence).wire(wire)
        };
        for kind in 0..T::REDUCTIONS {
            reductions::<T>(ranks, next(), next(), len, kind).await;
        }
        exchanges::<T>(ranks, next(), len).await;
        all_to_all::<T>(ranks, next(), len).await;
        for root in 0..ranks.len() {
            broadcast::<T>(ranks, next(), len, root).await;
        }
    }
}

async fn reductions<T: Value>(
    ranks: &[Rank],
    whole: Call,
    scattered: Call,
    len: usize,
    kind: usize,
) {
    let (world, tag, wire) = (ranks.len(), whole.sequence, whole.wire);
    let both = together(ranks, |c| async move {
        let rank = c.rank();
        let all = c.all_reduce(whole, values::<T>(rank, tag, len), reduction(kind, rank));
        let all = all.await.unwrap();
        let own = c.reduce_scatter(
            scattered,
            values::<T>(rank, tag, len),
            reduction(kind, rank),
        );
        (all, own.await.unwrap())
    });
    let expected = reduced::<T>(world, tag, len, wire, kind);
    for (rank, (all, own)) in both.await.into_iter().enumerate() {
        let what = format!(
            "{wire}, {len} of {:?}, reduction {kind}, rank {rank}/{world}",
            T::TYPE
        );
        assert_same(&own, &expected[segment(len, world, rank)], &what);
        assert_same(&all, &through(expected.clone(), wire), &what);
    }
}

async fn exchanges<T: Value>(ranks: &[Rank], call: Call, len: usize) {
    // Ranks differ in length, and one has nothing.
    let part = move |rank: usize| {
        let len = if rank == 1 { 0 } else { len + rank };
        values::<T>(rank, call.sequence, len)
    };
    let gathered = together(ranks, |c| async move {
        c.all_gather(call, part(c.rank())).await.unwrap()
    });
    for parts in gathered.await {
        assert_eq!(parts.len(), ranks.len());
        for (rank, found) in parts.iter().enumerate() {
            assert_same(found, &through(part(rank), call.wire), "all-gather");
        }
    }
}

async fn all_to_all<T: Value>(ranks: &[Rank], call: Call, len: usize) {
    let world = ranks.len();
    // A rank keeps nothing for itself unless it is rank 0.
    let part = move |from: usize, to: usize| {
        let len = if from == to && from > 0 {
            0
        } else {
            len / (to + 1) + from
        };
        values::<T>(from * world + to, call.sequence, len)
    };
    let received = together(ranks, |c| async move {
        let parts = (0..world).map(|to| part(c.rank(), to)).collect();
        c.all_to_all(call, parts).await.unwrap()
    });
    for (to, parts) in received.await.into_iter().enumerate() {
        assert_eq!(parts.len(), world);
        for (from, found) in parts.iter().enumerate() {
            assert_same(found, &through(part(from, to), call.wire), "all-to-all");
        }
    }
}

async fn broadcast<T: Value>(ranks: &[Rank], call: Call, len: usize, root: usize) {
    let received = together(ranks, |c| async move {
        let own = values::<T>(c.rank(), call.sequence, len);
        c.broadcast(call, root, own).await.unwrap()
    });
    let expected = through(values::<T>(root, call.sequence, len), call.wire);
    for found in received.await {
        assert_same(&found, &expected, "broadcast");
    }
}
