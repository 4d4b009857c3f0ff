//! Steps with sampled candidates whose rows stay in the second-level cache while their query is at
//! work: each query walks its candidates, then each row its queries.
//!
//! Both walks write only what is their own, and sums stay in registers. The derivative of every pair
//! is worked out twice, which is cheap but for the modulus. Sums run in the order in which a query's
//! candidates and a row's places are listed, whatever the number of threads. Wider rows go by
//! [`sampled`](crate::kernel::cpu::step::sampled_by_row).
//!
//! A [whole step](crate::kernel::cpu::step::fused_update) reads rows where the table has them, and applies the optimizer to each as
//! soon as its gradient is summed: neither rows nor gradients of entities are copied.

mod rows;

use pulp::Simd;
use rayon::prelude::*;

pub use self::rows::{RowBlock, RowWalk};
use crate::kernel::StepSpec;
use crate::kernel::cpu::BLOCK;
use crate::kernel::cpu::simd::Folds;
use crate::kernel::cpu::simd::similarity::{Compare, Compared, visit_values};
use crate::kernel::cpu::simd::vector::Vector;
use crate::kernel::cpu::stages::forward::loss::loss;
use crate::kernel::cpu::step::Workspace;
use crate::kernel::cpu::step::context::{Block, Geometry, PlanRows};
use crate::kernel::cpu::step::pairs::VECTOR;
use crate::kernel::cpu::table::prefetch::prefetch_row;
use crate::loss::MASKED;
use crate::model::{Lane, Similarity};
use crate::sampler::{Candidates, Plan};

/// Bytes that a query's candidates may take.
const NEAR: usize = 256 << 10;
/// Rows that are asked for ahead of their use.
const AHEAD: usize = 8;
/// Registers whose sums are taken side by side, at most.
const REGISTERS: usize = 8;

/// Whether a step goes this way.
pub fn takes(spec: &StepSpec, plan: &Plan, width: usize) -> bool {
    let bytes = size_of::<f32>() * width * plan.sampled_width();
    spec.model.similarity() != Similarity::NegativeModulus
        && spec.candidate_dropout == 0.0
        && bytes <= NEAR
}

/// The pairs of a row of either side, in an order of their own.
trait Pairs {
    /// Calls `run` with the coefficient, which is not zero, and the other side's row of each.
    fn each(&self, run: impl FnMut(f32, u32));
}

/// The candidates of a query.
struct CandidatePairs<'a> {
    coefficients: &'a [f32],
    rows: &'a [u32],
}

impl Pairs for CandidatePairs<'_> {
    #[inline(always)]
    fn each(&self, mut run: impl FnMut(f32, u32)) {
        for (&coefficient, &row) in self.coefficients.iter().zip(self.rows) {
            if coefficient != 0.0 {
                run(coefficient, row);
            }
        }
    }
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

impl Workspace {
    /// Forward, and backward but for the rows of candidates.
    pub fn walk_candidates(
        &mut self,
        spec: &StepSpec,
        plan: &Plan,
        step: &Geometry,
        rows: PlanRows<'_>,
    ) {
        let (n, ew, cw) = (self.count, step.ew, step.cw);
        let candidates = plan.sampled_width();
        let relations = &self.relations[..];
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
                step.forward(plan, rows, relations, &mut block);
                let walk = QueryWalk {
                    spec,
                    plan,
                    rows,
                    width: ew,
                    block: &mut block,
                };
                visit_values(spec.model.similarity(), walk);
                step.backward(plan, rows, relations, &mut block);
            });
    }
}

/// Some queries on their walk along their candidates.
struct QueryWalk<'a, 'b> {
    spec: &'a StepSpec,
    plan: &'a Plan,
    rows: PlanRows<'a>,
    width: usize,
    block: &'a mut Block<'b>,
}

