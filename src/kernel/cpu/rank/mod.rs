//! Rankings and scores outside training.
//!
//! | call | models | way |
//! |---|---|---|
//! | [`RankEngine::rank`] | dot products | products in tiles, counted while they are in cache ([`dot`]) |
//! | [`RankEngine::rank`] | others | scores of a few queries, then counts ([`rank_count`]) |
//! | [`RankEngine::scores`] | all | scores of all entities, in memory |
//! | [`RankEngine::score_pairs`] | all | one candidate a query |

mod dot;
pub mod part;
mod queries;

use rayon::prelude::*;

use self::dot::{rank_dot, target_scores};
use self::queries::{rank_block, rank_queries};
use crate::kernel::cpu::stages::scores::rank_count::rank_count;
use crate::kernel::cpu::stages::scores::score::score;
use crate::kernel::cpu::stages::scores::score_all::score_all;
use crate::kernel::cpu::step::{Workspace, task, tile};
use crate::kernel::cpu::table::TableReadGuard;
use crate::kernel::cpu::{Engine, Table, parallel};
use crate::kernel::engine::RankEngine;
use crate::kernel::{KernelError, RankBatch, RankCounts, RankQuery, check};
use crate::model::{Model, Operator, Similarity, Visitor};

/// Pairs that a task scores, at least.
const PAIRS: usize = 256;

/// Tables that are read, and the model of their rows.
#[derive(Clone, Copy)]
struct Embeddings<'a> {
    model: Model,
    entities: &'a TableReadGuard<'a>,
    relations: &'a TableReadGuard<'a>,
}

impl RankEngine for Engine {
    fn rank(
        &mut self,
        model: Model,
        batch: &RankBatch,
        entities: &Table,
        relations: &Table,
    ) -> Result<Vec<RankCounts>, KernelError> {
        check::ranking(model, batch, &entities.spec, &relations.spec)?;
        let work = &mut self.work;
        Ok(read(model, entities, relations, |embeddings| {
            match model.similarity() {
                Similarity::Dot => work.rank_dots(embeddings, batch),
                _ => work.rank_scores(embeddings, batch),
            }
        }))
    }

    fn scores(
        &mut self,
        model: Model,
        queries: &[RankQuery],
        entities: &Table,
        relations: &Table,
    ) -> Result<Vec<f32>, KernelError> {
        check::queries(model, queries, &entities.spec, &relations.spec)?;
        Ok(read(model, entities, relations, |embeddings| {
            let entities = embeddings.entities;
            let (width, rows) = (entities.spec.width, entities.spec.layout.rows());
            let mut vectors = vec![0.0; queries.len() * width];
            rank_queries(embeddings, queries, &mut vectors);
            let mut scores = vec![0.0; queries.len() * rows];
            let task = task(queries.len());
            (vectors.par_chunks(task * width))
                .zip(scores.par_chunks_mut(task * rows))
                .for_each(|(vectors, scores)| score_all(model, vectors, entities, scores));
            scores
        }))
    }

    fn score_pairs(
        &mut self,
        model: Model,
        queries: &[RankQuery],
        entities: &Table,
        relations: &Table,
    ) -> Result<Vec<f32>, KernelError> {
        check::queries(model, queries, &entities.spec, &relations.spec)?;
        Ok(read(model, entities, relations, |embeddings| {
            let entities = embeddings.entities;
            let width = entities.spec.width;
            let mut vectors = vec![0.0; queries.len() * width];
            rank_queries(embeddings, queries, &mut vectors);
            let pairs = vectors.par_chunks_exact(width).zip(queries);
            pairs
                .with_min_len(PAIRS)
                .map_init(Vec::new, |wide, (query, q)| {
                    model.visit(Pair {
                        query,
                        candidate: entities.row(q.target, wide),
                    })
                })
                .collect()
        }))
    }
}

/// Runs `work` on the engines' threads while nobody writes to the tables.
fn read<R: Send>(
    model: Model,
    entities: &Table,
    relations: &Table,
    work: impl FnOnce(Embeddings<'_>) -> R + Send,
) -> R {
    parallel::outside_pools(|| {
        let (entities, relations) = (&entities.read(), &relations.read());
        parallel::in_pool(|| {
            work(Embeddings {
                model,
                entities,
                relations,
            })
        })
    })
}

impl Workspace {
    /// Counts of models that score by a dot product.
    fn rank_dots(&mut self, embeddings: Embeddings<'_>, batch: &RankBatch) -> Vec<RankCounts> {
        let entities = embeddings.entities;
        let mut counts = vec![RankCounts::default(); batch.queries.len()];
        let mut thresholds = Vec::new();
        let tiles = batch.queries.chunks(dot::TILE);
        for (t, (asked, counts)) in tiles.zip(counts.chunks_mut(dot::TILE)).enumerate() {
            let values = asked.len() * entities.spec.width;
            let queries = self.queries.resize_for_overwrite(values);
            rank_queries(embeddings, asked, queries);
            let targets = self.entities.resize_for_overwrite(values);
            let rows = targets.par_chunks_mut(entities.spec.width).zip(asked);
            rows.with_min_len(PAIRS)
                .for_each(|(row, query)| entities.copy_row(query.target, row));
            thresholds.resize(asked.len(), 0.0);
            target_scores(queries, targets, entities.spec.width, &mut thresholds);
            let left_out = |q: usize| {
                let known = batch.known_of(t * dot::TILE + q).iter();
                known.chain([&asked[q].target]).copied()
            };
            rank_dot(queries, &thresholds, left_out, entities, counts);
        }
        counts
    }

    /// Counts of other models, whose scores are written out.
    fn rank_scores(&mut self, embeddings: Embeddings<'_>, batch: &RankBatch) -> Vec<RankCounts> {
        let entities = embeddings.entities;
        let (rows, width) = (entities.spec.layout.rows(), entities.spec.width);
        let tile = tile(rows);
        let task = task(tile.min(batch.queries.len()));
        let mut counts = vec![RankCounts::default(); batch.queries.len()];
        let queries = self.queries.resize_for_overwrite(tile * width);
        let scores = self.scores.resize_for_overwrite(tile * rows);
        let tiles = batch.queries.chunks(tile);
        for (t, (asked, counts)) in tiles.zip(counts.chunks_mut(tile)).enumerate() {
            asked
                .par_chunks(task)
                .zip(counts.par_chunks_mut(task))
                .zip(queries.par_chunks_mut(task * width))
                .zip(scores.par_chunks_mut(task * rows))
                .enumerate()
                .for_each(|(b, (((asked, counts), queries), scores))| {
                    let queries = &mut queries[..asked.len() * width];
                    let scores = &mut scores[..asked.len() * rows];
                    rank_block(embeddings, asked, queries);
                    score_all(embeddings.model, queries, entities, scores);
                    for (i, (query, count)) in asked.iter().zip(counts).enumerate() {
                        let known = batch.known_of(t * tile + b * task + i);
                        let scores = &scores[i * rows..][..rows];
                        // Read from the same row, so ties are exact whatever the arithmetic rounds to.
                        let threshold = scores[query.target as usize];
                        let left_out = known.iter().chain([&query.target]).copied();
                        *count = rank_count(scores, threshold, left_out);
                    }
                });
        }
        counts
    }
}

struct Pair<'a> {
    query: &'a [f32],
    candidate: &'a [f32],
}

impl Visitor for Pair<'_> {
    type Output = f32;

    fn visit<O: Operator>(self) -> f32 {
        score::<O>(self.query, self.candidate)
    }
}
