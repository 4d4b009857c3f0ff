//! Steps and rankings whose entity table is cut into parts, one for each rank: the arguments and results of
//! [`PartEngine`](super::engine::PartEngine).

use std::ops::Range;

use crate::sampler::PartPlan;

/// Copies of the rows that a lane of queries reads.
#[derive(Clone, Copy, Debug)]
pub struct LaneRows<'a> {
    /// Entity rows, in the order of the lane's plan: rows × width.
    pub entities: &'a [f32],
    /// Relation rows, in the order of the lane's plan: rows × width.
    pub relations: &'a [f32],
}

/// Gradients of the rows that a lane of queries reads, without what these rows have as candidates.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LaneGradients {
    /// Gradients of entity rows, in the order of the lane's plan: rows × width.
    pub entities: Vec<f32>,
    /// Gradients of relation rows, in the order of the lane's plan: rows × width.
    pub relations: Vec<f32>,
}

/// Successive queries of a step, to be scored against a part of the entity table.
#[derive(Clone, Debug)]
pub struct PartTile<'a> {
    /// The step, as the part computes it.
    pub plan: &'a PartPlan,
    /// Numbers of the queries in the step.
    pub queries: Range<usize>,
    /// Vectors of these queries: queries × width.
    pub vectors: &'a [f32],
}

/// Queries to rank against a part of the entity table.
#[derive(Clone, Copy, Debug)]
pub struct PartRanking<'a> {
    /// Vectors of the queries: queries × width.
    pub vectors: &'a [f32],
    /// Score of each query's target.
    pub thresholds: &'a [f32],
    /// Query `q` leaves out the rows `left_out[offsets[q]..offsets[q + 1]]` of the part.
    pub offsets: &'a [u32],
    /// Rows of the part that do not count: targets and known answers, each once a query.
    pub left_out: &'a [u32],
}

impl PartRanking<'_> {
    /// Rows of the part that do not count for query `q`.
    pub fn left_out_of(&self, q: usize) -> &[u32] {
        &self.left_out[self.offsets[q] as usize..self.offsets[q + 1] as usize]
    }
}