impl Compared for QueryWalk<'_, '_> {
    #[inline(always)]
    fn run<S: Simd, C: Compare>(self, simd: S) {
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
        let (rows, block, candidates) = (self.rows, self.block, negatives + 1);
        let mut found = Vec::with_capacity(block.losses.len() * candidates);
        for q in block.first..block.first + block.losses.len() {
            found.push(plan.queries[q].target);
            found.extend_from_slice(&slots[q / chunk * negatives..][..*negatives]);
        }
        rows.locate(&mut found);
        let mut slopes = Vec::new();
        for (i, value) in block.losses.iter_mut().enumerate() {
            let q = block.first + i;
            let query = &block.queries[i * width..][..width];
            let own = i * candidates..(i + 1) * candidates;
            let scores = &mut block.scores[own.clone()];
            let mut folds = Folds::new(scores);
            for j in own.clone() {
                // Those of the next query, too, which come while this one's loss is worked out.
                if let Some(&later) = found.get(j + AHEAD) {
                    prefetch_row(rows.at(later));
                }
                score::<S, C>(simd, query, rows.at(found[j]), folds.sums());
                folds.next(simd);
            }
            folds.finish();
            for score in scores.iter_mut() {
                *score = C::SIMILARITY.finish(*score);
            }
            if !masks.is_empty() {
                for (j, score) in scores[1..].iter_mut().enumerate() {
                    if masks[q * words + j / 32] >> (j % 32) & 1 == 1 {
                        *score = MASKED as f32;
                    }
                }
            }
            let weight = plan.weights[q];
            *value = loss(&spec.loss, C::SIMILARITY, scores, &[0], weight, &mut slopes);
            let pairs = CandidatePairs {
                coefficients: scores,
                rows: &found[own],
            };
            let gradient = &mut block.d_queries[i * width..][..width];
            sum_gradients::<S, C>(simd, query, &pairs, |row| rows.at(row), gradient);
        }
    }
}

/// The score of a pair: sums side by side, as many on every processor.
#[inline(always)]
fn score<S: Simd, C: Compare>(simd: S, query: &[f32], row: &[f32], sums: &mut [f32; VECTOR]) {
    let per_vector = VECTOR / S::F32_LANES;
    let whole = query.len() / VECTOR * VECTOR;
    let (q, q_rest) = query.split_at(whole);
    let (e, e_rest) = row.split_at(whole);
    let (q, e) = (S::as_simd_f32s(q).0, S::as_simd_f32s(e).0);
    for (u, sum) in S::as_mut_simd_f32s(sums).0.iter_mut().enumerate() {
        let mut total = zero(simd);
        for (q, e) in q.chunks_exact(per_vector).zip(e.chunks_exact(per_vector)) {
            let (q, e) = (Vector::new(simd, q[u]), Vector::new(simd, e[u]));
            total = C::SIMILARITY.add_term(1, [q, zero(simd)], [e, zero(simd)], total);
        }
        *sum = total.values;
    }
    for ((sum, &q), &e) in sums.iter_mut().zip(q_rest).zip(e_rest) {
        *sum += C::SIMILARITY.term([q, 0.0], [e, 0.0]);
    }
}

#[inline(always)]
fn zero<S: Simd>(simd: S) -> Vector<S> {
    Vector::splat(simd, 0.0)
}

/// Overwrites `out` with Σ coefficient · ∂score/∂own over pairs of `own` and `other` rows, slope
/// aside. Every similarity is symmetric, so it does not matter which of them is the query.
#[inline(always)]
fn sum_gradients<'a, S: Simd, C: Compare>(
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
                let mut sums = [zero(simd); $registers];
                pairs.each(
                    #[inline(always)]
                    |c, row| {
                        let c = Vector::splat(simd, c);
                        let other = &S::as_simd_f32s(other(row)).0[first..][..$registers];
                        for r in 0..$registers {
                            sums[r] = add_gradient::<S, C>(simd, c, own[r], other[r], sums[r]);
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
        let mut sum = zero(simd);
        pairs.each(
            #[inline(always)]
            |c, row| {
                let c = Vector::splat(simd, c);
                let other = simd.partial_load_f32s(&other(row)[width - own_rest.len()..]);
                sum = add_gradient::<S, C>(simd, c, own, other, sum);
            },
        );
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
