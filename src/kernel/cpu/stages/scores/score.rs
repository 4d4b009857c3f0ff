//! `score`: a query against single candidate rows.
//!
//! [`score`] takes rows as they are, for any operator. [`score_row`] and [`score_pairs`] are the loops
//! of training, in registers: with sums side by side that the caller folds, many at a time.

use pulp::Simd;

use crate::kernel::cpu::simd::similarity::SimilarityType;
use crate::kernel::cpu::simd::vector::Vector;
use crate::kernel::cpu::simd::{Folds, LANES, sum2, sum4};
use crate::kernel::cpu::table::segments::{lanes, packed_query, per_vector, registers, vectors};
use crate::model::{Lanes, Operator, lane_count};

/// The score of a query against a candidate row.
#[inline(always)]
pub fn score<O: Operator>(query: &[f32], candidate: &[f32]) -> f32 {
    let similarity = O::SIMILARITY;
    let lanes = lane_count(O::ENTITY, query.len());
    similarity.finish(if O::ENTITY == Lanes::Complex {
        let (q0, q1) = query.split_at(lanes);
        let (c0, c1) = candidate[..query.len()].split_at(lanes);
        sum4([q0, q1], [c0, c1], |q, c| similarity.term(q, c))
    } else {
        sum2(query, &candidate[..query.len()], |q, c| {
            similarity.term([q, 0.0], [c, 0.0])
        })
    })
}

/// A query and a row that it is scored against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Number of the query in the plan.
    pub query: u32,
    /// Place of the score: query · candidates + candidate.
    pub cell: u32,
}

/// Overwrites `sums` with the terms of a pair's score, added up side by side: as many sums on every
/// processor.
#[inline(always)]
pub fn score_row<S: Simd, C: SimilarityType>(
    simd: S,
    query: &[f32],
    row: &[f32],
    sums: &mut [f32; LANES],
) {
    let per_vector = LANES / S::F32_LANES;
    let whole = query.len() / LANES * LANES;
    let (q, q_rest) = query.split_at(whole);
    let (e, e_rest) = row.split_at(whole);
    let (q, e) = (S::as_simd_f32s(q).0, S::as_simd_f32s(e).0);
    for (u, sum) in S::as_mut_simd_f32s(sums).0.iter_mut().enumerate() {
        let mut total = Vector::splat(simd, 0.0);
        for (q, e) in q.chunks_exact(per_vector).zip(e.chunks_exact(per_vector)) {
            let (q, e) = (Vector::new(simd, q[u]), Vector::new(simd, e[u]));
            total = C::SIMILARITY.add_term(
                1,
                [q, Vector::splat(simd, 0.0)],
                [e, Vector::splat(simd, 0.0)],
                total,
            );
        }
        *sum = total.values;
    }
    for ((sum, &q), &e) in sums.iter_mut().zip(q_rest).zip(e_rest) {
        *sum += C::SIMILARITY.term([q, 0.0], [e, 0.0]);
    }
}

/// Writes a segment's share of the scores of a row's pairs: one value a pair.
#[inline(always)]
pub fn score_pairs<S: Simd, C: SimilarityType>(
    simd: S,
    row: &[f32],
    pairs: &[Pair],
    queries: &[f32],
    scores: &mut Folds<'_>,
) {
    let row = registers::<S>(row);
    for pair in pairs {
        let query = &queries[packed_query(pair.query)];
        let query = registers::<S>(query);
        // Sums side by side: as many on every processor.
        let all = S::as_mut_simd_f32s(scores.sums()).0;
        for (u, sum) in all.iter_mut().enumerate() {
            let mut total = Vector::splat(simd, 0.0);
            for v in 0..vectors::<C>() {
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
