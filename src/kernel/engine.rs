//! Calls to an engine. The CPU's engine and a GPU's implement them; [`Backend`](super::Backend)
//! chooses between the two, and has methods of the same names.
//!
//! The calls are in six traits, so that an engine can have the code of each in a file of its own.
//! [`Engine`] has them all.

use std::ops::Range;

use super::{
    Column, GradientRows, KernelError, LaneGradients, LaneRows, PartRanking, PartTile, Places,
    Push, RankBatch, RankCounts, RankQuery, ShardLayout, StepSpec, TableName, TableSpec,
};
use crate::loss::Statistic;
use crate::model::Model;
use crate::optim::OptimizerStep;
use crate::sampler::Plan;

/// All calls to an engine.
pub trait Engine: StepEngine + GradientEngine + PushEngine + RankEngine + PartEngine {}

impl<E: StepEngine + GradientEngine + PushEngine + RankEngine + PartEngine> Engine for E {}

/// Tables in the memory of an engine's device.
///
/// [`Backend`](super::Backend) checks numbers of rows and lengths of slices before it calls an
/// engine: rows that a table does not have are a [`KernelError::Row`], other lengths a
/// [`KernelError::Shape`]. Calls that read wait for the device.
pub trait TableEngine {
    /// A table in the memory of the device.
    type Table;

    /// The most rows of `width` values that one shard can hold.
    fn most_rows(&self, width: usize) -> usize;

    /// Makes a table. `fill(first, rows)` writes the values of consecutive rows from number `first`
    /// on, row-major, a few megabytes at a time. Optimizer states start at zero.
    ///
    /// # Errors
    /// If a shard has more rows than [`most_rows`](TableEngine::most_rows), or the device is lost
    /// or full.
    fn create_table(
        &self,
        spec: &TableSpec,
        fill: &mut dyn FnMut(usize, &mut [f32]),
    ) -> Result<Self::Table, KernelError>;

    /// Reads successive rows of a column, in table order, into `out`, which has `rows.len()` × the
    /// width of the column values. Leaves `out` as it is if the optimizer does not keep the column.
    ///
    /// # Errors
    /// If the device is lost.
    fn read_part(
        &self,
        table: &Self::Table,
        column: Column,
        rows: Range<usize>,
        out: &mut [f32],
    ) -> Result<(), KernelError>;

    /// Replaces successive rows of a column by `data`, which has `rows.len()` × the width of the
    /// column values.
    ///
    /// # Errors
    /// If the device is lost.
    fn write_part(
        &self,
        table: &Self::Table,
        column: Column,
        rows: Range<usize>,
        data: &[f32],
    ) -> Result<(), KernelError>;

    /// Reads the values of a shard's rows, in its order, into `out`, which has rows × width values.
    ///
    /// # Errors
    /// If the device is lost.
    fn read_shard(
        &self,
        table: &Self::Table,
        shard: usize,
        out: &mut [f32],
    ) -> Result<(), KernelError>;

    /// Reads the values of `rows` into `out`, which has `rows.len()` × width values.
    ///
    /// # Errors
    /// If the device is lost or full.
    fn read_rows(
        &self,
        table: &Self::Table,
        rows: &[u32],
        out: &mut [f32],
    ) -> Result<(), KernelError>;

    /// Replaces the values of `rows` by `values`, which has `rows.len()` × width values.
    ///
    /// # Errors
    /// If the device is lost or full.
    fn write_rows(
        &self,
        table: &Self::Table,
        rows: &[u32],
        values: &[f32],
    ) -> Result<(), KernelError>;

    /// A table whose row `i` is row `from[i]` of `table`, states and names included. The tables
    /// share the memory of shards that are the same in both.
    ///
    /// # Errors
    /// If the device is lost or full.
    fn rearrange(
        &self,
        table: &Self::Table,
        layout: &ShardLayout,
        from: &[u32],
    ) -> Result<Self::Table, KernelError>;

    /// Names all rows of a table, in storage order. A row's name alone seeds its stochastic
    /// rounding, and stays with the row where [`rearrange`](TableEngine::rearrange) moves it. A new
    /// table's rows have their numbers as names.
    ///
    /// # Errors
    /// If the device is lost.
    fn name_rows(&self, table: &Self::Table, names: &[u32]) -> Result<(), KernelError>;
}

