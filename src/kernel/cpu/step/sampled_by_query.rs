//! Steps with sampled candidates whose rows stay in the second-level cache while their query is at
//! work: each query goes along its candidates, then each row along its queries.
//!
//! Both passes write only their own rows, and sums stay in registers. The derivative of every pair is
//! worked out twice, which is cheap but for the modulus. Sums run in the order in which a query's
//! candidates and a row's places are listed, whatever the number of threads.

use pulp::Simd;
use rayon::prelude::*;

use crate::kernel::StepSpec;
use crate::kernel::cpu::BLOCK;
use crate::kernel::cpu::simd::Folds;
use crate::kernel::cpu::simd::similarity::{
    SimilarityTask, SimilarityType, dispatch_single_values,
};
use crate::kernel::cpu::stages::gradients::grad_query::{Pairs, REGISTERS, sum_gradients};
use crate::kernel::cpu::stages::scores::loss::loss;
use crate::kernel::cpu::stages::scores::score::score_row;
use crate::kernel::cpu::step::Workspace;
use crate::kernel::cpu::step::context::{PlanRows, QueryBlock, StepContext};
use crate::kernel::cpu::table::prefetch::{L1, prefetch};
use crate::loss::MASKED;
use crate::sampler::{Candidates, Place, Plan};

/// Rows that are prefetched ahead of their use.
const PREFETCH_ROWS: usize = 8;

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

impl Workspace {
    /// Forward, and backward up to the gradients of queries and relations. Leaves the coefficients of
    /// all pairs for [`CandidateGradients`].
    pub fn sampled_by_query(
        &mut self,
        spec: &StepSpec,
        plan: &Plan,
        step: &StepContext,
        rows: PlanRows<'_>,
    ) {
        let (n, entity_width, contribution_width) =
            (self.count, step.entity_width, step.contribution_width);
        let candidates = plan.sampled_width();
        let relations = &self.relations[..];
        (self.coefficients.resize_for_overwrite(n * candidates))
            .par_chunks_mut(BLOCK * candidates)
            .zip(self.queries[..n * entity_width].par_chunks_mut(BLOCK * entity_width))
            .zip(self.d_queries[..n * entity_width].par_chunks_mut(BLOCK * entity_width))
            .zip(self.d_inputs[..n * entity_width].par_chunks_mut(BLOCK * entity_width))
            .zip(
                self.d_relations[..n * contribution_width]
                    .par_chunks_mut(BLOCK * contribution_width),
            )
            .zip(self.losses[..n].par_chunks_mut(BLOCK))
            .enumerate()
            .for_each(|(b, (((((scores, q), dq), de), dr), losses))| {
                let mut block = QueryBlock {
                    first: b * BLOCK,
                    queries: q,
                    d_queries: dq,
                    d_inputs: de,
                    d_relations: dr,
                    scores,
                    losses,
                };
                step.forward(plan, rows, relations, &mut block);
                let pass = QueryPass {
                    spec,
                    plan,
                    rows,
                    width: entity_width,
                    block: &mut block,
                };
                dispatch_single_values(spec.model.similarity(), pass);
                step.backward(plan, rows, relations, &mut block);
            });
    }
}

/// The pass of a block of queries along their candidates.
struct QueryPass<'a, 'b> {
    spec: &'a StepSpec,
    plan: &'a Plan,
    rows: PlanRows<'a>,
    width: usize,
    block: &'a mut QueryBlock<'b>,
}

impl SimilarityTask for QueryPass<'_, '_> {
    #[inline(always)]
    fn run<S: Simd, C: SimilarityType>(self, simd: S) {
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
                // Rows of the next query, too, which arrive during this one's loss.
                if let Some(&later) = found.get(j + PREFETCH_ROWS) {
                    prefetch::<_, L1>(rows.at(later));
                }
                score_row::<S, C>(simd, query, rows.at(found[j]), folds.sums());
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

/// The second pass: gradients of unique rows as candidates, each along its queries.
pub struct CandidateGradients<'a> {
    pub plan: &'a Plan,
    /// Values of a row.
    pub width: usize,
    /// Query vectors: queries × width.
    pub queries: &'a [f32],
    /// ∂loss/∂score, times the slope: queries × candidates.
    pub coefficients: &'a [f32],
}

impl CandidateGradients<'_> {
    /// Overwrites `out` with the gradient of the unique row at position `i`, whose values are `row`.
    /// `listed` is scratch memory.
    #[inline(always)]
    pub fn sum<S: Simd, C: SimilarityType>(
        &self,
        simd: S,
        i: usize,
        row: &[f32],
        listed: &mut Vec<(f32, u32)>,
        out: &mut [f32],
    ) {
        let Candidates::Sampled {
            chunk, negatives, ..
        } = self.plan.candidates
        else {
            return;
        };
        let pairs = PlacePairs {
            places: self.plan.entities.places_of(i),
            chunk,
            negatives,
            queries: self.plan.queries.len(),
            coefficients: self.coefficients,
        };
        let query = |q: u32| &self.queries[q as usize * self.width..][..self.width];
        if row.len() <= REGISTERS * S::F32_LANES {
            sum_gradients::<S, C>(simd, row, &pairs, query, out);
        } else {
            // The pairs are gone through several times.
            listed.clear();
            pairs.each(|c, q| listed.push((c, q)));
            sum_gradients::<S, C>(simd, row, &listed[..], query, out);
        }
    }
}

/// The queries that a row is a candidate of, by its places.
struct PlacePairs<'a> {
    places: &'a [u32],
    chunk: usize,
    negatives: usize,
    queries: usize,
    coefficients: &'a [f32],
}

impl Pairs for PlacePairs<'_> {
    #[inline(always)]
    fn each(&self, mut run: impl FnMut(f32, u32)) {
        for &word in self.places {
            let (queries, candidate) = match Place::unpack(word) {
                Place::Slot(s) => {
                    // Words divide faster than sizes.
                    let negatives = self.negatives as u32;
                    let (c, j) = (s / negatives, s % negatives);
                    let first = c as usize * self.chunk;
                    (first..self.queries.min(first + self.chunk), 1 + j as usize)
                }
                Place::Positive(q) => (q as usize..q as usize + 1, 0),
                Place::Input(_) | Place::Pair(_) => continue,
            };
            // Called in one place only, so that it is taken in.
            for q in queries {
                let coefficient = self.coefficients[q * (self.negatives + 1) + candidate];
                if coefficient != 0.0 {
                    run(coefficient, q as u32);
                }
            }
        }
    }
}
