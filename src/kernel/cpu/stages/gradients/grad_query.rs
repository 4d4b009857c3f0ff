//! `grad_query`: ∂loss/∂query from the coefficients of sampled candidates; and, since every
//! similarity is symmetric, ∂loss/∂candidate from those of its queries.

use pulp::Simd;

use crate::kernel::cpu::simd::similarity::SimilarityType;
use crate::kernel::cpu::simd::vector::Vector;
use crate::kernel::cpu::stages::scores::score::Pair;
use crate::kernel::cpu::table::segments::{lanes, packed_query, per_vector, registers, vectors};
use crate::model::{Lane, Lanes, Operator, Similarity, lane_count};

/// Registers that the gradient of a row may take.
pub const REGISTERS: usize = 8;

/// Adds `coefficient` · ∂score/∂query (slope aside) to `gradient`. By symmetry of every
/// similarity, with query and candidate exchanged it is ∂score/∂candidate.
#[inline(always)]
pub fn add_gradient<O: Operator>(
    coefficient: f32,
    query: &[f32],
    candidate: &[f32],
    gradient: &mut [f32],
) {
    let similarity = O::SIMILARITY;
    let lanes = lane_count(O::ENTITY, query.len());
    if O::ENTITY == Lanes::Complex {
        let (q0, q1) = query.split_at(lanes);
        let (c0, c1) = candidate[..query.len()].split_at(lanes);
        let (g0, g1) = gradient[..query.len()].split_at_mut(lanes);
        for k in 0..lanes {
            let d = similarity.gradient([q0[k], q1[k]], [c0[k], c1[k]]);
            g0[k] += coefficient * d[0];
            g1[k] += coefficient * d[1];
        }
    } else {
        let candidate = &candidate[..query.len()];
        let gradient = &mut gradient[..query.len()];
        for k in 0..query.len() {
            gradient[k] +=
                coefficient * similarity.gradient([query[k], 0.0], [candidate[k], 0.0])[0];
        }
    }
}

/// The pairs of a row of either side, in an order of their own.
pub trait Pairs {
    /// Calls `run` with the coefficient, which is not zero, and the other side's row of each.
    fn each(&self, run: impl FnMut(f32, u32));
}

/// Pairs that have been listed.
impl Pairs for [(f32, u32)] {
    #[inline(always)]
    fn each(&self, mut run: impl FnMut(f32, u32)) {
        for &(coefficient, row) in self {
            run(coefficient, row);
        }
    }
}

/// Overwrites `out` with Σ coefficient · ∂score/∂own over pairs of `own` and `other` rows, slope
/// aside. `own` may be the query or the candidate: every similarity is symmetric.
#[inline(always)]
pub fn sum_gradients<'a, S: Simd, C: SimilarityType>(
    simd: S,
    own: &[f32],
    pairs: &(impl Pairs + ?Sized),
    other: impl Fn(u32) -> &'a [f32],
    out: &mut [f32],
) {
    let width = own.len();
    let (own, own_rest) = S::as_simd_f32s(own);
    let (out, out_rest) = S::as_mut_simd_f32s(out);
    let mut first = 0;
    // As many registers at a time as may be, since the pairs are gone through for each.
    macro_rules! blocks {
        ($($registers:literal),+) => {$(
            while let Some(own) = own[first..].first_chunk::<$registers>() {
                let mut sums = [Vector::splat(simd, 0.0); $registers];
                pairs.each(
                    #[inline(always)]
                    |c, row| {
                        let c = Vector::splat(simd, c);
                        let other = &S::as_simd_f32s(other(row)).0[first..][..$registers];
                        for r in 0..$registers {
                            sums[r] = add_gradient_lanes::<S, C>(simd, c, own[r], other[r], sums[r]);
                        }
                    },
                );
                for (out, sum) in out[first..].iter_mut().zip(sums) {
                    *out = sum.values;
                }
                first += $registers;
            }
        )+};
    }
    blocks!(8, 4, 2, 1);
    if !own_rest.is_empty() {
        let own = simd.partial_load_f32s(own_rest);
        let mut sum = Vector::splat(simd, 0.0);
        pairs.each(
            #[inline(always)]
            |c, row| {
                let c = Vector::splat(simd, c);
                let other = simd.partial_load_f32s(&other(row)[width - own_rest.len()..]);
                sum = add_gradient_lanes::<S, C>(simd, c, own, other, sum);
            },
        );
        simd.partial_store_f32s(out_rest, sum.values);
    }
}

/// `sum` + `c` · ∂score/∂own of some lanes.
#[inline(always)]
fn add_gradient_lanes<S: Simd, C: SimilarityType>(
    simd: S,
    c: Vector<S>,
    own: S::f32s,
    other: S::f32s,
    sum: Vector<S>,
) -> Vector<S> {
    if C::SIMILARITY == Similarity::NegativeL1 {
        // The coefficient with the sign of the difference, in fewer instructions than their product.
        let d = simd.sub_f32s(other, own);
        let sign = simd.and_f32s(d, simd.splat_f32s(-0.0));
        let more = sum + Vector::new(simd, simd.xor_f32s(c.values, sign));
        let equal = simd.equal_f32s(d, simd.splat_f32s(0.0));
        return Vector::new(simd, simd.select_f32s(equal, sum.values, more.values));
    }
    let (own, other) = (Vector::new(simd, own), Vector::new(simd, other));
    let [d, _] = C::SIMILARITY.gradient(
        [own, Vector::splat(simd, 0.0)],
        [other, Vector::splat(simd, 0.0)],
    );
    c.times_plus(d, sum)
}
/// Overwrites `d_row` with Σ coefficient · ∂score/∂row over a row's pairs, slope aside, and adds
/// each coefficient · ∂score/∂query to its query's gradient.
#[inline(always)]
pub fn grad_pairs<S: Simd, C: SimilarityType>(
    simd: S,
    row: &[f32],
    pairs: &[Pair],
    coefficients: &[f32],
    queries: &[f32],
    d_queries: &mut [f32],
    d_row: &mut [f32],
) {
    let part = vectors::<C>() * per_vector::<S>();
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
            let range = packed_query(pair.query);
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
