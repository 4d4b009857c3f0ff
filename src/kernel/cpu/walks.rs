//! Steps with sampled candidates whose rows stay in the second-level cache while their query is at
//! work: each query walks its candidates, then each row its queries.
//!
//! Both walks write only what is their own, and sums stay in registers. The derivative of every pair
//! is worked out twice, which is cheap but for the modulus. Sums run in the order in which a query's
//! candidates and a row's places are listed, whatever the number of threads. Wider rows go by
//! [`sampled`](super::sampled).

use pulp::Simd;
use rayon::prelude::*;

use super::block::{Block, Geometry};
use super::loss::loss;
use super::memory::prefetch_row;
use super::pairs::VECTOR;
use super::score_pairs::{Compare, Compared, visit};
use super::simd::{fold, simd as vectorised};
use super::vector::Vector;
use super::{BLOCK, Workspace};
use crate::kernel::StepSpec;
use crate::loss::MASKED;
use crate::model::Similarity;
use crate::sampler::{Candidates, Place, Plan};

/// Bytes that a query's candidates may take.
const NEAR: usize = 256 << 10;
/// Rows that are asked for ahead of their use.
const AHEAD: usize = 8;
/// Registers whose sums are taken side by side.
const REGISTERS: usize = 8;

/// Whether a step goes this way.
pub(super) fn takes(spec: &StepSpec, plan: &Plan, width: usize) -> bool {
    let bytes = size_of::<f32>() * width * plan.sampled_width();
    spec.model.similarity() != Similarity::NegativeModulus
        && spec.candidate_dropout == 0.0
        && bytes <= NEAR
}

/// Coefficient and row of the other side of a pair.
type Pair = (f32, u32);

impl Workspace {
    /// Forward, and backward but for the rows of candidates.
    pub(super) fn walk_candidates(&mut self, spec: &StepSpec, plan: &Plan, step: &Geometry) {
        let (n, ew, cw) = (self.count, step.ew, step.cw);
        let candidates = plan.sampled_width();
        let (pulled, relations) = (&self.entities[..], &self.relations[..]);
        (self.coefficients.room(n * candidates))
            .par_chunks_mut(BLOCK * candidates)
            .zip(self.queries[..n * ew].par_chunks_mut(BLOCK * ew))
            .zip(self.d_queries[..n * ew].par_chunks_mut(BLOCK * ew))
            .zip(self.d_inputs[..n * ew].par_chunks_mut(BLOCK * ew))
            .zip(self.d_relations[..n * cw].par_chunks_mut(BLOCK * cw))
            .zip(self.losses[..n].par_chunks_mut(BLOCK))
            .enumerate()
            .for_each(|(b, (((((scores, q), dq), de), dr), losses))| {
                let mut block = Block {
                    first: b * BLOCK,
                    queries: q,
                    d_queries: dq,
                    d_inputs: de,
                    d_relations: dr,
                    scores,
                    losses,
                };
                step.forward(plan, pulled, relations, &mut block);
                let walk = QueryWalk {
                    spec,
                    plan,
                    rows: pulled,
                    width: ew,
                    block: &mut block,
                };
                visit(spec.model.similarity(), 1, walk);
                step.backward(plan, pulled, relations, &mut block);
            });
    }
}

/// Some queries on their walk along their candidates.
struct QueryWalk<'a, 'b> {
    spec: &'a StepSpec,
    plan: &'a Plan,
    rows: &'a [f32],
    width: usize,
    block: &'a mut Block<'b>,
}

impl Compared for QueryWalk<'_, '_> {
    #[inline(always)]
    fn run<S: Simd, C: Compare, const VECTORS: usize>(self, simd: S) {
        let (spec, plan, width) = (self.spec, self.plan, self.width);
        let Candidates::Sampled {
            chunk,
            negatives,
            slots,
            masks,
        } = &plan.candidates
        else {
            return;
        };
        let words = negatives.div_ceil(32);
        let row = |row: u32| &self.rows[row as usize * width..][..width];
        let (mut found, mut pairs, mut slopes) = (Vec::new(), Vec::new(), Vec::new());
        let block = self.block;
        for (i, value) in block.losses.iter_mut().enumerate() {
            let q = block.first + i;
            let query = &block.queries[i * width..][..width];
            found.clear();
            found.push(plan.queries[q].target);
            found.extend_from_slice(&slots[q / chunk * negatives..][..*negatives]);
            let scores = &mut block.scores[i * (negatives + 1)..][..negatives + 1];
            for (j, score) in scores.iter_mut().enumerate() {
                if let Some(&later) = found.get(j + AHEAD) {
                    prefetch_row(row(later));
                }
                *score = score_of::<S, C>(simd, query, row(found[j]));
            }
            if !masks.is_empty() {
                for (j, score) in scores[1..].iter_mut().enumerate() {
                    if masks[q * words + j / 32] >> (j % 32) & 1 == 1 {
                        *score = MASKED as f32;
                    }
                }
            }
            let weight = plan.weights[q];
            // Vectorised as a function of its own, which it is not as a part of this one.
            *value = vectorised(
                #[inline(always)]
                || loss(&spec.loss, C::SIMILARITY, scores, &[0], weight, &mut slopes),
            );
            pairs.clear();
            let all = scores.iter().copied().zip(found.iter().copied());
            pairs.extend(all.filter(|pair| pair.0 != 0.0));
            let gradient = &mut block.d_queries[i * width..][..width];
            sum_gradients::<S, C>(simd, query, (&pairs, self.rows), gradient);
        }
    }
}

