//! A rank's share of a training step against all entities.

use std::ops::Range;

use super::{Group, PartError, check_lanes, check_length};
use crate::collective::{Call, Collective, CollectiveExt};
use crate::kernel::{Backend, LaneGradients, LaneRows, PartTile, StepSpec, Table, part_tile};
use crate::loss::Statistic;
use crate::sampler::{PartPlan, Plan};

/// A rank's share of a training step against all entities.
#[derive(Clone, Copy, Debug)]
pub struct PartStep<'a> {
    /// Model, loss and regularizer.
    pub spec: &'a StepSpec,
    /// The step, as this rank's part computes it.
    pub plan: &'a PartPlan,
    /// Queries of each rank's lane.
    pub lanes: &'a [Range<usize>],
    /// Plan of the rank's lane; see [`Plan::lane`].
    pub lane: &'a Plan,
    /// Rows that the lane reads.
    pub lane_rows: LaneRows<'a>,
    /// Part of the entity table that the rank holds, on the engine's device.
    pub part: &'a Table,
    /// Number of rows of the largest part.
    pub largest_part: usize,
}

/// Results of a rank's share of a step. The gradients of the part's rows stay in the engine:
/// [`Backend::keep_gradients`] and [`Backend::read_gradients`] find them by the whole plan and the part's table.
///
/// The gradient of a row of the whole entity table is the sum of its part's gradient and those of all lanes that read
/// it; the gradient of a relation is the sum of its lanes'.
#[derive(Clone, Debug, PartialEq)]
pub struct StepResult {
    /// Share of the rank in the step's loss; the loss is the sum over ranks.
    pub loss: f64,
    /// Gradients of the rows that the lane reads.
    pub lane: LaneGradients,
    /// The group's next call.
    pub next: Call,
}

impl PartStep<'_> {
    /// Computes this rank's share, together with all other ranks of the group. Calls of the group have consecutive
    /// numbers from `call` on.
    ///
    /// Arithmetic runs within the future: drive it on a thread that may compute for long.
    ///
    /// # Errors
    /// [`PartError::Lanes`] before anything is sent; else if the group or the arithmetic fails. A rank whose arithmetic
    /// fails does not come to the next call, and the others time out.
    pub async fn run(
        &self,
        engine: &mut Backend,
        collective: &dyn Collective,
        call: Call,
    ) -> Result<StepResult, PartError> {
        let (plan, width) = (self.plan, self.part.spec().width);
        let (n, world) = (plan.queries(), collective.world());
        check_lanes(self.lanes, n, world)?;
        let mut group = Group { collective, call };
        let own = engine.lane_queries(self.spec, self.lane, self.lane_rows)?;
        let vectors = group.gather_vectors(self.lanes, width, own).await?;

        let mut d_queries = vec![0.0; n * width];
        let mut loss = 0.0;
        let tile = part_tile(self.largest_part, width, n);
        for first in (0..n).step_by(tile) {
            let queries = first..n.min(first + tile);
            let values = queries.start * width..queries.end * width;
            let tile = PartTile {
                plan,
                queries,
                vectors: &vectors[values.clone()],
            };
            engine.score_part(self.spec, &tile, self.part)?;
            let statistics = self.statistics(engine, &mut group, &tile).await?;
            let d_queries = &mut d_queries[values];
            loss += engine.part_gradients(self.spec, &tile, self.part, &statistics, d_queries)?;
        }

        let d_queries = self.scatter(&mut group, &d_queries, width).await?;
        loss += engine.lane_gradients(self.spec, self.lane, &d_queries)?;
        Ok(StepResult {
            loss,
            lane: engine.read_lane_gradients(self.lane)?,
            next: group.call,
        })
    }

    /// Exchanges the statistics of a tile that was scored, one list for each round of the loss.
    async fn statistics(
        &self,
        engine: &mut Backend,
        group: &mut Group<'_>,
        tile: &PartTile<'_>,
    ) -> Result<Vec<Vec<Statistic>>, PartError> {
        let mut rounds = Vec::new();
        for _ in 0..self.spec.loss.rounds() {
            let own = engine.part_statistics(self.spec, tile, self.part, &rounds)?;
            let own: Vec<f32> = bytemuck::cast_slice(&own).to_vec();
            let values = own.len();
            let parts = group.collective.all_gather(group.next(), own).await?;
            for (rank, part) in parts.iter().enumerate() {
                check_length(rank, part.len(), values)?;
            }
            let parts: Vec<&[Statistic]> = parts
                .iter()
                .map(|part| bytemuck::cast_slice(part))
                .collect();
            let combined = |q: usize| self.spec.loss.combined(parts.iter().map(|part| part[q]));
            rounds.push((0..tile.queries.len()).map(combined).collect());
        }
        Ok(rounds)
    }

    /// Sends each lane its gradients of query vectors, and adds up those that the ranks sent to this one.
    async fn scatter(
        &self,
        group: &mut Group<'_>,
        d_queries: &[f32],
        width: usize,
    ) -> Result<Vec<f32>, PartError> {
        let lane = |lane: &Range<usize>| d_queries[lane.start * width..lane.end * width].to_vec();
        let parts = self.lanes.iter().map(lane).collect();
        let received = group.collective.all_to_all(group.next(), parts).await?;
        let values = self.lanes[group.collective.rank()].len() * width;
        for (rank, part) in received.iter().enumerate() {
            check_length(rank, part.len(), values)?;
        }
        let mut received = received.into_iter();
        let mut sums = received.next().unwrap_or_default();
        for part in received {
            for (sum, x) in sums.iter_mut().zip(part) {
                *sum += x;
            }
        }
        Ok(sums)
    }
}
