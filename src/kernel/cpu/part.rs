//! The calls of steps and rankings whose entity table is cut into parts.

use super::rank::part::{count_part, query_vectors, target_scores};
use super::step::Workspace;
use super::step::softmax_all::{SimdTiles, tile_queries};
use super::{Engine, Route, Table, parallel};
use crate::kernel::engine::PartEngine;
use crate::kernel::{
    KernelError, LaneGradients, LaneRows, PartRanking, PartTile, RankCounts, RankQuery, StepSpec,
    check,
};
use crate::loss::Statistic;
use crate::model::Model;
use crate::sampler::Plan;

/// Number of queries that all parts of an entity table score before they exchange statistics, in a step of `queries`
/// queries of `width` values. `rows` is the number of rows of the largest part, so that all ranks find the same number,
/// whatever engine they have.
pub fn part_tile(rows: usize, width: usize, queries: usize) -> usize {
    tile_queries::<SimdTiles>(rows, width, queries).max(1)
}

impl PartEngine for Engine {
    fn lane_queries(
        &mut self,
        spec: &StepSpec,
        lane: &Plan,
        rows: LaneRows<'_>,
    ) -> Result<Vec<f32>, KernelError> {
        let width = check::lane("CPU", spec, lane, rows)?;
        let work = &mut self.work;
        parallel::in_pool(|| work.lane_queries(spec, lane, rows, width));
        Ok(work.queries[..lane.queries.len() * width].to_vec())
    }

    fn score_part(
        &mut self,
        spec: &StepSpec,
        tile: &PartTile<'_>,
        part: &Table,
    ) -> Result<(), KernelError> {
        check::part(spec, tile, &part.spec)?;
        let route = Route::of_all(spec, &part.spec);
        let (work, rows) = (&mut self.work, part.read());
        parallel::in_pool(|| work.score_part(route, spec, tile, &rows));
        Ok(())
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
        let route = Route::of_all(spec, &part.spec);
        let work = &mut self.work;
        Ok(parallel::in_pool(|| {
            work.part_statistics(route, spec, tile, before)
        }))
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
        let route = Route::of_all(spec, &part.spec);
        let (work, rows) = (&mut self.work, part.read());
        Ok(parallel::in_pool(|| {
            work.part_gradients(route, spec, tile, &rows, statistics, d_queries)
        }))
    }

    fn lane_gradients(
        &mut self,
        spec: &StepSpec,
        lane: &Plan,
        d_queries: &[f32],
    ) -> Result<f64, KernelError> {
        let work = &mut self.work;
        let values = lane.queries.len() * work.entity_width;
        KernelError::check_shape("gradients of queries", values, d_queries.len())?;
        Ok(parallel::in_pool(|| {
            work.lane_gradients(spec, lane, d_queries)
        }))
    }

    fn read_lane_gradients(&self, lane: &Plan) -> Result<LaneGradients, KernelError> {
        let Workspace {
            entity_gradients,
            relation_gradients,
            entity_width,
            relation_row_width,
            ..
        } = &self.work;
        let rows = match lane.queries.is_empty() {
            true => [0, 0],
            false => [lane.entities.len(), lane.relations.len()],
        };
        Ok(LaneGradients {
            entities: entity_gradients[..rows[0] * entity_width].to_vec(),
            relations: relation_gradients[..rows[1] * relation_row_width].to_vec(),
        })
    }

    fn query_vectors(
        &mut self,
        model: Model,
        queries: &[RankQuery],
        entities: &Table,
        relations: &Table,
    ) -> Result<Vec<f32>, KernelError> {
        check::known_rows(model, queries, &entities.spec, &relations.spec)?;
        Ok(query_vectors(model, queries, entities, relations))
    }

    fn target_scores(
        &mut self,
        model: Model,
        vectors: &[f32],
        targets: &[Option<u32>],
        part: &Table,
    ) -> Result<Vec<f32>, KernelError> {
        let values = targets.len() * part.spec.width;
        KernelError::check_shape("query vectors", values, vectors.len())?;
        check::rows(&part.spec, targets.iter().flatten().copied())?;
        Ok(target_scores(model, vectors, targets, part))
    }

    fn rank_part(
        &mut self,
        model: Model,
        ranking: &PartRanking<'_>,
        part: &Table,
    ) -> Result<Vec<RankCounts>, KernelError> {
        check::part_ranking(ranking, &part.spec)?;
        Ok(count_part(&mut self.work, model, ranking, part))
    }
}
