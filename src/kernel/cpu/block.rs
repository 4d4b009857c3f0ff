//! A block of queries, or of unique rows, that one task works on.

use super::dropout::Dropout;
use super::grad_rows::{Contributions, grad_masked_rows, grad_rows};
use super::loss::loss;
use super::query::query;
use super::query_backward::query_backward;
use super::score::{add_gradient, score};
use super::simd::simd;
use crate::kernel::StepSpec;
use crate::loss::MASKED;
use crate::model::{Operator, Visitor};
use crate::sampler::{Candidates, Plan, Query};

/// What every block of a step shares.
pub(super) struct Geometry {
    pub spec: StepSpec,
    pub dropout: Dropout,
    /// Widths of entity and relation rows.
    pub ew: usize,
    pub rw: usize,
}

/// A block of consecutive queries and its slices of the step's buffers.
pub(super) struct Block<'a> {
    pub first: usize,
    pub queries: &'a mut [f32],
    pub d_queries: &'a mut [f32],
    pub d_inputs: &'a mut [f32],
    pub d_relations: &'a mut [f32],
    pub scores: &'a mut [f32],
    pub losses: &'a mut [f32],
}

impl Geometry {
    fn rows<'a>(
        &self,
        query: &Query,
        entities: &'a [f32],
        relations: &'a [f32],
    ) -> (&'a [f32], &'a [f32], bool) {
        (
            &entities[query.entity as usize * self.ew..][..self.ew],
            &relations[query.relation as usize * self.rw..][..self.rw],
            query.inverse == 1,
        )
    }

    pub fn forward(&self, plan: &Plan, entities: &[f32], relations: &[f32], block: &mut Block) {
        let model = self.spec.model;
        simd(
            #[inline(always)]
            || {
                for (i, out) in block.queries.chunks_exact_mut(self.ew).enumerate() {
                    let q = block.first + i;
                    let rows = self.rows(&plan.queries[q], entities, relations);
                    query(model, &self.dropout, q as u32, rows, out);
                }
            },
        );
    }

    pub fn backward(&self, plan: &Plan, entities: &[f32], relations: &[f32], block: &mut Block) {
        let model = self.spec.model;
        simd(
            #[inline(always)]
            || {
                let outputs = block
                    .d_inputs
                    .chunks_exact_mut(self.ew)
                    .zip(block.d_relations.chunks_exact_mut(self.rw));
                for (i, (de, dr)) in outputs.enumerate() {
                    let q = block.first + i;
                    let rows = self.rows(&plan.queries[q], entities, relations);
                    let dq = &block.d_queries[i * self.ew..][..self.ew];
                    query_backward(model, &self.dropout, q as u32, rows, dq, de, dr);
                }
            },
        );
    }
}

pub(super) struct SampledBlock<'a> {
    pub step: &'a Geometry,
    pub plan: &'a Plan,
    pub entities: &'a [f32],
    /// The same rows as candidates: with dropout.
    pub candidates: &'a [f32],
    pub relations: &'a [f32],
    pub block: Block<'a>,
}

impl Visitor for SampledBlock<'_> {
    type Output = ();

    fn visit<O: Operator>(mut self) {
        let (step, plan) = (self.step, self.plan);
        let Candidates::Sampled {
            chunk,
            negatives,
            slots,
            masks,
        } = &plan.candidates
        else {
            return;
        };
        step.forward(plan, self.entities, self.relations, &mut self.block);
        let block = &mut self.block;
        let row = |position: u32| &self.candidates[position as usize * step.ew..][..step.ew];
        let words = negatives.div_ceil(32);
        let mut slopes = Vec::new();
        simd(
            #[inline(always)]
            || {
                for i in 0..block.losses.len() {
                    let q = block.first + i;
                    let query = &block.queries[i * step.ew..][..step.ew];
                    let scores = &mut block.scores[i * (negatives + 1)..][..negatives + 1];
                    let slots = &slots[q / chunk * negatives..][..*negatives];
                    let target = plan.queries[q].target;

                    scores[0] = score::<O>(query, row(target));
                    for (s, &slot) in scores[1..].iter_mut().zip(slots) {
                        *s = score::<O>(query, row(slot));
                    }
                    if !masks.is_empty() {
                        for (j, s) in scores[1..].iter_mut().enumerate() {
                            if masks[q * words + j / 32] >> (j % 32) & 1 == 1 {
                                *s = MASKED as f32;
                            }
                        }
                    }
                    block.losses[i] = loss(
                        &step.spec.loss,
                        O::SIMILARITY,
                        scores,
                        &[0],
                        plan.weights[q],
                        &mut slopes,
                    );

                    let gradient = &mut block.d_queries[i * step.ew..][..step.ew];
                    gradient.fill(0.0);
                    add_gradient::<O>(scores[0], query, row(target), gradient);
                    for (&c, &slot) in scores[1..].iter().zip(slots) {
                        if c != 0.0 {
                            add_gradient::<O>(c, query, row(slot), gradient);
                        }
                    }
                }
            },
        );
        step.backward(plan, self.entities, self.relations, &mut self.block);
    }
}

pub(super) struct ReduceBlock<'a> {
    pub first: usize,
    pub from: &'a Contributions<'a>,
    pub plan: &'a Plan,
    pub dropout: &'a Dropout,
    /// Rows as candidates.
    pub values: &'a [f32],
    pub gradients: &'a mut [f32],
    pub width: usize,
}

impl Visitor for ReduceBlock<'_> {
    type Output = ();

    fn visit<O: Operator>(self) {
        simd(
            #[inline(always)]
            || {
                for (i, gradient) in self.gradients.chunks_exact_mut(self.width).enumerate() {
                    let i = self.first + i;
                    let row = &self.values[i * self.width..][..self.width];
                    let (dropout, rows) = (self.dropout, &self.plan.entities);
                    if dropout.drops_candidates() {
                        let mask = |row: &mut [f32]| dropout.drop_candidate(rows.ids[i], row);
                        grad_masked_rows::<O>(self.from, rows.places_of(i), row, mask, gradient);
                        continue;
                    }
                    grad_rows::<O>(self.from, rows.places_of(i), row, gradient);
                }
            },
        );
    }
}
