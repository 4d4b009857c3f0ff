//! A rank's share of a training step against all entities.

use std::ops::Range;

use super::sums::{self, Fixed};
use super::{Group, PartError, check_length};
use crate::collective::{Call, Collective, CollectiveExt};
use crate::kernel::{Backend, LaneGradients, LaneRows, PartTile, StepSpec, Table, part_tile};
use crate::loss::Statistic;
use crate::sampler::{PartPlan, Plan};

/// A lane of a step's queries that a rank computes.
#[derive(Debug)]
pub struct LaneStep<'a> {
    /// Plan of the lane; see [`Plan::lane`].
    pub plan: &'a Plan,
    /// Rows that the lane reads.
    pub rows: LaneRows<'a>,
    /// Engine of this lane alone.
    pub engine: &'a mut Backend,
}

/// A part of the entity table that a rank holds.
#[derive(Debug)]
pub struct HeldPart<'a> {
    /// The step, as the part computes it.
    pub plan: &'a PartPlan,
    /// Rows of the part, on the engine's device.
    pub table: &'a Table,
    /// Engine of this part alone, which keeps the gradients of the part's rows: [`Backend::keep_gradients`] and
    /// [`Backend::read_gradients`] find them by the whole plan and the part's table.
    pub engine: &'a mut Backend,
}

/// A rank's share of a training step against all entities.
#[derive(Clone, Copy, Debug)]
pub struct PartStep<'a> {
    /// Model, loss and regularizer.
    pub spec: &'a StepSpec,
    /// Number of queries of the step.
    pub queries: usize,
    /// Number of the first query of the rank's lanes.
    pub first: usize,
    /// Number of values of an entity row.
    pub width: usize,
    /// Rank that holds each part.
    pub ranks: &'a [usize],
    /// Number of rows of the largest part.
    pub largest_part: usize,
}

/// Results of a rank's share of a step.
///
/// The gradient of a row of the whole entity table is the sum of its part's gradient and those of all lanes that read
/// the row; the gradient of a relation is the sum of its lanes'.
#[derive(Clone, Debug, PartialEq)]
pub struct StepResult {
    /// Results of the rank's lanes, in their order.
    pub lanes: Vec<LaneResult>,
    /// Losses of the rank's parts, in their order. The loss of the step is the sum over all parts and lanes.
    pub losses: Vec<f64>,
    /// The group's next call.
    pub next: Call,
}

/// Results of a lane.
#[derive(Clone, Debug, PartialEq)]
pub struct LaneResult {
    /// Loss of predicted relations.
    pub loss: f64,
    /// Gradients of the rows that the lane reads.
    pub gradients: LaneGradients,
}

/// Queries of a tile, and their vectors.
struct TileQueries<'a> {
    queries: Range<usize>,
    vectors: &'a [f32],
}

impl TileQueries<'_> {
    /// The tile for a part.
    fn of<'t>(&'t self, plan: &'t PartPlan) -> PartTile<'t> {
        PartTile {
            plan,
            queries: self.queries.clone(),
            vectors: self.vectors,
        }
    }
}

