//! Rankings and scores outside training.

mod dot;
mod queries;

use rayon::prelude::*;

use self::queries::{rank_block, rank_queries};
use crate::kernel::cpu::stages::forward::rank_count::rank_count;
use crate::kernel::cpu::stages::forward::score::score;
use crate::kernel::cpu::stages::forward::score_all::score_all;
use crate::kernel::cpu::step::{task, tile};
use crate::kernel::cpu::{Engine, Table};
use crate::kernel::{KernelError, RankBatch, RankCounts, RankQuery, check};
use crate::model::{Model, Operator, Similarity, Visitor};

/// Pairs that a task scores, at least.
const PAIRS: usize = 256;

impl Engine {
    /// Counts, for every query, the candidates before and beside its target.
    ///
    /// # Errors
    /// [`KernelError::Row`] for a row that a table has not; [`KernelError::Shape`] if tables and
    /// model do not belong together.
    pub fn rank(
        &mut self,
        model: Model,
        batch: &RankBatch,
        entities: &Table,
        relations: &Table,
    ) -> Result<Vec<RankCounts>, KernelError> {
        check::ranking(model, batch, &entities.spec, &relations.spec)?;
        let (entities, relations) = (&entities.view(), &relations.view());
        let rows = entities.spec.layout.rows();
        let tile = tile(rows);
        let task = task(tile.min(batch.queries.len()));
        let mut counts = vec![RankCounts::default(); batch.queries.len()];
        let width = entities.spec.width;
        if model.similarity() == Similarity::Dot {
            let asked = batch.queries.chunks(dot::TILE);
            for (t, (asked, counts)) in asked.zip(counts.chunks_mut(dot::TILE)).enumerate() {
                let queries = self.work.queries.room(asked.len() * width);
                rank_queries(model, asked, entities, relations, queries);
                dot::rank_dot(batch, t * dot::TILE, queries, entities, counts);
            }
            return Ok(counts);
        }
        let queries = self.work.queries.room(tile * width);
        let scores = self.work.scores.room(tile * rows);
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
                    rank_block(model, asked, entities, relations, queries);
                    score_all(model, queries, entities, &mut scores[..asked.len() * rows]);
                    for (i, (query, count)) in asked.iter().zip(counts).enumerate() {
                        let known = batch.known_of(t * tile + b * task + i);
                        *count = rank_count(&scores[i * rows..][..rows], query.target, known);
                    }
                });
        }
        Ok(counts)
    }

    /// Scores of every query against every entity, row-major.
    ///
    /// # Errors
    /// [`KernelError::Row`] for a row that a table has not; [`KernelError::Shape`] if tables and
    /// model do not belong together.
    pub fn scores(
        &mut self,
        model: Model,
        queries: &[RankQuery],
        entities: &Table,
        relations: &Table,
    ) -> Result<Vec<f32>, KernelError> {
        check::queries(model, queries, &entities.spec, &relations.spec)?;
        let (entities, relations) = (&entities.view(), &relations.view());
        let mut vectors = vec![0.0; queries.len() * entities.spec.width];
        rank_queries(model, queries, entities, relations, &mut vectors);
        let (width, rows) = (entities.spec.width, entities.spec.layout.rows());
        let mut scores = vec![0.0; queries.len() * rows];
        let task = task(queries.len());
        (vectors.par_chunks(task * width))
            .zip(scores.par_chunks_mut(task * rows))
            .for_each(|(vectors, scores)| score_all(model, vectors, entities, scores));
        Ok(scores)
    }

    /// The score of every query against its target.
    ///
    /// # Errors
    /// [`KernelError::Row`] for a row that a table has not; [`KernelError::Shape`] if tables and
    /// model do not belong together.
    pub fn score_pairs(
        &mut self,
        model: Model,
        queries: &[RankQuery],
        entities: &Table,
        relations: &Table,
    ) -> Result<Vec<f32>, KernelError> {
        check::queries(model, queries, &entities.spec, &relations.spec)?;
        let (entities, relations) = (&entities.view(), &relations.view());
        let width = entities.spec.width;
        let mut vectors = vec![0.0; queries.len() * width];
        rank_queries(model, queries, entities, relations, &mut vectors);
        let pairs = vectors.par_chunks_exact(width).zip(queries);
        Ok(pairs
            .with_min_len(PAIRS)
            .map_init(Vec::new, |wide, (query, q)| {
                model.visit(Pair {
                    query,
                    candidate: entities.row(q.target, wide),
                })
            })
            .collect())
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
