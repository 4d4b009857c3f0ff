//! Steps and rankings whose entity table is cut into parts.

use super::params::Params;
use super::shape::Tile;
use super::stages::gradients::{SLICE, grad_candidates_all, grad_query_all};
use super::stages::rows::{make_widened_room, pull};
use super::stages::scores::{
    mask_shard_gradients, mask_shards, part_loss, part_statistic, rank_count, score_all,
    target_scores,
};
use super::step::upload::{Parts, UploadedPart, Widths};
use super::step::{StepQueries, most_slices};
use super::workspace::Workspace;
use super::{Engine, Table, unlocked};
use crate::device::Gpu;
use crate::kernel::engine::PartEngine;
use crate::kernel::{
    KernelError, LaneGradients, LaneRows, PartRanking, PartTile, RankCounts, RankQuery, StepSpec,
    check,
};
use crate::loss::Statistic;
use crate::model::Model;
use crate::sampler::Plan;

/// Largest number of queries that are ranked at a time.
const MOST_QUERIES: usize = 1024;
/// Tile of rankings, whatever the sizes of parts, so that all score a row by the same instructions.
const RANK_TILE: Tile = Tile::Narrow;

/// State of a step whose entity table is cut.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PartStep {
    /// Values of an entity row and of a relation row of the lane.
    width: usize,
    relation_width: usize,
    /// Parameters of the part.
    uploaded: UploadedPart,
}

impl PartEngine for Engine {
    fn lane_queries(
        &mut self,
        spec: &StepSpec,
        lane: &Plan,
        rows: LaneRows<'_>,
    ) -> Result<Vec<f32>, KernelError> {
        let width = check::lane("GPU", spec, lane, rows)?;
        if lane.queries.is_empty() {
            return Ok(Vec::new());
        }
        self.flush()?;
        self.part.width = width;
        self.part.relation_width = rows.relations.len() / lane.relations.len().max(1);
        let queries = self.part.queries(spec, lane);
        queries.make_room(&mut self.work, &self.gpu)?;
        self.upload_lane(spec, lane)?;
        let (gpu, work) = (&self.gpu, &self.work);
        gpu.write(work.entities.buffer(), 0, rows.entities)?;
        gpu.write(work.relations.buffer(), 0, rows.relations)?;
        let recorder = unlocked(&mut self.recorder);
        queries.record_forward(recorder, &self.uploaded, work)?;
        recorder.submit()?;
        Ok(gpu.read(work.queries.buffer(), 0, lane.queries.len() * width)?)
    }

    fn score_part(
        &mut self,
        spec: &StepSpec,
        tile: &PartTile<'_>,
        part: &Table,
    ) -> Result<(), KernelError> {
        check::part(spec, tile, &part.spec)?;
        self.flush()?;
        if tile.queries.start == 0 {
            self.begin_part(spec, tile, part)?;
        }
        let (n, width) = (tile.queries.len(), part.spec.width);
        let (work, gpu) = (&mut self.work, &self.gpu);
        work.scores.room(gpu, n * part.spec.layout.rows())?;
        work.statistics.room(gpu, 4 * n)?;
        let most = part.spec.layout.most_rows().div_ceil(SLICE as usize);
        let slices = most_slices(gpu, n, width).min(most);
        work.slices.room(gpu, slices * n * width)?;
        let offset = bytes(tile.queries.start * width);
        gpu.write(work.queries.buffer(), offset, tile.vectors)?;
        let params = self.part.params(tile);
        let recorder = unlocked(&mut self.recorder);
        score_all(recorder, &params, spec.model.similarity(), part, &self.work)?;
        Ok(recorder.submit()?)
    }

