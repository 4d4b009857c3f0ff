//! A block of queries that one task works on.

use crate::kernel::StepSpec;
use crate::kernel::cpu::dropout::Dropout;
use crate::kernel::cpu::simd::simd;
use crate::kernel::cpu::stages::queries::query::{OperatorInput, query};
use crate::kernel::cpu::stages::queries::query_backward::query_backward;
use crate::sampler::{Plan, Query};

/// The entity rows of a plan, by their positions in it: pulled, or where the table has them.
#[derive(Clone, Copy)]
pub struct PlanRows<'a> {
    values: &'a [f32],
    width: usize,
    /// The table's row of every position, where rows were not pulled.
    stored: Option<&'a [u32]>,
}

impl<'a> PlanRows<'a> {
    /// Rows that lie in the order of the plan.
    pub fn pulled(values: &'a [f32], width: usize) -> PlanRows<'a> {
        PlanRows {
            values,
            width,
            stored: None,
        }
    }

    /// Rows of a table.
    pub fn stored(values: &'a [f32], width: usize, rows: &'a [u32]) -> PlanRows<'a> {
        PlanRows {
            values,
            width,
            stored: Some(rows),
        }
    }

    /// Replaces positions of the plan by places for [`PlanRows::at`].
    #[inline(always)]
    pub fn locate(&self, positions: &mut [u32]) {
        if let Some(rows) = self.stored {
            positions.iter_mut().for_each(|at| *at = rows[*at as usize]);
        }
    }

    /// The row of a position that has been located.
    #[inline(always)]
    pub fn at(&self, located: u32) -> &'a [f32] {
        &self.values[located as usize * self.width..][..self.width]
    }

    /// The row at a position of the plan, if it has as many.
    #[inline(always)]
    pub fn get(&self, position: usize) -> Option<&'a [f32]> {
        let at = match self.stored {
            Some(rows) => *rows.get(position)? as usize,
            None => position,
        };
        self.values.get(at * self.width..(at + 1) * self.width)
    }

    /// All rows, if they lie in the order of the plan.
    pub fn in_order(&self) -> Option<&'a [f32]> {
        self.stored.is_none().then_some(self.values)
    }

    /// The row at a position of the plan.
    #[inline(always)]
    pub fn row(&self, position: u32) -> &'a [f32] {
        self.at(self.stored.map_or(position, |rows| rows[position as usize]))
    }
}

/// Specification, widths and masks of a step.
pub struct StepContext {
    pub spec: StepSpec,
    pub dropout: Dropout,
    /// Values of an entity's row.
    pub entity_width: usize,
    /// Values of a relation as the operator takes it.
    pub relation_width: usize,
    /// Values of a query's contribution to its relation's gradient.
    pub contribution_width: usize,
}

/// A block of consecutive queries and its slices of the step's buffers.
pub struct QueryBlock<'a> {
    /// Number of the first query in the plan.
    pub first: usize,
    /// Query vectors, and their gradients: queries × entity width.
    pub queries: &'a mut [f32],
    pub d_queries: &'a mut [f32],
    /// Contributions to the queries' entities: queries × entity width.
    pub d_inputs: &'a mut [f32],
    /// Contributions to the queries' relations: queries × contribution width.
    pub d_relations: &'a mut [f32],
    /// Scores, then coefficients: queries × candidates; none where the step keeps them elsewhere.
    pub scores: &'a mut [f32],
    /// A loss a query; none where the step keeps them elsewhere.
    pub losses: &'a mut [f32],
}

impl StepContext {
    /// The rows of a query.
    fn rows<'a>(
        &self,
        query: &Query,
        entities: PlanRows<'a>,
        relations: &'a [f32],
    ) -> OperatorInput<'a> {
        let width = self.relation_width;
        OperatorInput {
            entity: entities.row(query.entity),
            relation: &relations[query.relation as usize * width..][..width],
            inverse: query.inverse == 1,
        }
    }

    /// Computes the query vectors of a block.
    pub fn forward(
        &self,
        plan: &Plan,
        entities: PlanRows<'_>,
        relations: &[f32],
        block: &mut QueryBlock,
    ) {
        let model = self.spec.model;
        simd(
            #[inline(always)]
            || {
                for (i, out) in block
                    .queries
                    .chunks_exact_mut(self.entity_width)
                    .enumerate()
                {
                    let q = block.first + i;
                    let rows = self.rows(&plan.queries[q], entities, relations);
                    query(model, &self.dropout, q as u32, rows, out);
                }
            },
        );
    }

    /// Computes the contributions of a block's queries from the gradients of its query vectors.
    pub fn backward(
        &self,
        plan: &Plan,
        entities: PlanRows<'_>,
        relations: &[f32],
        block: &mut QueryBlock,
    ) {
        let model = self.spec.model;
        simd(
            #[inline(always)]
            || {
                let outputs = block
                    .d_inputs
                    .chunks_exact_mut(self.entity_width)
                    .zip(block.d_relations.chunks_exact_mut(self.contribution_width));
                for (i, (de, dr)) in outputs.enumerate() {
                    let q = block.first + i;
                    let rows = self.rows(&plan.queries[q], entities, relations);
                    let dq = &block.d_queries[i * self.entity_width..][..self.entity_width];
                    query_backward(model, &self.dropout, q as u32, rows, dq, de, dr);
                }
            },
        );
    }
}
