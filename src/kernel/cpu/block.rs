//! A block of queries that one task works on.

use super::dropout::Dropout;
use super::query::query;
use super::query_backward::query_backward;
use super::simd::simd;
use crate::kernel::StepSpec;
use crate::sampler::{Plan, Query};

/// What every block of a step shares.
pub(super) struct Geometry {
    pub spec: StepSpec,
    pub dropout: Dropout,
    /// Widths of entity rows, of relations as the operator takes them, and of what a query leaves for
    /// its relation's gradient.
    pub ew: usize,
    pub rw: usize,
    pub cw: usize,
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
                    .zip(block.d_relations.chunks_exact_mut(self.cw));
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
