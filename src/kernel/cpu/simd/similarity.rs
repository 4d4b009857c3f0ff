//! `score` and its derivatives for pairs, a segment of their lanes at a time.

use std::marker::PhantomData;

use pulp::{Simd, WithSimd};

use crate::kernel::cpu::simd::Folds;
use crate::kernel::cpu::simd::vector::Vector;
use crate::kernel::cpu::step::pairs::{Pair, SEGMENT, VECTOR};
use crate::model::{Lane, Similarity};

/// Registers that the gradient of a row may take.
const REGISTERS: usize = 8;

/// A similarity as a type, so that loops are compiled for it.
pub trait Compare {
    const SIMILARITY: Similarity;
    /// Values of a lane.
    const PARTS: usize;
    /// Vectors of a part of a packed segment.
    const VECTORS: usize = SEGMENT / (Self::PARTS * VECTOR);
}

/// A computation for one similarity and one instruction set; see [`visit`].
pub trait Compared {
    fn run<S: Simd, C: Compare>(self, simd: S);
}

struct Dispatch<T, C>(T, PhantomData<C>);

impl<T: Compared, C: Compare> WithSimd for Dispatch<T, C> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.0.run::<S, C>(simd);
    }
}

/// Runs a computation with a type for the similarity, if it is one of these.
macro_rules! visit {
    ($similarity:expr, $visitor:expr; $($name:ident: $parts:literal),+) => {
        match $similarity {
            $(Similarity::$name => {
                struct Kind;
                impl Compare for Kind {
                    const SIMILARITY: Similarity = Similarity::$name;
                    const PARTS: usize = $parts;
                }
                pulp::Arch::new().dispatch(Dispatch::<_, Kind>($visitor, PhantomData))
            })+
            #[allow(unreachable_patterns, reason = "some list them all")]
            _ => debug_assert!(false, "{:?} is compared elsewhere", $similarity),
        }
    };
}

/// Runs a computation for a similarity.
#[inline(always)]
pub fn visit(similarity: Similarity, visitor: impl Compared) {
    visit!(similarity, visitor; Dot: 1, NegativeL1: 1, NegativeL2: 1, NegativeModulus: 2);
}

/// The same for a similarity whose lanes are single values, as all are that are walked.
#[inline(always)]
pub fn visit_values(similarity: Similarity, visitor: impl Compared) {
    visit!(similarity, visitor; Dot: 1, NegativeL1: 1, NegativeL2: 1);
}

/// Where a packed query's segment lies.
#[inline(always)]
fn query(pair: &Pair) -> std::ops::Range<usize> {
    pair.query as usize * SEGMENT..(pair.query as usize + 1) * SEGMENT
}

/// The registers of a packed segment: those of the first part, then of the second.
#[inline(always)]
fn registers<S: Simd>(packed: &[f32]) -> &[S::f32s] {
    &S::as_simd_f32s(packed).0[..SEGMENT / S::F32_LANES]
}

/// Registers that hold a vector.
#[inline(always)]
const fn per_vector<S: Simd>() -> usize {
    VECTOR / S::F32_LANES
}

/// Lanes of register `r` of the first part.
#[inline(always)]
fn lanes<S: Simd, C: Compare>(simd: S, registers: &[S::f32s], r: usize) -> [Vector<S>; 2] {
    let first = Vector::new(simd, registers[r]);
    match C::PARTS {
        1 => [first, Vector::splat(simd, 0.0)],
        _ => [
            first,
            Vector::new(simd, registers[C::VECTORS * per_vector::<S>() + r]),
        ],
    }
}

/// Writes the segment's share of the scores of a row with its pairs.
#[inline(always)]
pub fn score_pairs<S: Simd, C: Compare>(
    simd: S,
    row: &[f32],
    pairs: &[Pair],
    queries: &[f32],
    scores: &mut Folds<'_>,
) {
    let row = registers::<S>(row);
    for pair in pairs {
        let query = &queries[query(pair)];
        let query = registers::<S>(query);
        // Sums side by side: as many on every processor.
        let all = S::as_mut_simd_f32s(scores.sums()).0;
        for (u, sum) in all.iter_mut().enumerate() {
            let mut total = Vector::splat(simd, 0.0);
            for v in 0..C::VECTORS {
                let r = v * per_vector::<S>() + u;
                let q = lanes::<S, C>(simd, query, r);
                let e = lanes::<S, C>(simd, row, r);
                total = C::SIMILARITY.add_term(C::PARTS, q, e, total);
            }
            *sum = total.values;
        }
        scores.next(simd);
    }
}

/// Overwrites `d_row` with Σ coefficient · ∂score/∂row over a row's pairs, slope aside, and adds
/// each coefficient · ∂score/∂query to its query's gradient.
#[inline(always)]
pub fn grad_pairs<S: Simd, C: Compare>(
    simd: S,
    row: &[f32],
    pairs: &[Pair],
    coefficients: &[f32],
    (queries, d_queries): (&[f32], &mut [f32]),
    d_row: &mut [f32],
) {
    let part = C::VECTORS * per_vector::<S>();
    let row = registers::<S>(row);
    let d_row = S::as_mut_simd_f32s(d_row).0;
    // The pairs are gone through for as many registers of each part at a time as sums fit in.
    let some = part.min(REGISTERS / C::PARTS);
    for first in (0..part).step_by(some) {
        let mut sums = [Vector::splat(simd, 0.0); REGISTERS];
        for (pair, &c) in pairs.iter().zip(coefficients) {
            if c == 0.0 {
                continue;
            }
            let c = Vector::splat(simd, c);
            let range = query(pair);
            let query = registers::<S>(&queries[range.clone()]);
            let d_query = &mut S::as_mut_simd_f32s(&mut d_queries[range]).0[..C::PARTS * part];
            for r in 0..some {
                let q = lanes::<S, C>(simd, query, first + r);
                let e = lanes::<S, C>(simd, row, first + r);
                let (k, dq, de) = C::SIMILARITY.gradients(c, q, e);
                for p in 0..C::PARTS {
                    let at = p * part + first + r;
                    d_query[at] = k.times_plus(dq[p], Vector::new(simd, d_query[at])).values;
                    sums[p * some + r] = k.times_plus(de[p], sums[p * some + r]);
                }
            }
        }
        for p in 0..C::PARTS {
            for r in 0..some {
                d_row[p * part + first + r] = sums[p * some + r].values;
            }
        }
    }
}