    fn part_statistics(
        &mut self,
        spec: &StepSpec,
        tile: &PartTile<'_>,
        part: &Table,
        before: &[Vec<Statistic>],
    ) -> Result<Vec<Statistic>, KernelError> {
        check::part(spec, tile, &part.spec)?;
        check::statistics(tile, before, before.len())?;
        self.write_statistics(before)?;
        let round = before.len();
        let params = Params {
            extra: round as u32,
            ..self.part.params(tile)
        };
        let recorder = unlocked(&mut self.recorder);
        part_statistic(recorder, &params, spec.loss.kind, &self.work)?;
        recorder.submit()?;
        let n = tile.queries.len();
        let offset = bytes(2 * round * n);
        Ok(self.gpu.read(self.work.statistics.buffer(), offset, n)?)
    }

    fn part_gradients(
        &mut self,
        spec: &StepSpec,
        tile: &PartTile<'_>,
        part: &Table,
        statistics: &[Vec<Statistic>],
        d_queries: &mut [f32],
    ) -> Result<f64, KernelError> {
        check::part(spec, tile, &part.spec)?;
        check::statistics(tile, statistics, spec.loss.rounds())?;
        KernelError::check_shape("gradients of queries", tile.vectors.len(), d_queries.len())?;
        self.write_statistics(statistics)?;
        let (n, width) = (tile.queries.len(), part.spec.width);
        let (params, similarity) = (&self.part.params(tile), spec.model.similarity());
        let slices = most_slices(&self.gpu, n, width) as u32;
        let (recorder, work) = (unlocked(&mut self.recorder), &self.work);
        part_loss(recorder, params, spec.loss.kind, similarity, work)?;
        grad_query_all(recorder, params, similarity, part, work, slices)?;
        grad_candidates_all(recorder, params, similarity, part, work)?;
        if tile.queries.end == tile.plan.queries() && self.part.uploaded.names.is_some() {
            mask_shard_gradients(recorder, params, part, self.part.uploaded.names, work)?;
        }
        recorder.submit()?;
        let first = tile.queries.start;
        match part.spec.layout.rows() {
            // No stage has written.
            0 => d_queries.fill(0.0),
            _ => (self.gpu).read_into(work.d_queries.buffer(), bytes(first * width), d_queries)?,
        }
        let losses = (self.gpu).read::<f32>(work.losses.buffer(), bytes(first), n)?;
        Ok(losses.into_iter().map(f64::from).sum())
    }

    fn lane_gradients(
        &mut self,
        spec: &StepSpec,
        lane: &Plan,
        d_queries: &[f32],
    ) -> Result<f64, KernelError> {
        let values = lane.queries.len() * self.part.width;
        KernelError::check_shape("gradients of queries", values, d_queries.len())?;
        if lane.queries.is_empty() {
            return Ok(0.0);
        }
        self.flush()?;
        self.upload_lane(spec, lane)?;
        let (gpu, work) = (&self.gpu, &self.work);
        gpu.write(work.d_queries.buffer(), 0, d_queries)?;
        let recorder = unlocked(&mut self.recorder);
        let queries = self.part.queries(spec, lane);
        queries.record_backward(recorder, gpu, &self.uploaded, work)?;
        recorder.submit()?;
        let pairs = gpu.read::<f32>(work.pair_losses.buffer(), 0, lane.pairs.len())?;
        Ok(pairs.into_iter().map(f64::from).sum())
    }

    fn read_lane_gradients(&self, lane: &Plan) -> Result<LaneGradients, KernelError> {
        if lane.queries.is_empty() {
            return Ok(LaneGradients::default());
        }
        let (gpu, work, part) = (&self.gpu, &self.work, &self.part);
        let entities = lane.entities.len() * part.width;
        let relations = lane.relations.len() * part.relation_width;
        Ok(LaneGradients {
            entities: gpu.read(work.entity_gradients.buffer(), 0, entities)?,
            relations: gpu.read(work.relation_gradients.buffer(), 0, relations)?,
        })
    }

