//! `score` and its derivatives for pairs, a segment of their lanes at a time.

use std::marker::PhantomData;

use pulp::{Simd, WithSimd};

use super::pairs::{Pair, VECTOR};
use super::simd::Folds;
use super::vector::Vector;
use crate::model::Similarity;

/// Registers that the gradient of a row may take.
const REGISTERS: usize = 8;

/// A similarity as a type, so that loops are compiled for it.
pub(super) trait Compare {
    const SIMILARITY: Similarity;
    /// Values of a lane.
    const PARTS: usize;
}

/// A computation for one similarity, one number of vectors and one instruction set; see [`visit`].
pub(super) trait Compared {
    fn run<S: Simd, C: Compare, const VECTORS: usize>(self, simd: S);
}

struct Dispatch<T, C, const VECTORS: usize>(T, PhantomData<C>);

impl<T: Compared, C: Compare, const VECTORS: usize> WithSimd for Dispatch<T, C, VECTORS> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.0.run::<S, C, VECTORS>(simd);
    }
}

/// Runs the macro `$run` with a type for the similarity.
macro_rules! similarities {
    ($similarity:expr, $run:ident; $($name:ident: $parts:literal),+) => {
        match $similarity {
            $(Similarity::$name => {
                struct Kind;
                impl Compare for Kind {
                    const SIMILARITY: Similarity = Similarity::$name;
                    const PARTS: usize = $parts;
                }
                $run!(Kind)
            })+
        }
    };
    ($similarity:expr, $run:ident) => {
        similarities!($similarity, $run;
            Dot: 1, NegativeL1: 1, NegativeL2: 1, NegativeModulus: 2)
    };
}

/// Runs a computation for segments of so many vectors, at most four.
#[inline(always)]
pub(super) fn visit(similarity: Similarity, vectors: usize, visitor: impl Compared) {
    let arch = pulp::Arch::new();
    macro_rules! run {
        ($kind:ident) => {
            match vectors {
                1 => arch.dispatch(Dispatch::<_, $kind, 1>(visitor, PhantomData)),
                2 => arch.dispatch(Dispatch::<_, $kind, 2>(visitor, PhantomData)),
                3 => arch.dispatch(Dispatch::<_, $kind, 3>(visitor, PhantomData)),
                _ => arch.dispatch(Dispatch::<_, $kind, 4>(visitor, PhantomData)),
            }
        };
    }
    similarities!(similarity, run);
}

/// The same for whole rows, whatever their width: compiled once for each similarity.
#[inline(always)]
pub(super) fn visit_rows(similarity: Similarity, visitor: impl Compared) {
    let arch = pulp::Arch::new();
    macro_rules! run {
        ($kind:ident) => {
            arch.dispatch(Dispatch::<_, $kind, 1>(visitor, PhantomData))
        };
    }
    similarities!(similarity, run);
}

/// Where a packed query's segment lies.
#[inline(always)]
fn query<C: Compare, const VECTORS: usize>(pair: &Pair) -> std::ops::Range<usize> {
    let values = C::PARTS * VECTORS * VECTOR;
    pair.query as usize * values..(pair.query as usize + 1) * values
}

/// The registers of a packed segment: those of the first part, then of the second.
#[inline(always)]
fn registers<S: Simd, C: Compare, const VECTORS: usize>(packed: &[f32]) -> &[S::f32s] {
    &S::as_simd_f32s(packed).0[..C::PARTS * VECTORS * per_vector::<S>()]
}

/// Registers that hold a vector.
#[inline(always)]
const fn per_vector<S: Simd>() -> usize {
    VECTOR / S::F32_LANES
}

/// Lanes of register `r` of the first part.
#[inline(always)]
fn lanes<S: Simd, C: Compare, const VECTORS: usize>(
    simd: S,
    registers: &[S::f32s],
    r: usize,
) -> [Vector<S>; 2] {
    let first = Vector::new(simd, registers[r]);
    match C::PARTS {
        1 => [first, Vector::splat(simd, 0.0)],
        _ => [
            first,
            Vector::new(simd, registers[VECTORS * per_vector::<S>() + r]),
        ],
    }
}

/// Writes the segment's share of the scores of a row with its pairs.
#[inline(always)]
pub(super) fn score_pairs<S: Simd, C: Compare, const VECTORS: usize>(
    simd: S,
    row: &[f32],
    pairs: &[Pair],
    queries: &[f32],
    scores: &mut Folds<'_>,
) {
    let row = registers::<S, C, VECTORS>(row);
    for pair in pairs {
        let query = &queries[query::<C, VECTORS>(pair)];
        let query = registers::<S, C, VECTORS>(query);
        // Sums side by side: as many on every processor.
        let all = S::as_mut_simd_f32s(scores.sums()).0;
        for (u, sum) in all.iter_mut().enumerate() {
            let mut total = Vector::splat(simd, 0.0);
            for v in 0..VECTORS {
                let r = v * per_vector::<S>() + u;
                let q = lanes::<S, C, VECTORS>(simd, query, r);
                let e = lanes::<S, C, VECTORS>(simd, row, r);
                total = match C::SIMILARITY {
                    Similarity::Dot => q[0].times_plus(e[0], total),
                    similarity => total + similarity.term(q, e),
                };
            }
            *sum = total.values;
        }
        scores.next(simd);
    }
}

/// Overwrites `d_row` with Σ coefficient · ∂score/∂row over a row's pairs, slope aside, and adds
/// each coefficient · ∂score/∂query to its query's gradient.
#[inline(always)]
pub(super) fn grad_pairs<S: Simd, C: Compare, const VECTORS: usize>(
    simd: S,
    row: &[f32],
    pairs: &[Pair],
    coefficients: &[f32],
    (queries, d_queries): (&[f32], &mut [f32]),
    d_row: &mut [f32],
) {
    let part = VECTORS * per_vector::<S>();
    let row = registers::<S, C, VECTORS>(row);
    let d_row = &mut S::as_mut_simd_f32s(d_row).0[..C::PARTS * part];
    // In registers, where there are as many.
    let mut sums = [Vector::splat(simd, 0.0); REGISTERS];
    let near = C::PARTS * part <= REGISTERS;
    if !near {
        d_row.fill(simd.splat_f32s(0.0));
    }
    for (pair, &c) in pairs.iter().zip(coefficients) {
        if c == 0.0 {
            continue;
        }
        let c = Vector::splat(simd, c);
        let range = query::<C, VECTORS>(pair);
        let query = registers::<S, C, VECTORS>(&queries[range.clone()]);
        let d_query = &mut S::as_mut_simd_f32s(&mut d_queries[range]).0[..C::PARTS * part];
        for r in 0..part {
            let q = lanes::<S, C, VECTORS>(simd, query, r);
            let e = lanes::<S, C, VECTORS>(simd, row, r);
            let (dq, de) = C::SIMILARITY.gradients(q, e);
            for p in 0..C::PARTS {
                let at = p * part + r;
                d_query[at] = c.times_plus(dq[p], Vector::new(simd, d_query[at])).values;
                if near {
                    sums[at] = c.times_plus(de[p], sums[at]);
                } else {
                    d_row[at] = c.times_plus(de[p], Vector::new(simd, d_row[at])).values;
                }
            }
        }
    }
    if near {
        for at in 0..C::PARTS * part {
            d_row[at] = sums[at].values;
        }
    }
}
