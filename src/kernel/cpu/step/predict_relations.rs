//! Relation prediction within a step: pair queries against all relations, as queries are scored
//! against all entities.

use rayon::prelude::*;

use crate::kernel::StepSpec;
use crate::kernel::cpu::AlignedVec;
use crate::kernel::cpu::simd::simd;
use crate::kernel::cpu::stages::gradients::grad_candidates_all::grad_candidates_all;
use crate::kernel::cpu::stages::gradients::grad_query_all::grad_query_all;
use crate::kernel::cpu::stages::queries::pair_query::{PairInput, pair_query};
use crate::kernel::cpu::stages::queries::pair_query_backward::pair_query_backward;
use crate::kernel::cpu::stages::scores::candidate_dropout::pulled_candidate_dropout;
use crate::kernel::cpu::stages::scores::loss::loss;
use crate::kernel::cpu::stages::scores::loss_sum::loss_sum;
use crate::kernel::cpu::stages::scores::score_all::score_all;
use crate::kernel::cpu::step::Workspace;
use crate::kernel::cpu::step::{task, tile};
use crate::kernel::cpu::table::TableReadGuard;
use crate::loss::{Loss, LossKind};
use crate::sampler::{Pair, Plan};

/// Buffers of steps that predict relations.
#[derive(Debug, Default)]
pub struct Pairs {
    /// Pair queries and their gradients: pairs × relation width.
    queries: AlignedVec,
    d_queries: AlignedVec,
    /// Contributions to answer and known entity: pairs × 2 × entity width.
    pub d_ends: AlignedVec,
    /// The loss of every pair.
    losses: AlignedVec,
    /// Gradients of whole shards of relations, and the first row of each.
    gradients: Vec<AlignedVec>,
    firsts: Vec<usize>,
}

impl Pairs {
    /// Adds the gradient of a row as a candidate.
    #[inline(always)]
    pub fn add_gradient(&self, row: usize, gradient: &mut [f32]) {
        let shard = self.firsts.partition_point(|&first| first <= row) - 1;
        let at = (row - self.firsts[shard]) * gradient.len();
        for (g, x) in gradient.iter_mut().zip(&self.gradients[shard][at..]) {
            *g += x;
        }
    }

    pub fn buffers(&mut self) -> impl Iterator<Item = &mut AlignedVec> {
        let Pairs {
            queries,
            d_queries,
            d_ends,
            losses,
            gradients,
            firsts: _,
        } = self;
        [queries, d_queries, d_ends, losses]
            .into_iter()
            .chain(gradients)
    }
}

impl Workspace {
    /// Forward and backward of the relations' own loss, a tile of pairs at a time. Contributions to entities
    /// are left in [`Pairs::d_ends`], those to relations are added by [`Pairs::add_gradient`]. Returns the
    /// loss.
    pub fn predict_relations(
        &mut self,
        spec: &StepSpec,
        plan: &Plan,
        table: &TableReadGuard<'_>,
    ) -> f64 {
        let Some(step) = self.context(spec, plan) else {
            return 0.0;
        };
        let (n, relations) = (plan.pairs.len(), table.spec.layout.rows());
        let (entity_width, relation_width) = (step.entity_width, step.relation_width);
        let tile = tile(relations);
        self.scores.resize_for_overwrite(tile.min(n) * relations);
        let pulled = &self.entities[..];
        let targets = match step.dropout.drops_candidates() {
            true => {
                let (ids, out) = (&plan.entities.ids, &mut self.candidates);
                pulled_candidate_dropout(
                    &step.dropout,
                    ids,
                    &pulled[..ids.len() * entity_width],
                    out,
                );
                &self.candidates[..]
            }
            false => pulled,
        };
        let pairs = &mut self.prediction;
        pairs.queries.resize_for_overwrite(n * relation_width);
        pairs.d_queries.resize_for_overwrite(n * relation_width);
        pairs.d_ends.resize_for_overwrite(n * 2 * entity_width);
        pairs.losses.resize_for_overwrite(n);
        let shards = table.shards.len();
        let ranges = || (0..shards).map(|s| table.spec.layout.range(s));
        pairs.firsts.clear();
        pairs.firsts.extend(ranges().map(|range| range.start));
        pairs.gradients.resize_with(shards, AlignedVec::default);
        for (range, gradient) in ranges().zip(&mut pairs.gradients) {
            gradient.resize_for_overwrite(range.len() * relation_width);
        }
        let cost = Loss::new(LossKind::Softmax);
        let similarity = spec.model.similarity();
        for first in (0..n).step_by(tile) {
            let end = n.min(first + tile);
            let task = task(end - first);
            let blocks = pairs.queries[first * relation_width..end * relation_width]
                .par_chunks_mut(task * relation_width)
                .zip(
                    pairs.d_queries[first * relation_width..end * relation_width]
                        .par_chunks_mut(task * relation_width),
                )
                .zip(
                    pairs.d_ends[first * 2 * entity_width..end * 2 * entity_width]
                        .par_chunks_mut(task * 2 * entity_width),
                )
                .zip(self.scores[..(end - first) * relations].par_chunks_mut(task * relations))
                .zip(pairs.losses[first..end].par_chunks_mut(task));
            let rows = |pair: &Pair| {
                let query = &plan.queries[pair.query as usize];
                let [entity, target] =
                    [query.entity, pair.answer].map(|p| p as usize * entity_width);
                let inverse = query.inverse == 1;
                PairInput {
                    entity: &pulled[entity..][..entity_width],
                    target: &targets[target..][..entity_width],
                    inverse,
                }
            };
            blocks
                .enumerate()
                .for_each(|(b, ((((p, dp), d_ends), s), l))| {
                    let listed = &plan.pairs[first + b * task..][..l.len()];
                    simd(
                        #[inline(always)]
                        || {
                            for (pair, out) in listed.iter().zip(p.chunks_exact_mut(relation_width))
                            {
                                let dropout = &step.dropout;
                                pair_query(spec.model, dropout, pair.query, rows(pair), out);
                            }
                        },
                    );
                    score_all(spec.model, p, table, s);
                    let mut slopes = Vec::new();
                    let scored = s.chunks_exact_mut(relations).zip(l.iter_mut());
                    for (pair, (scores, value)) in listed.iter().zip(scored) {
                        let right = [plan.queries[pair.query as usize].relation];
                        let weight = spec.pair_weight(plan, pair);
                        *value = loss(&cost, similarity, scores, &right, weight, &mut slopes);
                    }
                    grad_query_all(spec.model, s, p, table, dp);
                    simd(
                        #[inline(always)]
                        || {
                            let outputs = d_ends.chunks_exact_mut(2 * entity_width);
                            let gradients = dp.chunks_exact(relation_width).zip(outputs);
                            for (pair, (dp, ends)) in listed.iter().zip(gradients) {
                                let ((dt, de), q) = (ends.split_at_mut(entity_width), pair.query);
                                let (model, dropout) = (spec.model, &step.dropout);
                                pair_query_backward(model, dropout, q, rows(pair), dp, de, dt);
                                if dropout.drops_candidates() {
                                    let answer = plan.entities.ids[pair.answer as usize];
                                    dropout.drop_candidate(answer, dt);
                                }
                            }
                        },
                    );
                });
            grad_candidates_all(
                spec.model,
                &self.scores[..(end - first) * relations],
                &pairs.queries[first * relation_width..end * relation_width],
                table,
                &mut pairs.gradients,
                first == 0,
            );
        }
        loss_sum(&pairs.losses[..n])
    }
}