/// Some rows on their walk along the queries that they are candidates of.
pub(super) struct RowWalk<'a> {
    pub plan: &'a Plan,
    /// The first row.
    pub first: usize,
    pub rows: &'a [f32],
    pub width: usize,
    pub queries: &'a [f32],
    /// Queries × candidates.
    pub coefficients: &'a [f32],
    /// Overwritten.
    pub gradients: &'a mut [f32],
}

impl Compared for RowWalk<'_> {
    #[inline(always)]
    fn run<S: Simd, C: Compare, const VECTORS: usize>(self, simd: S) {
        let (plan, width) = (self.plan, self.width);
        let Candidates::Sampled {
            chunk, negatives, ..
        } = plan.candidates
        else {
            return;
        };
        let mut pairs: Vec<Pair> = Vec::new();
        for (i, gradient) in self.gradients.chunks_exact_mut(width).enumerate() {
            pairs.clear();
            let mut add = |q: usize, candidate: usize| {
                let coefficient = self.coefficients[q * (negatives + 1) + candidate];
                if coefficient != 0.0 {
                    pairs.push((coefficient, q as u32));
                }
            };
            for &word in plan.entities.places_of(self.first + i) {
                match Place::unpack(word) {
                    Place::Input(_) | Place::Pair(_) => {}
                    Place::Positive(q) => add(q as usize, 0),
                    Place::Slot(s) => {
                        // Words divide faster than sizes.
                        let (c, j) = (s / negatives as u32, s % negatives as u32);
                        let first = c as usize * chunk;
                        let queries = first..plan.queries.len().min(first + chunk);
                        queries.for_each(|q| add(q, 1 + j as usize));
                    }
                }
            }
            let row = &self.rows[(self.first + i) * width..][..width];
            sum_gradients::<S, C>(simd, row, (&pairs, self.queries), gradient);
        }
    }
}

/// The score of a pair.
#[inline(always)]
fn score_of<S: Simd, C: Compare>(simd: S, query: &[f32], row: &[f32]) -> f32 {
    // Sums side by side, as many on every processor.
    let per_vector = VECTOR / S::F32_LANES;
    let whole = query.len() / VECTOR * VECTOR;
    let (q, q_rest) = query.split_at(whole);
    let (e, e_rest) = row.split_at(whole);
    let (q, e) = (S::as_simd_f32s(q).0, S::as_simd_f32s(e).0);
    let mut sums = [0.0f32; VECTOR];
    for (u, sum) in S::as_mut_simd_f32s(&mut sums).0.iter_mut().enumerate() {
        let mut total = Vector::splat(simd, 0.0);
        for (q, e) in q.chunks_exact(per_vector).zip(e.chunks_exact(per_vector)) {
            let (q, e) = (Vector::new(simd, q[u]), Vector::new(simd, e[u]));
            total = match C::SIMILARITY {
                Similarity::Dot => q.times_plus(e, total),
                similarity => total + similarity.term([q, zero(simd)], [e, zero(simd)]),
            };
        }
        *sum = total.values;
    }
    for ((sum, &q), &e) in sums.iter_mut().zip(q_rest).zip(e_rest) {
        *sum += C::SIMILARITY.term([q, 0.0], [e, 0.0]);
    }
    C::SIMILARITY.finish(fold(sums))
}

#[inline(always)]
fn zero<S: Simd>(simd: S) -> Vector<S> {
    Vector::splat(simd, 0.0)
}

/// Overwrites `out` with Σ coefficient · ∂score/∂own over pairs of `own` and rows of `others`, slope
/// aside. Every similarity is symmetric, so it does not matter which of them is the query.
#[inline(always)]
fn sum_gradients<S: Simd, C: Compare>(
    simd: S,
    own: &[f32],
    (pairs, others): (&[Pair], &[f32]),
    out: &mut [f32],
) {
    let width = own.len();
    let (registers, rest) = S::as_simd_f32s(own);
    let (sums, out_rest) = S::as_mut_simd_f32s(out);
    let other = |row: u32| &others[row as usize * width..][..width];
    let (blocks, single) = registers.as_chunks::<REGISTERS>();
    let (block_sums, single_sums) = sums.as_chunks_mut::<REGISTERS>();
    for (b, (own, out)) in blocks.iter().zip(block_sums).enumerate() {
        let mut sums = [zero(simd); REGISTERS];
        for &(c, row) in pairs {
            let c = Vector::splat(simd, c);
            let other = &S::as_simd_f32s(other(row)).0[b * REGISTERS..][..REGISTERS];
            for r in 0..REGISTERS {
                sums[r] = add_gradient::<S, C>(simd, c, own[r], other[r], sums[r]);
            }
        }
        for r in 0..REGISTERS {
            out[r] = sums[r].values;
        }
    }
    let first = blocks.len() * REGISTERS;
    for (r, (own, out)) in single.iter().zip(single_sums).enumerate() {
        let mut sum = zero(simd);
        for &(c, row) in pairs {
            let c = Vector::splat(simd, c);
            let other = S::as_simd_f32s(other(row)).0[first + r];
            sum = add_gradient::<S, C>(simd, c, *own, other, sum);
        }
        *out = sum.values;
    }
    if !rest.is_empty() {
        let own = simd.partial_load_f32s(rest);
        let mut sum = zero(simd);
        for &(c, row) in pairs {
            let c = Vector::splat(simd, c);
            let other = simd.partial_load_f32s(&other(row)[width - rest.len()..]);
            sum = add_gradient::<S, C>(simd, c, own, other, sum);
        }
        simd.partial_store_f32s(out_rest, sum.values);
    }
}

/// `sum` + `c` · ∂score/∂own of some lanes.
#[inline(always)]
fn add_gradient<S: Simd, C: Compare>(
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
    let [d, _] = C::SIMILARITY.gradient([own, zero(simd)], [other, zero(simd)]);
    c.times_plus(d, sum)
}
