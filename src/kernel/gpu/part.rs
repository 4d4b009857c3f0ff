//! Steps and rankings whose entity table is cut into parts: a GPU's engine refuses them, and its callers move rows
//! instead.

use super::{Engine, Table};
use crate::kernel::engine::PartEngine;
use crate::kernel::{
    KernelError, LaneGradients, LaneRows, PartRanking, PartTile, RankCounts, RankQuery, StepSpec,
};
use crate::loss::Statistic;
use crate::model::Model;
use crate::sampler::Plan;

type Result<T> = std::result::Result<T, KernelError>;

fn refused<T>() -> Result<T> {
    Err(KernelError::Unsupported {
        engine: "GPU",
        what: "steps and rankings on parts of the entity table",
    })
}

impl PartEngine for Engine {
    fn lane_queries(&mut self, _: &StepSpec, _: &Plan, _: LaneRows<'_>) -> Result<Vec<f32>> {
        refused()
    }

    fn score_part(&mut self, _: &StepSpec, _: &PartTile<'_>, _: &Table) -> Result<()> {
        refused()
    }

    fn part_statistics(
        &mut self,
        _: &StepSpec,
        _: &PartTile<'_>,
        _: &Table,
        _: &[Vec<Statistic>],
    ) -> Result<Vec<Statistic>> {
        refused()
    }

    fn part_gradients(
        &mut self,
        _: &StepSpec,
        _: &PartTile<'_>,
        _: &Table,
        _: &[Vec<Statistic>],
        _: &mut [f32],
    ) -> Result<f64> {
        refused()
    }

    fn lane_gradients(&mut self, _: &StepSpec, _: &Plan, _: &[f32]) -> Result<f64> {
        refused()
    }

    fn read_lane_gradients(&self, _: &Plan) -> Result<LaneGradients> {
        refused()
    }

    fn query_vectors(
        &mut self,
        _: Model,
        _: &[RankQuery],
        _: &Table,
        _: &Table,
    ) -> Result<Vec<f32>> {
        refused()
    }

    fn target_scores(
        &mut self,
        _: Model,
        _: &[f32],
        _: &[Option<u32>],
        _: &Table,
    ) -> Result<Vec<f32>> {
        refused()
    }

    fn rank_part(&mut self, _: Model, _: &PartRanking<'_>, _: &Table) -> Result<Vec<RankCounts>> {
        refused()
    }
}