    fn query_vectors(
        &mut self,
        model: Model,
        queries: &[RankQuery],
        entities: &Table,
        relations: &Table,
    ) -> Result<Vec<f32>, KernelError> {
        let width = entities.spec.width;
        let mut vectors = vec![0.0; queries.len() * width];
        let block = self.block(model, entities);
        for (queries, out) in queries.chunks(block).zip(vectors.chunks_mut(block * width)) {
            // Targets are rows of other tables.
            let known: Vec<RankQuery> = queries
                .iter()
                .map(|query| RankQuery {
                    target: query.entity,
                    ..*query
                })
                .collect();
            self.record_queries(model, &known, entities, relations, false, |_, _| ())?;
            self.flush()?;
            self.gpu.read_into(self.work.queries.buffer(), 0, out)?;
        }
        Ok(vectors)
    }

    fn target_scores(
        &mut self,
        model: Model,
        vectors: &[f32],
        targets: &[Option<u32>],
        part: &Table,
    ) -> Result<Vec<f32>, KernelError> {
        let width = part.spec.width;
        KernelError::check_shape("query vectors", targets.len() * width, vectors.len())?;
        check::rows(&part.spec, targets.iter().flatten().copied())?;
        let mut scores = vec![0.0; targets.len()];
        if part.spec.layout.rows() == 0 {
            return Ok(scores);
        }
        let blocks = targets.chunks(MOST_QUERIES);
        let blocks = blocks.zip(vectors.chunks(MOST_QUERIES * width));
        for ((targets, vectors), out) in blocks.zip(scores.chunks_mut(MOST_QUERIES)) {
            // Some row in the place of a target that another part has.
            let rows: Vec<u32> = targets.iter().map(|row| row.unwrap_or(0)).collect();
            self.flush()?;
            let (gpu, work) = (&self.gpu, &mut self.work);
            work.plan.room(gpu, rows.len())?;
            work.targets.room(gpu, vectors.len())?;
            work.counts.room(gpu, 2 * rows.len())?;
            write_queries(work, gpu, vectors, rows.len())?;
            gpu.write(work.plan.buffer(), 0, &rows)?;
            let params = Params {
                width: width as u32,
                queries: rows.len() as u32,
                count: rows.len() as u32,
                ..Params::default()
            };
            let (recorder, work) = (unlocked(&mut self.recorder), &self.work);
            let [words, into] = [&work.plan, &work.targets].map(|s| s.buffer());
            pull(recorder, &params, part, &rows, words, into)?;
            target_scores(recorder, &params, model.similarity(), RANK_TILE, work)?;
            recorder.submit()?;
            self.gpu.read_into(work.thresholds.buffer(), 0, out)?;
            for (score, target) in out.iter_mut().zip(targets) {
                if target.is_none() {
                    *score = 0.0;
                }
            }
        }
        Ok(scores)
    }

    fn rank_part(
        &mut self,
        model: Model,
        ranking: &PartRanking<'_>,
        part: &Table,
    ) -> Result<Vec<RankCounts>, KernelError> {
        let (n, width) = (ranking.thresholds.len(), part.spec.width);
        check::part_ranking(ranking, &part.spec)?;
        let mut counts = Vec::with_capacity(n);
        let blocks = ranking.vectors.chunks(MOST_QUERIES * width);
        let blocks = blocks.zip(ranking.thresholds.chunks(MOST_QUERIES));
        for (b, (vectors, thresholds)) in blocks.enumerate() {
            let count = thresholds.len();
            let skipped = |q: usize| ranking.left_out_of(b * MOST_QUERIES + q);
            let params = Params {
                width: width as u32,
                ..self.words.skips(count, skipped)
            };
            self.flush()?;
            let (gpu, work) = (&self.gpu, &mut self.work);
            let words = self.words.as_slice();
            work.plan.room(gpu, words.len())?;
            work.counts.room(gpu, 2 * count)?;
            make_widened_room(work, gpu, part)?;
            write_queries(work, gpu, vectors, count)?;
            gpu.write(work.plan.buffer(), 0, words)?;
            gpu.write(work.thresholds.buffer(), 0, thresholds)?;
            let (recorder, work) = (unlocked(&mut self.recorder), &self.work);
            recorder.clear(work.counts.buffer())?;
            let similarity = model.similarity();
            rank_count(recorder, &params, similarity, part, RANK_TILE, work)?;
            recorder.submit()?;
            counts.extend((self.gpu).read::<RankCounts>(work.counts.buffer(), 0, count)?);
        }
        Ok(counts)
    }
}