/// Training steps.
pub trait StepEngine: TableEngine {
    /// Computes the gradients of a step and keeps them on the device for
    /// [`update`](StepEngine::update).
    ///
    /// # Errors
    /// [`KernelError::Shape`] if tables, model and plan do not belong together; if the device is
    /// lost or full.
    fn gradients(
        &mut self,
        spec: &StepSpec,
        plan: &Plan,
        entities: &Self::Table,
        relations: &Self::Table,
    ) -> Result<(), KernelError>;

    /// Applies the gradients of the last call of [`gradients`](StepEngine::gradients), which was
    /// for the same plan.
    ///
    /// # Errors
    /// [`KernelError::Repeated`] if rows of the plan do not ascend, where the engine checks that (a
    /// CPU's does); if the device is lost.
    fn update(
        &mut self,
        step: OptimizerStep,
        plan: &Plan,
        entities: &Self::Table,
        relations: &Self::Table,
    ) -> Result<(), KernelError>;

    /// [`gradients`](StepEngine::gradients) and [`update`](StepEngine::update), with the same bits.
    /// An engine may update rows as soon as their gradients are summed, and then keeps no
    /// gradients.
    ///
    /// # Errors
    /// As `gradients` and `update`. Nothing has changed then, unless the device is lost or full.
    fn step(
        &mut self,
        spec: &StepSpec,
        step: OptimizerStep,
        plan: &Plan,
        entities: &Self::Table,
        relations: &Self::Table,
    ) -> Result<(), KernelError> {
        self.gradients(spec, plan, entities, relations)?;
        self.update(step, plan, entities, relations)
    }

    /// The sum of the weighted losses of all steps since the last call. Waits for the device.
    ///
    /// # Errors
    /// If the device is lost.
    fn take_loss(&mut self) -> Result<f64, KernelError>;

    /// Fills the buffers between stages with NaN, so that tests notice a stage that reads before
    /// another has written.
    ///
    /// # Errors
    /// If the device is lost.
    #[doc(hidden)]
    fn poison(&mut self) -> Result<(), KernelError>;
}

/// Gradients in the memory of an engine's device: those of its last step, and pushed ones.
pub trait GradientEngine: TableEngine {
    /// Gradient rows in the memory of the device.
    type Gradients;

    /// Copies the gradients of a shard's rows that the last call of [`StepEngine::gradients`] made
    /// from this plan: of the rows that the plan touches, or of all rows of an entity shard where
    /// candidates are all entities. The copy stays on the device, in the memory of `old` if it is
    /// large enough.
    ///
    /// # Errors
    /// If the device is lost or full.
    fn keep_gradients(
        &mut self,
        plan: &Plan,
        name: TableName,
        table: &Self::Table,
        shard: usize,
        old: Option<Self::Gradients>,
    ) -> Result<Self::Gradients, KernelError>;

    /// Appends the values that [`keep_gradients`](GradientEngine::keep_gradients) would copy to
    /// `out`. Waits for the device.
    ///
    /// # Errors
    /// If the device is lost.
    fn read_gradients(
        &self,
        plan: &Plan,
        name: TableName,
        table: &Self::Table,
        shard: usize,
        out: &mut Vec<f32>,
    ) -> Result<(), KernelError>;

    /// Σ g² over all gradients of the last call of [`StepEngine::gradients`], which was for this
    /// plan. Not finite if a gradient is not. Waits for the device.
    ///
    /// # Errors
    /// If the device is lost.
    fn gradient_square_sum(
        &mut self,
        plan: &Plan,
        entities: &Self::Table,
        relations: &Self::Table,
    ) -> Result<f64, KernelError>;

    /// Copies gradient rows to the device, into the memory of `old` if it is large enough.
    ///
    /// # Errors
    /// If the device is lost or full.
    fn upload(
        &self,
        gradients: &[f32],
        old: Option<Self::Gradients>,
    ) -> Result<Self::Gradients, KernelError>;