impl PartStep<'_> {
    /// Computes this rank's share, together with all other ranks of the group. `lanes` are the rank's lanes, which
    /// follow one another; the lanes of all ranks follow one another in the order of ranks. `held` are the rank's
    /// parts, ascending. Calls of the group have consecutive numbers from `call` on.
    ///
    /// The results depend on lanes and parts, not on the ranks that have them.
    ///
    /// Arithmetic runs within the future: drive it on a thread that may compute for long.
    ///
    /// # Errors
    /// [`PartError::Queries`] if the lanes of all ranks are not the queries of the step; [`PartError::Parts`] if `held`
    /// are not the rank's parts; else if the group or the arithmetic fails. A rank whose arithmetic fails does not come
    /// to the next call, and the others time out.
    pub async fn run(
        &self,
        lanes: &mut [LaneStep<'_>],
        held: &mut [HeldPart<'_>],
        collective: &dyn Collective,
        call: Call,
    ) -> Result<StepResult, PartError> {
        let rank = collective.rank();
        let expected = self.ranks.iter().filter(|of| **of == rank).count();
        if held.len() != expected {
            let found = held.len();
            return Err(PartError::Parts {
                rank,
                found,
                expected,
            });
        }
        let group = Group { collective, call };
        match sums::is_narrow(self.ranks.len()) {
            true => self.run_with::<u32>(lanes, held, group).await,
            false => self.run_with::<u64>(lanes, held, group).await,
        }
    }

    /// Computes the rank's share, with sums in integers of type `T`.
    async fn run_with<T: Fixed>(
        &self,
        lanes: &mut [LaneStep<'_>],
        held: &mut [HeldPart<'_>],
        mut group: Group<'_>,
    ) -> Result<StepResult, PartError> {
        let (n, width) = (self.queries, self.width);
        let mut own = Vec::new();
        for lane in &mut *lanes {
            own.extend(lane.engine.lane_queries(self.spec, lane.plan, lane.rows)?);
        }
        let (vectors, ranges) = self.gather(&mut group, own).await?;

        let mut sums = vec![T::zeroed(); n * width];
        let mut largest = Vec::with_capacity(n);
        let mut losses = vec![0.0; held.len()];
        let mut shares = vec![Vec::new(); held.len()];
        let tile = part_tile(self.largest_part, width, n);
        for first in (0..n).step_by(tile) {
            let queries = first..n.min(first + tile);
            let values = queries.start * width..queries.end * width;
            let tile = TileQueries {
                vectors: &vectors[values.clone()],
                queries,
            };
            for part in &mut *held {
                let (engine, tile) = (&mut *part.engine, tile.of(part.plan));
                engine.score_part(self.spec, &tile, part.table)?;
            }
            let statistics = self.statistics(&mut group, held, &tile).await?;
            let mut most = vec![0; tile.queries.len()];
            for ((part, share), loss) in held.iter_mut().zip(&mut shares).zip(&mut losses) {
                let (engine, tile) = (&mut *part.engine, tile.of(part.plan));
                share.resize(values.len(), 0.0);
                *loss += engine.part_gradients(self.spec, &tile, part.table, &statistics, share)?;
                sums::largest(share, width, &mut most);
            }
            let most = self.largest(&mut group, most).await?;
            for share in &shares {
                sums::add(&mut sums[values.clone()], share, &most, self.ranks.len());
            }
            largest.extend(most);
        }

        let rank = group.collective.rank();
        let parts = ranges.iter().map(|range| {
            let values = range.start * width..range.end * width;
            sums[values].to_vec()
        });
        let received = group.collective.all_to_all(group.next(), parts.collect());
        let own = ranges[rank].clone();
        let mut sums = vec![T::zeroed(); own.len() * width];
        for (rank, part) in received.await?.into_iter().enumerate() {
            check_length(rank, part.len(), sums.len())?;
            for (sum, x) in sums.iter_mut().zip(part) {
                *sum = sum.add_wrapping(x);
            }
        }
        let d_queries = sums::values(&sums, &largest[own], self.ranks.len());

        let mut results = Vec::with_capacity(lanes.len());
        let mut rest = &d_queries[..];
        for lane in lanes {
            let (d_queries, others) = rest.split_at(lane.plan.queries.len() * width);
            rest = others;
            let loss = lane
                .engine
                .lane_gradients(self.spec, lane.plan, d_queries)?;
            let gradients = lane.engine.read_lane_gradients(lane.plan)?;
            results.push(LaneResult { loss, gradients });
        }
        Ok(StepResult {
            lanes: results,
            losses,
            next: group.call,
        })
    }

    /// Gathers the query vectors of all ranks. Returns them in the order of queries, and the queries of each rank.
    async fn gather(
        &self,
        group: &mut Group<'_>,
        own: Vec<f32>,
    ) -> Result<(Vec<f32>, Vec<Range<usize>>), PartError> {
        let gathered = group.collective.all_gather(group.next(), own).await?;
        let mut ranges = Vec::with_capacity(gathered.len());
        let mut end = 0;
        for (rank, vectors) in gathered.iter().enumerate() {
            let count = vectors.len() / self.width.max(1);
            check_length(rank, vectors.len(), count * self.width)?;
            ranges.push(end..end + count);
            end += count;
        }
        let rank = group.collective.rank();
        let own = &ranges[rank];
        if end != self.queries || !own.is_empty() && own.start != self.first {
            return Err(PartError::Queries {
                rank,
                found: own.start..own.end,
                first: self.first,
                all: end,
                expected: self.queries,
            });
        }
        Ok((gathered.concat(), ranges))
    }

    /// Exchanges the statistics of a tile that was scored, one list for each round of the loss.
    async fn statistics(
        &self,
        group: &mut Group<'_>,
        held: &mut [HeldPart<'_>],
        tile: &TileQueries<'_>,
    ) -> Result<Vec<Vec<Statistic>>, PartError> {
        let n = tile.queries.len();
        let mut rounds = Vec::new();
        for _ in 0..self.spec.loss.rounds() {
            let mut own: Vec<f32> = Vec::with_capacity(2 * n * held.len());
            for part in &mut *held {
                let (engine, tile) = (&mut *part.engine, tile.of(part.plan));
                let found = engine.part_statistics(self.spec, &tile, part.table, &rounds)?;
                own.extend_from_slice(bytemuck::cast_slice(&found));
            }
            let gathered = group.collective.all_gather(group.next(), own).await?;
            for (rank, found) in gathered.iter().enumerate() {
                let parts = self.ranks.iter().filter(|of| **of == rank).count();
                check_length(rank, found.len(), 2 * n * parts)?;
            }
            // In the order of parts, whichever rank holds them.
            let mut gathered: Vec<_> = gathered
                .iter()
                .map(|found| bytemuck::cast_slice::<f32, Statistic>(found).chunks_exact(n))
                .collect();
            let parts: Vec<&[Statistic]> = self
                .ranks
                .iter()
                .filter_map(|&rank| gathered.get_mut(rank)?.next())
                .collect();
            let combined = |q: usize| self.spec.loss.combined(parts.iter().map(|part| part[q]));
            rounds.push((0..n).map(combined).collect());
        }
        Ok(rounds)
    }

    /// Exchanges the largest values of a tile's queries.
    async fn largest(&self, group: &mut Group<'_>, own: Vec<u32>) -> Result<Vec<u32>, PartError> {
        let mut largest = vec![0; own.len()];
        let gathered = group.collective.all_gather(group.next(), own).await?;
        for (rank, part) in gathered.into_iter().enumerate() {
            check_length(rank, part.len(), largest.len())?;
            for (largest, x) in largest.iter_mut().zip(part) {
                *largest = x.max(*largest);
            }
        }
        Ok(largest)
    }
}