/// Writes the vectors of queries that are ranked, and makes room for their thresholds.
fn write_queries(
    work: &mut Workspace,
    gpu: &Gpu,
    vectors: &[f32],
    count: usize,
) -> Result<(), KernelError> {
    work.queries.room(gpu, vectors.len())?;
    work.thresholds.room(gpu, count)?;
    Ok(gpu.write(work.queries.buffer(), 0, vectors)?)
}

/// Bytes of values before others in a buffer.
fn bytes(values: usize) -> u64 {
    (values * size_of::<f32>()) as u64
}

impl PartStep {
    fn queries<'a>(&self, spec: &'a StepSpec, lane: &'a Plan) -> StepQueries<'a> {
        StepQueries {
            spec,
            plan: lane,
            width: self.width,
            relation_width: self.relation_width,
        }
    }

    /// Parameters of a tile of queries.
    fn params(&self, tile: &PartTile<'_>) -> Params {
        Params {
            first: tile.queries.start as u32,
            count: tile.queries.len() as u32,
            ..self.uploaded.params
        }
    }
}

impl Engine {
    /// Uploads the plan of a lane.
    fn upload_lane(&mut self, spec: &StepSpec, lane: &Plan) -> Result<(), KernelError> {
        let width = self.part.width;
        let widths = Widths {
            entity: width,
            relation: spec.model.relation_width(width),
        };
        // Queries of a lane are not scored.
        let (uploaded, parts) = Parts::plan(spec, lane, widths, 0);
        self.uploaded = uploaded;
        self.work.plan.room(&self.gpu, parts.len())?;
        let words = self.work.plan.buffer();
        Ok(self.gpu.write_parts(words, parts.as_slice())?)
    }

    /// Uploads the plan of a part, makes room for all tiles, and masks the part's rows.
    fn begin_part(
        &mut self,
        spec: &StepSpec,
        tile: &PartTile<'_>,
        part: &Table,
    ) -> Result<(), KernelError> {
        let (n, width) = (tile.plan.queries(), part.spec.width);
        let (uploaded, parts) = Parts::part(spec, tile.plan, width);
        self.part.uploaded = uploaded;
        let (work, gpu) = (&mut self.work, &self.gpu);
        work.plan.room(gpu, parts.len())?;
        gpu.write_parts(work.plan.buffer(), parts.as_slice())?;
        work.queries.room(gpu, n * width)?;
        work.d_queries.room(gpu, n * width)?;
        work.losses.room(gpu, n)?;
        work.slopes.room(gpu, tile.plan.answers.len())?;
        make_widened_room(work, gpu, part)?;
        let layout = &part.spec.layout;
        for s in 0..layout.shards() {
            work.shard_room(gpu, s, layout.range(s).len() * width)?;
            if uploaded.names.is_some() {
                work.masked_room(gpu, s, layout.range(s).len() * width)?;
            }
        }
        let recorder = unlocked(&mut self.recorder);
        if uploaded.names.is_some() {
            mask_shards(recorder, &uploaded.params, part, uploaded.names, &self.work)?;
        }
        Ok(recorder.submit()?)
    }

    /// Writes the statistics of all parts, round by round.
    fn write_statistics(&mut self, rounds: &[Vec<Statistic>]) -> Result<(), KernelError> {
        self.flush()?;
        let mut first = 0;
        for round in rounds {
            let buffer = self.work.statistics.buffer();
            self.gpu.write(buffer, bytes(first), round)?;
            first += 2 * round.len();
        }
        Ok(())
    }
}