    /// Σ wᵢ·xᵢ / `divisor` over rows of one length, added up in the order of `parts`; no rows if
    /// there are no parts. Values stay on the device, in the memory of `old` if it is large enough.
    ///
    /// The same parts give the same bits every time on the same kind of device. Devices may differ
    /// in the last bits: a GPU may fuse a product with its sum, and divide less exactly.
    ///
    /// # Errors
    /// [`KernelError::Shape`] if lengths differ; [`KernelError::ForeignRows`] if a part is in the
    /// memory of another device; if the device is lost or full.
    fn average(
        &self,
        parts: &[(&GradientRows, f32)],
        divisor: f32,
        old: Option<Self::Gradients>,
    ) -> Result<Self::Gradients, KernelError>;

    /// Σ g² over gradient rows, not finite if one of them is not. Waits for the device.
    ///
    /// # Errors
    /// [`KernelError::ForeignRows`] if the rows are in the memory of another device; if the device
    /// is lost or full.
    fn square_sum(&self, rows: &GradientRows) -> Result<f64, KernelError>;
}

/// The optimizer on pushed gradients.
pub trait PushEngine: TableEngine {
    /// Applies the optimizer once to every row that was pushed to a shard, with the weighted sum of
    /// its gradients, added up in the order of `pushes`.
    ///
    /// # Errors
    /// [`KernelError::Shape`], [`KernelError::Row`] or [`KernelError::ForeignRows`] if a push does
    /// not fit; nothing has changed then. If the device is lost or full.
    fn push(
        &self,
        step: OptimizerStep,
        table: &Self::Table,
        shard: usize,
        pushes: &[Push<'_>],
    ) -> Result<(), KernelError>;

    /// [`push`](PushEngine::push) for one push of weight 1 whose gradients are in main memory.
    ///
    /// # Errors
    /// As [`push`](PushEngine::push).
    fn push_rows(
        &self,
        step: OptimizerStep,
        table: &Self::Table,
        shard: usize,
        places: Places<'_>,
        gradients: &[f32],
    ) -> Result<(), KernelError>;
}

/// Rankings and scores outside training.
pub trait RankEngine: TableEngine {
    /// Counts, for every query, the candidates with a better score than its target, and those with
    /// the same score. The same instructions score targets and candidates, so equal rows are equal
    /// candidates.
    ///
    /// # Errors
    /// [`KernelError::Row`] for a row that a table does not have; [`KernelError::Shape`] if tables
    /// and model do not belong together; if the device is lost or full.
    fn rank(
        &mut self,
        model: Model,
        batch: &RankBatch,
        entities: &Self::Table,
        relations: &Self::Table,
    ) -> Result<Vec<RankCounts>, KernelError>;

    /// Scores of every query against every entity, queries × entities, row-major.
    ///
    /// # Errors
    /// As [`rank`](RankEngine::rank).
    fn scores(
        &mut self,
        model: Model,
        queries: &[RankQuery],
        entities: &Self::Table,
        relations: &Self::Table,
    ) -> Result<Vec<f32>, KernelError>;

    /// The score of every query against its target, as [`rank`](RankEngine::rank) scores it.
    ///
    /// # Errors
    /// As [`rank`](RankEngine::rank).
    fn score_pairs(
        &mut self,
        model: Model,
        queries: &[RankQuery],
        entities: &Self::Table,
        relations: &Self::Table,
    ) -> Result<Vec<f32>, KernelError>;
}

/// Steps and rankings against all entities whose entity table is cut into parts.
///
/// Each rank has a lane of a step's queries and a part of the entity table. A step makes these calls on every rank:
/// [`lane_queries`](PartEngine::lane_queries); for each tile of the step's queries, in order,
/// [`score_part`](PartEngine::score_part), [`part_statistics`](PartEngine::part_statistics) once for each round of the
/// loss, and [`part_gradients`](PartEngine::part_gradients); at last
/// [`lane_gradients`](PartEngine::lane_gradients). Rows of the part must not change meanwhile. The gradients of the part
/// then are where [`GradientEngine::keep_gradients`] and [`GradientEngine::read_gradients`] find those of a step
/// against all entities.
pub trait PartEngine: TableEngine {
    /// Computes the vectors of a lane's queries, queries × width, from copies of the rows that the lane reads.
    ///
    /// # Errors
    /// [`KernelError::Unsupported`] if candidates are sampled; [`KernelError::Shape`] if rows, model and plan do not
    /// belong together; if the device is lost or full.
    fn lane_queries(
        &mut self,
        spec: &StepSpec,
        lane: &Plan,
        rows: LaneRows<'_>,
    ) -> Result<Vec<f32>, KernelError>;

