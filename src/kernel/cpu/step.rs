//! The order of the stages within a step.

use rayon::prelude::*;

use super::block::{Block, Geometry, PlanRows};
use super::candidate_dropout::{candidate_dropout, candidate_dropout_backward};
use super::core_matrix::core_matrix_backward;
use super::dropout::Dropout;
use super::grad_candidates_all::grad_candidates_all;
use super::grad_matrix::{Factors, grad_matrix};
use super::grad_query_all::grad_query_all;
use super::grad_rows::{OwnShares, add_inputs};
use super::loss::loss;
use super::pull::pull;
use super::regularize::regularize;
use super::score_all::score_all;
use super::score_pairs::visit_values;
use super::simd::simd;
use super::softmax_all;
use super::table::{Table, View};
use super::walks::{RowBlock, RowWalk};
use super::{BLOCK, Values, Workspace};
use crate::kernel::StepSpec;
use crate::model::Model;
use crate::sampler::{Candidates, Plan};

/// Bytes that the scores of a tile of queries against all entities may take.
const TILE_BYTES: usize = 16 << 20;
/// Queries of a tile, and of what one task takes of it, at most.
const TILE_QUERIES: usize = 512;
const TASK_QUERIES: usize = 64;

/// How many queries a tile has, whatever the number of threads, so that sums over tiles keep
/// their order.
pub(super) fn tile(entities: usize) -> usize {
    (TILE_BYTES / (4 * entities.max(1))).clamp(4, TILE_QUERIES)
}

/// How many queries of a tile of `queries` one task takes.
pub(super) fn task(queries: usize) -> usize {
    queries.div_ceil(2).clamp(1, TASK_QUERIES)
}

impl Workspace {
    /// Copies the entity rows of a plan, and makes room for their gradients.
    pub(super) fn pull_entities(&mut self, plan: &Plan, entities: &View<'_>) {
        let values = plan.entities.len() * entities.spec.width;
        pull(entities, &plan.entities.ids, self.entities.room(values));
        self.entity_gradients.room(values);
    }

    /// Copies the relation rows of a plan whose entities have `ew` values, and makes room for all
    /// that queries leave.
    pub(super) fn pull_relations(
        &mut self,
        model: Model,
        plan: &Plan,
        ew: usize,
        relations: &View<'_>,
    ) {
        let (rw, cw) = (model.relation_width(ew), model.contribution_width(ew));
        (self.ew, self.rw, self.cw) = (ew, rw, cw);
        self.relation_width = relations.spec.width;
        let (ids, matrices) = (&plan.relations.ids, &mut self.relations);
        match plan.core_rows {
            0 => pull(relations, ids, matrices.room(ids.len() * rw)),
            core => self.core.matrices(relations, ids, core, matrices),
        }
        let n = plan.queries.len();
        self.count = n;
        self.queries.room(n * ew);
        self.d_queries.room(n * ew);
        self.d_inputs.room(n * ew);
        self.d_relations.room(n * cw);
        self.losses.room(n);
        self.relation_gradients
            .room(ids.len() * relations.spec.width);
        if plan.core_rows > 0 {
            self.core.gradients.room((ids.len() - plan.core_rows) * rw);
        }
    }

    /// Forward and backward against all entities, a tile of queries at a time.
    pub(super) fn all(&mut self, spec: &StepSpec, plan: &Plan, table: &View<'_>) {
        let Some(step) = self.geometry(spec, plan) else {
            return;
        };
        let masked = step.dropout.drops_candidates().then(|| {
            let old = self.masked.take();
            candidate_dropout(&step.dropout, table, old)
        });
        let masked_view = masked.as_ref().map(Table::view);
        let table = masked_view.as_ref().unwrap_or(table);
        self.shard_gradients
            .resize_with(table.shards.len(), Values::default);
        for (s, gradient) in self.shard_gradients.iter_mut().enumerate() {
            gradient.room(table.spec.layout.range(s).len() * self.ew);
        }
        match softmax_all::takes(spec, step.ew) {
            true => self.softmax(&step, plan, table),
            false => self.tiles(&step, plan, table),
        }
        if masked.is_some() {
            let (layout, gradients) = (&table.spec.layout, &mut self.shard_gradients);
            candidate_dropout_backward(&step.dropout, layout, step.ew, gradients);
        }
        drop(masked_view);
        self.masked = masked;
    }

