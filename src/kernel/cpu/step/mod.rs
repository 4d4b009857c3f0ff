//! The steps of training: their buffers, and the order of their stages.

mod context;
pub mod core_matrix;
mod entity_gradients;
pub mod fused_update;
pub mod part;
mod predict_relations;
mod sampled_by_query;
mod sampled_by_row;
pub mod softmax_all;

use rayon::prelude::*;

use self::context::{PlanRows, QueryBlock, StepContext};
use self::core_matrix::core_matrix_backward;
use self::entity_gradients::{BufferSink, CandidatePart, GradientSource};
use self::sampled_by_query::CandidateGradients;
use self::softmax_all::{
    AmxTiles, Labels, SimdTiles, TileGradients, TileKernel, TileQueries, tile_queries,
};
use crate::kernel::StepSpec;
use crate::kernel::cpu::dropout::Dropout;
use crate::kernel::cpu::simd::simd;
use crate::kernel::cpu::stages::gradients::grad_candidates_all::grad_candidates_all;
use crate::kernel::cpu::stages::gradients::grad_matrix::{Factors, grad_matrix};
use crate::kernel::cpu::stages::gradients::grad_query_all::grad_query_all;
use crate::kernel::cpu::stages::gradients::grad_rows::{NonCandidateTerms, add_inputs};
use crate::kernel::cpu::stages::gradients::regularize::regularize;
use crate::kernel::cpu::stages::rows::pull::pull;
use crate::kernel::cpu::stages::scores::candidate_dropout::candidate_dropout;
use crate::kernel::cpu::stages::scores::candidate_dropout_backward::candidate_dropout_backward;
use crate::kernel::cpu::stages::scores::loss::loss;
use crate::kernel::cpu::stages::scores::score_all::score_all;
use crate::kernel::cpu::table::{AlignedVec, Table, TableReadGuard};
use crate::kernel::cpu::{BLOCK, Route, Tiles};
use crate::model::Model;
use crate::sampler::{Candidates, Plan};

/// Buffers of a step. All are flat, row-major.
#[derive(Debug, Default)]
pub struct Workspace {
    /// Values of an entity's row.
    pub entity_width: usize,
    /// Values of a relation as the operator takes it.
    pub relation_width: usize,
    /// Values of a query's contribution to its relation's gradient.
    pub contribution_width: usize,
    /// Values of a row of the relation table.
    pub relation_row_width: usize,
    /// Queries of the step.
    pub count: usize,
    /// Pulled rows: unique rows × width. Where there is a core, the relations' matrices instead.
    pub entities: AlignedVec,
    pub relations: AlignedVec,
    /// Buffers of models with a core.
    pub core: core_matrix::Core,
    /// Query vectors and their gradients: queries × entity width.
    pub queries: AlignedVec,
    pub d_queries: AlignedVec,
    /// Contributions of queries to their inputs.
    pub d_inputs: AlignedVec,
    pub d_relations: AlignedVec,
    /// Scores of all entities, then coefficients: a tile × entities.
    pub scores: AlignedVec,
    /// Buffers of the route by row.
    pub sampled: sampled_by_row::Sampled,
    /// Coefficients of pairs on the route by query: queries × candidates.
    pub coefficients: AlignedVec,
    /// Buffers of the softmax routes.
    pub softmax_all: softmax_all::SoftmaxAll,
    pub losses: AlignedVec,
    /// Gradients of unique rows.
    pub entity_gradients: AlignedVec,
    pub relation_gradients: AlignedVec,
    /// Gradients of whole shards (objectives over all entities).
    pub shard_gradients: Vec<AlignedVec>,
    /// Pulled rows as candidates, where those are dropped out; and whole tables of them.
    pub candidates: AlignedVec,
    pub masked: Option<Table>,
    /// Buffers of steps that predict relations.
    pub prediction: predict_relations::Pairs,
}

/// Bytes that the scores of a tile of queries against all entities may take.
const TILE_BYTES: usize = 16 << 20;
/// Queries of a tile, and of what one task takes of it, at most.
const TILE_QUERIES: usize = 512;
const TASK_QUERIES: usize = 64;

/// Queries of a tile, whatever the number of threads, so that sums over tiles keep their order.
pub fn tile(entities: usize) -> usize {
    (TILE_BYTES / (4 * entities.max(1))).clamp(4, TILE_QUERIES)
}

/// Queries of a tile of `queries` that one task takes.
pub fn task(queries: usize) -> usize {
    queries.div_ceil(2).clamp(1, TASK_QUERIES)
}

impl Workspace {
    /// Copies the entity rows of a plan, and reserves memory for their gradients.
    pub fn pull_entities(&mut self, plan: &Plan, entities: &TableReadGuard<'_>) {
        let values = plan.entities.len() * entities.spec.width;
        pull(
            entities,
            &plan.entities.ids,
            self.entities.resize_for_overwrite(values),
        );
        self.entity_gradients.resize_for_overwrite(values);
    }

