//! Rankings and scores outside training.

use rayon::prelude::*;

use super::score::score;
use super::score_all::score_all;
use super::step::{rank_queries, tile};
use super::{Engine, Table, rank_count, room};
use crate::kernel::{RankBatch, RankCounts, RankQuery};
use crate::model::{Model, Operator, Visitor};

impl Engine {
    /// Counts, for every query, the candidates before and beside its target.
    pub fn rank(
        &mut self,
        model: Model,
        batch: &RankBatch,
        entities: &Table,
        relations: &Table,
    ) -> Vec<RankCounts> {
        let rows = entities.spec.layout.rows();
        let (tile, task) = tile(rows);
        let mut counts = vec![RankCounts::default(); batch.queries.len()];
        let width = entities.spec.width;
        let queries = room(&mut self.work.queries, tile * width);
        let scores = room(&mut self.work.scores, tile * rows);
        for (t, (asked, counts)) in batch
            .queries
            .chunks(tile)
            .zip(counts.chunks_mut(tile))
            .enumerate()
        {
            asked
                .par_chunks(task)
                .zip(counts.par_chunks_mut(task))
                .zip(queries.par_chunks_mut(task * width))
                .zip(scores.par_chunks_mut(task * rows))
                .enumerate()
                .for_each(|(b, (((asked, counts), queries), scores))| {
                    let queries = &mut queries[..asked.len() * width];
                    rank_queries(model, asked, entities, relations, queries);
                    score_all(model, queries, entities, &mut scores[..asked.len() * rows]);
                    for (i, (query, count)) in asked.iter().zip(counts).enumerate() {
                        let known = batch.known_of(t * tile + b * task + i);
                        *count = rank_count::rank_count(
                            &scores[i * rows..][..rows],
                            query.target,
                            known,
                        );
                    }
                });
        }
        counts
    }

    /// Scores of every query against every entity, row-major.
    pub fn scores(
        &mut self,
        model: Model,
        queries: &[RankQuery],
        entities: &Table,
        relations: &Table,
    ) -> Vec<f32> {
        let mut vectors = vec![0.0; queries.len() * entities.spec.width];
        rank_queries(model, queries, entities, relations, &mut vectors);
        let mut scores = vec![0.0; queries.len() * entities.spec.layout.rows()];
        score_all(model, &vectors, entities, &mut scores);
        scores
    }

    /// The score of every query against its target.
    pub fn score_pairs(
        &mut self,
        model: Model,
        queries: &[RankQuery],
        entities: &Table,
        relations: &Table,
    ) -> Vec<f32> {
        let width = entities.spec.width;
        let mut vectors = vec![0.0; queries.len() * width];
        rank_queries(model, queries, entities, relations, &mut vectors);
        let pairs = vectors.chunks_exact(width).zip(queries);
        pairs
            .map(|(query, q)| {
                model.visit(Pair {
                    query,
                    candidate: entities.row(q.target),
                })
            })
            .collect()
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