    /// Models that score by a dot product, with a softmax.
    fn softmax(&mut self, step: &Geometry, plan: &Plan, table: &View<'_>) {
        // Lent, while the others are written.
        let entities = std::mem::take(&mut self.entities);
        let pulled = PlanRows::pulled(&entities, step.ew);
        self.blocks(step, |block, relations| {
            step.forward(plan, pulled, relations, block);
        });
        let n = plan.queries.len();
        self.softmax_all.choose(step.spec.matmul_precision);
        let shape = (table.spec.layout.rows(), table.spec.width);
        let tile = self.softmax_all.tile_queries(shape, n);
        for first in (0..n).step_by(tile) {
            let end = n.min(first + tile);
            let values = first * step.ew..end * step.ew;
            self.softmax_all.tile(
                plan,
                first,
                &self.queries[values.clone()],
                table,
                (&mut self.d_queries[values], &mut self.losses[first..end]),
                (&mut self.shard_gradients, first == 0),
            );
        }
        self.blocks(step, |block, relations| {
            step.backward(plan, pulled, relations, block);
        });
        self.entities = entities;
    }

    /// All others.
    fn tiles(&mut self, step: &Geometry, plan: &Plan, table: &View<'_>) {
        let Candidates::All { offsets, positives } = &plan.candidates else {
            return;
        };
        let (spec, n) = (&step.spec, plan.queries.len());
        let entities = table.spec.layout.rows();
        let tile = tile(entities);
        self.scores.room(tile * entities);
        for first in (0..n).step_by(tile) {
            let end = n.min(first + tile);
            let task = task(end - first);
            let (ew, cw) = (step.ew, step.cw);
            let blocks = self.queries[first * ew..end * ew]
                .par_chunks_mut(task * ew)
                .zip(self.d_queries[first * ew..end * ew].par_chunks_mut(task * ew))
                .zip(self.d_inputs[first * ew..end * ew].par_chunks_mut(task * ew))
                .zip(self.d_relations[first * cw..end * cw].par_chunks_mut(task * cw))
                .zip(self.scores[..(end - first) * entities].par_chunks_mut(task * entities))
                .zip(self.losses[first..end].par_chunks_mut(task));
            let pulled = PlanRows::pulled(&self.entities, ew);
            let relations = &self.relations[..];
            blocks
                .enumerate()
                .for_each(|(b, (((((q, dq), de), dr), s), l))| {
                    let mut block = Block {
                        first: first + b * task,
                        queries: q,
                        d_queries: dq,
                        d_inputs: de,
                        d_relations: dr,
                        scores: s,
                        losses: l,
                    };
                    step.forward(plan, pulled, relations, &mut block);
                    score_all(spec.model, block.queries, table, block.scores);
                    let mut slopes = Vec::new();
                    let rows = block
                        .scores
                        .chunks_exact_mut(entities)
                        .zip(block.losses.iter_mut());
                    for (i, (scores, value)) in rows.enumerate() {
                        let q = block.first + i;
                        let right = &positives[offsets[q] as usize..offsets[q + 1] as usize];
                        let (similarity, weight) = (spec.model.similarity(), plan.weights[q]);
                        *value = loss(&spec.loss, similarity, scores, right, weight, &mut slopes);
                    }
                    grad_query_all(
                        spec.model,
                        block.scores,
                        block.queries,
                        table,
                        block.d_queries,
                    );
                    step.backward(plan, pulled, relations, &mut block);
                });
            let queries = &self.queries[first * ew..end * ew];
            let coefficients = &self.scores[..(end - first) * entities];
            grad_candidates_all(
                spec.model,
                coefficients,
                queries,
                table,
                &mut self.shard_gradients,
                first == 0,
            );
        }
    }