    /// Copies the relation rows of a plan whose entities have `entity_width` values, and reserves memory for
    /// the contributions of queries.
    pub fn pull_relations(
        &mut self,
        model: Model,
        plan: &Plan,
        entity_width: usize,
        relations: &TableReadGuard<'_>,
    ) {
        let (ids, width) = (&plan.relations.ids, relations.spec.width);
        let matrices = &mut self.relations;
        match plan.core_rows {
            0 => pull(
                relations,
                ids,
                matrices.resize_for_overwrite(ids.len() * width),
            ),
            core => self.core.matrices(relations, ids, core, matrices),
        }
        self.reserve(model, plan, entity_width, width);
    }

    /// Reserves memory for the contributions of queries, and sets the widths of rows.
    pub fn reserve(
        &mut self,
        model: Model,
        plan: &Plan,
        entity_width: usize,
        relation_row_width: usize,
    ) {
        let relation_width = model.relation_width(entity_width);
        let contribution_width = model.contribution_width(entity_width);
        self.entity_width = entity_width;
        self.relation_width = relation_width;
        self.contribution_width = contribution_width;
        self.relation_row_width = relation_row_width;
        let (n, relations) = (plan.queries.len(), plan.relations.len());
        self.count = n;
        self.queries.resize_for_overwrite(n * entity_width);
        self.d_queries.resize_for_overwrite(n * entity_width);
        self.d_inputs.resize_for_overwrite(n * entity_width);
        self.d_relations
            .resize_for_overwrite(n * contribution_width);
        self.losses.resize_for_overwrite(n);
        self.relation_gradients
            .resize_for_overwrite(relations * relation_row_width);
        if plan.core_rows > 0 {
            self.core
                .gradients
                .resize_for_overwrite((relations - plan.core_rows) * relation_width);
        }
    }

    /// Forward and backward against all entities, a tile of queries at a time.
    pub fn all(&mut self, route: Route, spec: &StepSpec, plan: &Plan, table: &TableReadGuard<'_>) {
        let Some(step) = self.context(spec, plan) else {
            return;
        };
        let masked = step.dropout.drops_candidates().then(|| {
            let old = self.masked.take();
            candidate_dropout(&step.dropout, table, None, old)
        });
        let masked_view = masked.as_ref().map(Table::read);
        let table = masked_view.as_ref().unwrap_or(table);
        self.shard_gradients
            .resize_with(table.shards.len(), AlignedVec::default);
        for (s, gradient) in self.shard_gradients.iter_mut().enumerate() {
            gradient.resize_for_overwrite(table.spec.layout.range(s).len() * self.entity_width);
        }
        match route {
            Route::AllSoftmax(Tiles::Simd) => self.softmax(&step, SimdTiles, plan, table),
            Route::AllSoftmax(Tiles::Amx(unit)) => {
                self.softmax(&step, AmxTiles(unit), plan, table);
            }
            _ => self.tiles(&step, plan, table),
        }
        if masked.is_some() {
            let (layout, gradients) = (&table.spec.layout, &mut self.shard_gradients);
            candidate_dropout_backward(&step.dropout, layout, None, step.entity_width, gradients);
        }
        drop(masked_view);
        self.masked = masked;
    }

    /// Models that score by a dot product, with a softmax.
    fn softmax<K: TileKernel>(
        &mut self,
        step: &StepContext,
        kernel: K,
        plan: &Plan,
        table: &TableReadGuard<'_>,
    ) {
        let Some(labels) = Labels::of_plan(plan) else {
            return;
        };
        // Lent, while the others are written.
        let entities = std::mem::take(&mut self.entities);
        let pulled = PlanRows::pulled(&entities, step.entity_width);
        self.blocks(step, |block, relations| {
            step.forward(plan, pulled, relations, block);
        });
        let (n, width) = (plan.queries.len(), step.entity_width);
        let tile = tile_queries::<K>(table.spec.layout.rows(), width, n);
        for first in (0..n).step_by(tile) {
            let end = n.min(first + tile);
            let out = TileGradients {
                d_queries: &mut self.d_queries[first * width..end * width],
                losses: &mut self.losses[first..end],
                entities: &mut self.shard_gradients,
                overwrite: first == 0,
            };
            let queries = TileQueries {
                labels,
                first,
                vectors: &self.queries[first * width..end * width],
            };
            self.softmax_all.tile(kernel, queries, table, out);
        }
        self.blocks(step, |block, relations| {
            step.backward(plan, pulled, relations, block);
        });
        self.entities = entities;
    }