    /// Scores a tile of queries against the rows of a part. Tiles come in order, from the first query of the step to
    /// the last.
    ///
    /// # Errors
    /// [`KernelError::Shape`] if tile and part do not belong together; if the device is lost or full.
    fn score_part(
        &mut self,
        spec: &StepSpec,
        tile: &PartTile<'_>,
        part: &Self::Table,
    ) -> Result<(), KernelError>;

    /// Returns the part's statistics of the tile that was scored last, one for each query; `before` holds those of
    /// earlier rounds, of all parts.
    ///
    /// # Errors
    /// As [`score_part`](PartEngine::score_part).
    fn part_statistics(
        &mut self,
        spec: &StepSpec,
        tile: &PartTile<'_>,
        part: &Self::Table,
        before: &[Vec<Statistic>],
    ) -> Result<Vec<Statistic>, KernelError>;

    /// Overwrites `d_queries` with the part's share of ∂loss/∂query of the tile that was scored last, and adds to the
    /// gradients of the part's rows. `statistics` are those of all parts, one list for each round. Returns the part's
    /// share of the loss.
    ///
    /// # Errors
    /// As [`score_part`](PartEngine::score_part).
    fn part_gradients(
        &mut self,
        spec: &StepSpec,
        tile: &PartTile<'_>,
        part: &Self::Table,
        statistics: &[Vec<Statistic>],
        d_queries: &mut [f32],
    ) -> Result<f64, KernelError>;

    /// Computes the gradients of the rows that [`lane_queries`](PartEngine::lane_queries) was given, without what these
    /// rows have as candidates. `d_queries` is the sum of all parts' shares of ∂loss/∂query. Returns the loss of
    /// predicted relations.
    ///
    /// # Errors
    /// [`KernelError::Shape`] if there are not as many gradients as queries; if the device is lost or full.
    fn lane_gradients(
        &mut self,
        spec: &StepSpec,
        lane: &Plan,
        d_queries: &[f32],
    ) -> Result<f64, KernelError>;

    /// Copies the gradients that [`lane_gradients`](PartEngine::lane_gradients) computed last, for the same plan.
    ///
    /// # Errors
    /// If the device is lost.
    fn read_lane_gradients(&self, lane: &Plan) -> Result<LaneGradients, KernelError>;

    /// Computes the vectors of queries, queries × width, without dropout. Their rows are rows of these tables; targets
    /// are not read.
    ///
    /// # Errors
    /// As [`RankEngine::rank`].
    fn query_vectors(
        &mut self,
        model: Model,
        queries: &[RankQuery],
        entities: &Self::Table,
        relations: &Self::Table,
    ) -> Result<Vec<f32>, KernelError>;

    /// Scores queries against their targets, with the bits of [`rank_part`](PartEngine::rank_part); 0 for a query whose
    /// target is not in the part. Targets are rows of the part.
    ///
    /// # Errors
    /// As [`RankEngine::rank`].
    fn target_scores(
        &mut self,
        model: Model,
        vectors: &[f32],
        targets: &[Option<u32>],
        part: &Self::Table,
    ) -> Result<Vec<f32>, KernelError>;

    /// Counts, for every query, the rows of the part with a better score than its target, and those with the same
    /// score. The counts of all parts add up to those of [`RankEngine::rank`].
    ///
    /// # Errors
    /// As [`RankEngine::rank`].
    fn rank_part(
        &mut self,
        model: Model,
        ranking: &PartRanking<'_>,
        part: &Self::Table,
    ) -> Result<Vec<RankCounts>, KernelError>;
}