    /// Adds up the gradient of every unique row: to what it has as a sampled candidate comes what it
    /// is an input of.
    pub(super) fn reduce(&mut self, spec: &StepSpec, plan: &Plan) {
        let Some(step) = self.geometry(spec, plan) else {
            return;
        };
        let rows = plan.entities.len();
        let sampled = matches!(plan.candidates, Candidates::Sampled { .. });
        // Lent, while the others are read.
        let mut sums = std::mem::take(&mut self.entity_gradients);
        let walk = (sampled && self.walks).then(|| self.row_walk(spec, plan));
        let (values, shares) = (&self.entities[..], self.own_shares(spec, plan));
        sums[..rows * step.ew]
            .par_chunks_mut(BLOCK * step.ew)
            .enumerate()
            .for_each(|(b, gradients)| {
                if let Some(walk) = &walk {
                    let block = RowBlock {
                        walk,
                        first: b * BLOCK,
                        rows: values,
                        gradients,
                    };
                    return visit_values(spec.model.similarity(), block);
                }
                simd(
                    #[inline(always)]
                    || {
                        for (i, gradient) in gradients.chunks_exact_mut(step.ew).enumerate() {
                            let i = b * BLOCK + i;
                            if !sampled {
                                gradient.fill(0.0);
                            }
                            let row = &values[i * step.ew..][..step.ew];
                            shares.add(i, row, gradient);
                        }
                    },
                );
            });
        self.entity_gradients = sums;
        self.reduce_relations(&step, plan);
    }

    /// What the rows of a plan add up.
    pub(super) fn row_walk<'a>(&'a self, spec: &StepSpec, plan: &'a Plan) -> RowWalk<'a> {
        RowWalk {
            width: self.ew,
            queries: &self.queries,
            coefficients: &self.coefficients,
            shares: self.own_shares(spec, plan),
        }
    }

    /// What they add up beside what they are as candidates.
    pub(super) fn own_shares<'a>(&'a self, spec: &StepSpec, plan: &'a Plan) -> OwnShares<'a> {
        OwnShares {
            plan,
            inputs: &self.d_inputs[..self.count * self.ew],
            ends: plan.predicts_relations.then_some(&self.prediction.d_ends),
            penalty: spec.regularizer,
            lanes: spec.model.entity_lanes(),
        }
    }

    /// The same for the rows of relations, and of the core if there is one.
    pub(super) fn reduce_relations(&mut self, step: &Geometry, plan: &Plan) {
        let (spec, n, width) = (&step.spec, plan.queries.len(), self.relation_width);
        let rows = &plan.relations;
        let own = rows.len() - plan.core_rows;
        let inputs = &self.d_relations[..n * step.cw];
        let factors = Factors {
            entities: inputs,
            d_queries: &self.d_queries[..n * step.ew],
            width: step.ew,
        };
        let matrices = spec.model.has_matrices();
        let sums = match plan.core_rows {
            0 => &mut self.relation_gradients,
            _ => &mut self.core.gradients,
        };
        sums[..own * step.rw]
            .par_chunks_mut(step.rw)
            .enumerate()
            .for_each(|(i, gradient)| {
                let places = rows.places_of(i);
                if matrices {
                    return grad_matrix(plan, &step.dropout, &factors, places, gradient);
                }
                simd(
                    #[inline(always)]
                    || {
                        gradient.fill(0.0);
                        add_inputs(inputs, places, gradient);
                        if plan.predicts_relations {
                            self.prediction.add_gradient(i, gradient);
                        }
                    },
                );
            });
        let gradients = &mut self.relation_gradients[..rows.len() * width];
        let values = match plan.core_rows {
            0 => &self.relations[..],
            core => {
                let values = &self.core.rows[..rows.len() * width];
                let d_matrices = &self.core.gradients[..own * step.rw];
                core_matrix_backward(values, d_matrices, (width, core), gradients);
                values
            }
        };
        let (penalty, lanes) = (spec.regularizer, spec.model.relation_lanes());
        // The core has none.
        gradients[..own * width]
            .par_chunks_mut(width)
            .enumerate()
            .for_each(|(i, gradient)| {
                let strength = penalty.relation * rows.penalty[i];
                let row = &values[i * width..][..width];
                simd(
                    #[inline(always)]
                    || regularize(penalty.kind, lanes, strength, row, gradient),
                );
            });
    }

    /// Widths and masks of a step; none if it has no queries.
    pub(super) fn geometry(&self, spec: &StepSpec, plan: &Plan) -> Option<Geometry> {
        let n = plan.queries.len();
        let relations = plan.relations.len();
        (n > 0 && relations > 0).then(|| Geometry {
            spec: *spec,
            dropout: Dropout::new(spec, plan),
            ew: self.ew,
            rw: self.rw,
            cw: self.cw,
        })
    }
}
