//! Rankings and scores outside training.

use super::params::Params;
use super::stages::queries::query;
use super::stages::rows::{make_widened_room, pull};
use super::stages::scores::{rank_count, rank_tile, score_all, target_scores};
use super::step::core_matrix::{Core, core_matrix};
use super::step::tile;
use super::step::upload::Widths;
use super::{Engine, Table, unlocked};
use crate::kernel::engine::{RankEngine, TableEngine};
use crate::kernel::{KernelError, RankBatch, RankCounts, RankQuery, check};
use crate::model::Model;

/// Largest number of queries whose vectors are made at a time.
const MOST_QUERIES: usize = 1024;
/// Largest number of values in the relation rows of these queries.
const MOST_VALUES: usize = 32 << 20;

impl RankEngine for Engine {
    fn rank(
        &mut self,
        model: Model,
        batch: &RankBatch,
        entities: &Table,
        relations: &Table,
    ) -> Result<Vec<RankCounts>, KernelError> {
        check::ranking(model, batch, &entities.spec, &relations.spec)?;
        let words = 2 * batch.queries.len();
        self.work.counts.room(&self.gpu, words)?;
        make_widened_room(&mut self.work, &self.gpu, entities)?;
        unlocked(&mut self.recorder).clear(self.work.counts.buffer())?;
        let block = self.block(model, entities);
        for (b, queries) in batch.queries.chunks(block).enumerate() {
            let skip = |q: usize, out: &mut Vec<u32>| {
                out.extend_from_slice(batch.known_of(b * block + q));
                out.push(queries[q].target);
            };
            let params = self.record_queries(model, queries, entities, relations, true, skip)?;
            let params = Params {
                at_counts: (b * block) as u32,
                ..params
            };
            let similarity = model.similarity();
            let recorder = unlocked(&mut self.recorder);
            let tile = rank_tile(recorder, similarity, &params, entities);
            target_scores(recorder, &params, similarity, tile, &self.work)?;
            rank_count(recorder, &params, similarity, entities, tile, &self.work)?;
        }
        self.flush()?;
        let counts = self
            .gpu
            .read(self.work.counts.buffer(), 0, batch.queries.len())?;
        Ok(counts)
    }

    fn scores(
        &mut self,
        model: Model,
        queries: &[RankQuery],
        entities: &Table,
        relations: &Table,
    ) -> Result<Vec<f32>, KernelError> {
        check::queries(model, queries, &entities.spec, &relations.spec)?;
        let rows = entities.spec.layout.rows();
        let tile = tile(&self.gpu, rows).min(self.block(model, entities));
        make_widened_room(&mut self.work, &self.gpu, entities)?;
        let mut scores = vec![0.0; queries.len() * rows];
        let found = scores.chunks_mut(tile * rows);
        for (queries, found) in queries.chunks(tile).zip(found) {
            let params =
                self.record_queries(model, queries, entities, relations, false, |_, _| ())?;
            let params = Params {
                candidates: rows as u32,
                ..params
            };
            self.work.scores.room(&self.gpu, found.len())?;
            let recorder = unlocked(&mut self.recorder);
            score_all(recorder, &params, model.similarity(), entities, &self.work)?;
            self.flush()?;
            self.gpu.read_into(self.work.scores.buffer(), 0, found)?;
        }
        Ok(scores)
    }

    fn score_pairs(
        &mut self,
        model: Model,
        queries: &[RankQuery],
        entities: &Table,
        relations: &Table,
    ) -> Result<Vec<f32>, KernelError> {
        check::queries(model, queries, &entities.spec, &relations.spec)?;
        let mut scores = vec![0.0; queries.len()];
        let block = self.block(model, entities);
        for (queries, found) in queries.chunks(block).zip(scores.chunks_mut(block)) {
            let params =
                self.record_queries(model, queries, entities, relations, true, |_, _| ())?;
            let recorder = unlocked(&mut self.recorder);
            let similarity = model.similarity();
            let tile = rank_tile(recorder, similarity, &params, entities);
            target_scores(recorder, &params, similarity, tile, &self.work)?;
            self.flush()?;
            self.gpu
                .read_into(self.work.thresholds.buffer(), 0, found)?;
        }
        Ok(scores)
    }
}

impl Engine {
    /// Queries of a block: each may have a relation of its own, and that may be a whole matrix.
    pub(super) fn block(&self, model: Model, entities: &Table) -> usize {
        let width = model.relation_width(entities.spec.width);
        let most = self.most_rows(width).min(MOST_VALUES / width.max(1));
        most.clamp(1, MOST_QUERIES)
    }

    /// Records the stages that make query vectors and, if `targets`, gather the targets' rows.
    /// `skip` lists the candidates that a query must not count.
    pub(super) fn record_queries(
        &mut self,
        model: Model,
        queries: &[RankQuery],
        entities: &Table,
        relations: &Table,
        targets: bool,
        skip: impl Fn(usize, &mut Vec<u32>),
    ) -> Result<Params, KernelError> {
        check::known_rows(model, queries, &entities.spec, &relations.spec)?;
        let (gpu, n) = (&self.gpu, queries.len());
        let width = entities.spec.width;
        // Each relation once, then the core if there is one.
        let mut asked: Vec<u32> = queries.iter().map(|query| query.relation).collect();
        asked.sort_unstable();
        asked.dedup();
        let core = Core {
            relations: asked.len(),
            rows: model.core_rows(width),
            width: relations.spec.width,
        };
        let end = relations.spec.layout.rows() as u32;
        asked.extend(end - core.rows as u32..end);
        self.work.entities.room(gpu, n * width)?;
        self.work.relations.room(gpu, asked.len() * core.width)?;
        core.make_room(&mut self.work, gpu, false)?;
        self.work.queries.room(gpu, n * width)?;
        self.work.targets.room(gpu, n * width)?;
        self.work.thresholds.room(gpu, n)?;

        let widths = Widths {
            entity: width,
            relation: model.relation_width(width),
        };
        let (params, at_ids) = self.words.ranking(queries, &asked, skip, widths);
        let words = self.words.as_slice();
        self.work.plan.room(gpu, words.len())?;
        // Commands that were recorded before still read the words of the block before.
        let recorder = unlocked(&mut self.recorder);
        recorder.submit()?;
        gpu.write(self.work.plan.buffer(), 0, words)?;

        let work = &self.work;
        let gathered = [
            (entities, work.entities.buffer()),
            (relations, work.relations.buffer()),
            (entities, work.targets.buffer()),
        ];
        let stages = if targets { 3 } else { 2 };
        for ((table, into), ids) in gathered.into_iter().zip(at_ids).take(stages) {
            let at_ids = ids.start as u32;
            let params = Params { at_ids, ..params };
            pull(
                recorder,
                &params,
                table,
                &words[ids],
                work.plan.buffer(),
                into,
            )?;
        }
        if core.rows > 0 {
            core_matrix(recorder, core, work)?;
        }
        query(recorder, &params, model, work)?;
        Ok(params)
    }
}