    /// All others.
    fn tiles(&mut self, step: &StepContext, plan: &Plan, table: &TableReadGuard<'_>) {
        let Candidates::All { offsets, positives } = &plan.candidates else {
            return;
        };
        let (spec, n) = (&step.spec, plan.queries.len());
        let entities = table.spec.layout.rows();
        let tile = tile(entities);
        self.scores.resize_for_overwrite(tile * entities);
        for first in (0..n).step_by(tile) {
            let end = n.min(first + tile);
            let task = task(end - first);
            let (entity_width, contribution_width) = (step.entity_width, step.contribution_width);
            let blocks = self.queries[first * entity_width..end * entity_width]
                .par_chunks_mut(task * entity_width)
                .zip(
                    self.d_queries[first * entity_width..end * entity_width]
                        .par_chunks_mut(task * entity_width),
                )
                .zip(
                    self.d_inputs[first * entity_width..end * entity_width]
                        .par_chunks_mut(task * entity_width),
                )
                .zip(
                    self.d_relations[first * contribution_width..end * contribution_width]
                        .par_chunks_mut(task * contribution_width),
                )
                .zip(self.scores[..(end - first) * entities].par_chunks_mut(task * entities))
                .zip(self.losses[first..end].par_chunks_mut(task));
            let pulled = PlanRows::pulled(&self.entities, entity_width);
            let relations = &self.relations[..];
            blocks
                .enumerate()
                .for_each(|(b, (((((q, dq), de), dr), s), l))| {
                    let mut block = QueryBlock {
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
            let queries = &self.queries[first * entity_width..end * entity_width];
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

    /// Adds up the gradient of every unique row: what a row has as a candidate, if candidates are
    /// sampled, and as anything else.
    pub fn reduce(&mut self, route: Route, spec: &StepSpec, plan: &Plan) {
        let Some(step) = self.context(spec, plan) else {
            return;
        };
        let (rows, width) = (plan.entities.len(), step.entity_width);
        // Lent, while the others are read.
        let mut sums = std::mem::take(&mut self.entity_gradients);
        let source = self.gradient_source(route, spec, plan);
        sums[..rows * width]
            .par_chunks_mut(BLOCK * width)
            .enumerate()
            .for_each(|(b, gradients)| {
                source.sum_into(BufferSink {
                    width,
                    first: b * BLOCK,
                    rows: &self.entities,
                    gradients,
                });
            });
        self.entity_gradients = sums;
        self.reduce_relations(&step, plan);
    }

    /// Maker of the gradients of a plan's unique entity rows.
    fn gradient_source<'a>(
        &'a self,
        route: Route,
        spec: &StepSpec,
        plan: &'a Plan,
    ) -> GradientSource<'a> {
        GradientSource {
            similarity: spec.model.similarity(),
            candidate: match route {
                Route::SampledByQuery { .. } => CandidatePart::Sampled(CandidateGradients {
                    plan,
                    width: self.entity_width,
                    queries: &self.queries,
                    coefficients: &self.coefficients,
                }),
                Route::SampledByRow { .. } => CandidatePart::Given,
                Route::All | Route::AllSoftmax(_) => CandidatePart::None,
            },
            terms: NonCandidateTerms {
                plan,
                inputs: &self.d_inputs[..self.count * self.entity_width],
                ends: plan
                    .predicts_relations
                    .then_some(&self.prediction.d_ends[..]),
                penalty: spec.regularizer,
                lanes: spec.model.entity_lanes(),
            },
        }
    }

    /// Forward and backward with sampled candidates, on pulled rows, but for the last sums of
    /// [`Workspace::reduce`].
    pub fn sampled(&mut self, route: Route, spec: &StepSpec, plan: &Plan) {
        let Some(step) = self.context(spec, plan) else {
            return;
        };
        // Lent, while the others are written.
        let pulled = std::mem::take(&mut self.entities);
        let rows = PlanRows::pulled(&pulled, step.entity_width);
        match matches!(route, Route::SampledByQuery { .. }) {
            true => self.sampled_by_query(spec, plan, &step, rows),
            false => self.sampled_by_row(spec, plan, &step, rows),
        }
        self.entities = pulled;
    }

    /// The same for the rows of relations, and of the core if there is one.
    pub fn reduce_relations(&mut self, step: &StepContext, plan: &Plan) {
        let (spec, n, width) = (&step.spec, plan.queries.len(), self.relation_row_width);
        let rows = &plan.relations;
        let own = rows.len() - plan.core_rows;
        let inputs = &self.d_relations[..n * step.contribution_width];
        let factors = Factors {
            entities: inputs,
            d_queries: &self.d_queries[..n * step.entity_width],
            width: step.entity_width,
        };
        let matrices = spec.model.has_matrices();
        let sums = match plan.core_rows {
            0 => &mut self.relation_gradients,
            _ => &mut self.core.gradients,
        };
        sums[..own * step.relation_width]
            .par_chunks_mut(step.relation_width)
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
                let d_matrices = &self.core.gradients[..own * step.relation_width];
                core_matrix_backward(values, d_matrices, width, core, gradients);
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
    pub fn context(&self, spec: &StepSpec, plan: &Plan) -> Option<StepContext> {
        let n = plan.queries.len();
        let relations = plan.relations.len();
        (n > 0 && relations > 0).then(|| StepContext {
            spec: *spec,
            dropout: Dropout::new(spec, plan),
            entity_width: self.entity_width,
            relation_width: self.relation_width,
            contribution_width: self.contribution_width,
        })
    }
}
