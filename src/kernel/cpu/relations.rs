//! Relation prediction within a step: pair queries against all relations, as queries are scored
//! against all entities.

use rayon::prelude::*;

use super::Values;
use super::Workspace;
use super::candidate_dropout::pulled_candidate_dropout;
use super::grad_candidates_all::grad_candidates_all;
use super::grad_query_all::grad_query_all;
use super::loss::loss;
use super::pair_query::pair_query;
use super::pair_query_backward::pair_query_backward;
use super::score_all::score_all;
use super::simd::simd;
use super::step::{task, tile};
use super::table::View;
use crate::kernel::StepSpec;
use crate::loss::{Loss, LossKind};
use crate::sampler::Plan;

/// What predicting relations needs beside the buffers of a step.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    /// Pair queries and their gradients: queries × relation width.
    queries: Values,
    d_queries: Values,
    /// Contributions to right answers: queries × entity width.
    pub d_answers: Values,
    /// Gradients of whole shards of relations, and the first row of each.
    gradients: Vec<Values>,
    firsts: Vec<usize>,
}

impl Pairs {
    /// Adds to the gradient of a row what it gets as a candidate.
    #[inline(always)]
    pub fn add_gradient(&self, row: usize, gradient: &mut [f32]) {
        let shard = self.firsts.partition_point(|&first| first <= row) - 1;
        let at = (row - self.firsts[shard]) * gradient.len();
        for (g, x) in gradient.iter_mut().zip(&self.gradients[shard][at..]) {
            *g += x;
        }
    }

    pub fn buffers(&mut self) -> impl Iterator<Item = &mut Values> {
        let Pairs {
            queries,
            d_queries,
            d_answers,
            gradients,
            firsts: _,
        } = self;
        [queries, d_queries, d_answers].into_iter().chain(gradients)
    }
}

impl Workspace {
    /// Forward and backward of the relations' own loss, a tile of queries at a time. Adds to the
    /// queries' losses and to the contributions to their entities; what relations get waits for
    /// [`Pairs::add_gradient`].
    pub(super) fn relations(&mut self, spec: &StepSpec, plan: &Plan, table: &View<'_>) {
        let Some(step) = self.geometry(spec, plan) else {
            return;
        };
        let (n, relations) = (plan.queries.len(), table.spec.layout.rows());
        let (ew, rw) = (step.ew, step.rw);
        let tile = tile(relations);
        self.scores.room(tile.min(n) * relations);
        let pulled = &self.entities[..];
        let targets = match step.dropout.drops_candidates() {
            true => {
                let (ids, out) = (&plan.entities.ids, &mut self.candidates);
                pulled_candidate_dropout(&step.dropout, ids, &pulled[..ids.len() * ew], out);
                &self.candidates[..]
            }
            false => pulled,
        };
        let pairs = &mut self.prediction;
        pairs.queries.room(n * rw);
        pairs.d_queries.room(n * rw);
        pairs.d_answers.room(n * ew);
        let shards = table.shards.len();
        let ranges = || (0..shards).map(|s| table.spec.layout.range(s));
        pairs.firsts.clear();
        pairs.firsts.extend(ranges().map(|range| range.start));
        pairs.gradients.resize_with(shards, Values::default);
        for (range, gradient) in ranges().zip(&mut pairs.gradients) {
            gradient.room(range.len() * rw);
        }
        let cost = Loss::new(LossKind::Softmax);
        let similarity = spec.model.similarity();
        for first in (0..n).step_by(tile) {
            let end = n.min(first + tile);
            let task = task(end - first);
            let blocks = pairs.queries[first * rw..end * rw]
                .par_chunks_mut(task * rw)
                .zip(pairs.d_queries[first * rw..end * rw].par_chunks_mut(task * rw))
                .zip(pairs.d_answers[first * ew..end * ew].par_chunks_mut(task * ew))
                .zip(self.d_inputs[first * ew..end * ew].par_chunks_mut(task * ew))
                .zip(self.scores[..(end - first) * relations].par_chunks_mut(task * relations))
                .zip(self.losses[first..end].par_chunks_mut(task));
            let rows = |q: usize| {
                let query = &plan.queries[q];
                let [entity, target] = [query.entity, query.target].map(|p| p as usize * ew);
                let inverse = query.inverse == 1;
                (&pulled[entity..][..ew], &targets[target..][..ew], inverse)
            };
            blocks
                .enumerate()
                .for_each(|(b, (((((p, dp), dt), de), s), l))| {
                    let first = first + b * task;
                    simd(
                        #[inline(always)]
                        || {
                            for (i, pair) in p.chunks_exact_mut(rw).enumerate() {
                                let q = first + i;
                                pair_query(spec.model, &step.dropout, q as u32, rows(q), pair);
                            }
                        },
                    );
                    score_all(spec.model, p, table, s);
                    let mut slopes = Vec::new();
                    simd(
                        #[inline(always)]
                        || {
                            let scored = s.chunks_exact_mut(relations).zip(l.iter_mut());
                            for (q, (scores, value)) in (first..).zip(scored) {
                                let right = [plan.queries[q].relation];
                                let weight = spec.relation_weight * plan.weights[q];
                                *value +=
                                    loss(&cost, similarity, scores, &right, weight, &mut slopes);
                            }
                        },
                    );
                    grad_query_all(spec.model, s, p, table, dp);
                    simd(
                        #[inline(always)]
                        || {
                            let outputs = de.chunks_exact_mut(ew).zip(dt.chunks_exact_mut(ew));
                            let gradients = dp.chunks_exact(rw).zip(outputs);
                            for (q, (dp, (de, dt))) in (first..).zip(gradients) {
                                let (model, dropout) = (spec.model, &step.dropout);
                                pair_query_backward(model, dropout, q as u32, rows(q), dp, de, dt);
                                if dropout.drops_candidates() {
                                    let target = plan.queries[q].target as usize;
                                    dropout.drop_candidate(plan.entities.ids[target], dt);
                                }
                            }
                        },
                    );
                });
            grad_candidates_all(
                spec.model,
                &self.scores[..(end - first) * relations],
                &pairs.queries[first * rw..end * rw],
                table,
                &mut pairs.gradients,
                first == 0,
            );
        }
    }
}
