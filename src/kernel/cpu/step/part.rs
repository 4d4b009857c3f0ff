//! Steps against all entities whose entity table is cut into parts: the stages of a lane of queries, and of a part
//! of the table.

use rayon::prelude::*;

use super::context::PlanRows;
use super::softmax_all::{AmxTiles, Labels, SimdTiles, TileGradients, TileKernel, TileQueries};
use super::{Workspace, task};
use crate::kernel::cpu::dropout::Dropout;
use crate::kernel::cpu::stages::gradients::grad_candidates_all::grad_candidates_all;
use crate::kernel::cpu::stages::gradients::grad_query_all::grad_query_all;
use crate::kernel::cpu::stages::scores::candidate_dropout::candidate_dropout;
use crate::kernel::cpu::stages::scores::candidate_dropout_backward::candidate_dropout_backward;
use crate::kernel::cpu::stages::scores::part_loss::part_loss;
use crate::kernel::cpu::stages::scores::part_statistic::part_statistic;
use crate::kernel::cpu::stages::scores::score_all::score_all;
use crate::kernel::cpu::table::{AlignedVec, Table, TableReadGuard};
use crate::kernel::cpu::{Route, Tiles};
use crate::kernel::{Dtype, LaneRows, PartTile, ShardLayout, StepSpec, TableSpec};
use crate::loss::{PartRow, Statistic};
use crate::optim::OptimizerKind;
use crate::sampler::{PartPlan, Plan};

/// Most rounds of statistics that a loss has.
const ROUNDS: usize = 2;

impl Workspace {
    /// Computes the query vectors of a lane; copies its rows. Entities have `width` values.
    pub fn lane_queries(&mut self, spec: &StepSpec, lane: &Plan, rows: LaneRows<'_>, width: usize) {
        self.entities.replace(rows.entities);
        self.entity_gradients
            .resize_for_overwrite(rows.entities.len());
        let row_width = rows.relations.len() / lane.relations.len().max(1);
        match lane.core_rows {
            0 => self.relations.replace(rows.relations),
            core => {
                self.core.rows.replace(rows.relations);
                self.core.multiply(row_width, core, &mut self.relations);
            }
        }
        self.reserve(spec.model, lane, width, row_width);
        let Some(step) = self.context(spec, lane) else {
            return;
        };
        // Lent, while the others are written.
        let entities = std::mem::take(&mut self.entities);
        let pulled = PlanRows::pulled(&entities, width);
        self.blocks(&step, |block, relations| {
            step.forward(lane, pulled, relations, block);
        });
        self.entities = entities;
    }

    /// Computes the gradients of a lane's rows from ∂loss/∂query. Returns the loss of predicted relations.
    pub fn lane_gradients(&mut self, spec: &StepSpec, lane: &Plan, d_queries: &[f32]) -> f64 {
        let Some(step) = self.context(spec, lane) else {
            return 0.0;
        };
        self.d_queries[..d_queries.len()].copy_from_slice(d_queries);
        // Lent, while the others are written.
        let entities = std::mem::take(&mut self.entities);
        let pulled = PlanRows::pulled(&entities, step.entity_width);
        self.blocks(&step, |block, relations| {
            step.backward(lane, pulled, relations, block);
        });
        self.entities = entities;
        let loss = match lane.predicts_relations {
            true => {
                let table = self.relation_table(lane);
                self.predict_relations(spec, lane, &table.read())
            }
            false => 0.0,
        };
        self.reduce(Route::All, spec, lane);
        loss
    }

    /// A table of a lane's relations, which are all relations.
    fn relation_table(&self, lane: &Plan) -> Table {
        let rows = lane.relations.len();
        let spec = TableSpec {
            name: "relations",
            width: self.relation_width,
            layout: ShardLayout::new(rows, 1, rows),
            optimizer: OptimizerKind::Sgd,
            dtype: Dtype::F32,
        };
        Table::new(&spec, &mut |first, out| {
            let values = &self.relations[first * self.relation_width..];
            out.copy_from_slice(&values[..out.len()]);
        })
    }

    /// Scores a tile of queries against the rows of a part. With the first tile, reserves memory for the
    /// gradients of the part, and masks its rows.
    pub fn score_part(
        &mut self,
        route: Route,
        spec: &StepSpec,
        tile: &PartTile<'_>,
        table: &TableReadGuard<'_>,
    ) {
        if tile.queries.start == 0 {
            self.begin_part(spec, tile.plan, table);
        }
        self.with_candidates(spec, table, |work, table| match route {
            Route::AllSoftmax(Tiles::Simd) => {
                (work.softmax_all).score_tile(SimdTiles, queries_of(tile), table);
            }
            Route::AllSoftmax(Tiles::Amx(unit)) => {
                (work.softmax_all).score_tile(AmxTiles(unit), queries_of(tile), table);
            }
            _ => {
                let (rows, width) = (table.spec.layout.rows(), table.spec.width);
                let n = tile.queries.len();
                let scores = work.scores.resize_for_overwrite(n * rows);
                if rows == 0 {
                    return;
                }
                let task = task(n);
                (tile.vectors.par_chunks(task * width))
                    .zip(scores.par_chunks_mut(task * rows))
                    .for_each(|(vectors, scores)| score_all(spec.model, vectors, table, scores));
            }
        });
    }

    /// Statistics of the tile that was scored last, one for each query.
    pub fn part_statistics(
        &mut self,
        route: Route,
        spec: &StepSpec,
        tile: &PartTile<'_>,
        before: &[Vec<Statistic>],
    ) -> Vec<Statistic> {
        if let Route::AllSoftmax(_) = route {
            return self.softmax_all.statistics().collect();
        }
        let (rows, n) = (tile.plan.rows.len(), tile.queries.len());
        let mut found = vec![Statistic::default(); n];
        let statistic = |q: usize, scores: &mut [f32]| {
            let (row, before) = (row_of(tile, q), Rounds::of(before, q));
            part_statistic(&spec.loss, scores, &row, before.as_slice())
        };
        if rows == 0 {
            let each = found.iter_mut().enumerate();
            each.for_each(|(q, found)| *found = statistic(q, &mut []));
            return found;
        }
        (self.scores[..n * rows].par_chunks_mut(rows))
            .zip(&mut found)
            .enumerate()
            .for_each(|(q, (scores, found))| *found = statistic(q, scores));
        found
    }

    /// Gradients of the tile that was scored last, given the statistics of all parts, one list a round. Overwrites
    /// `d_queries`, adds to the gradients of the part, and returns the part's share of the tile's loss.
    pub fn part_gradients(
        &mut self,
        route: Route,
        spec: &StepSpec,
        tile: &PartTile<'_>,
        table: &TableReadGuard<'_>,
        statistics: &[Vec<Statistic>],
        d_queries: &mut [f32],
    ) -> f64 {
        let mut losses = vec![0.0; tile.queries.len()];
        self.with_candidates(spec, table, |work, table| match route {
            Route::AllSoftmax(Tiles::Simd) => {
                work.part_softmax(SimdTiles, tile, table, statistics, d_queries, &mut losses);
            }
            Route::AllSoftmax(Tiles::Amx(unit)) => {
                let kernel = AmxTiles(unit);
                work.part_softmax(kernel, tile, table, statistics, d_queries, &mut losses);
            }
            _ => work.part_rows(spec, tile, table, statistics, d_queries, &mut losses),
        });
        if tile.queries.end == tile.plan.queries() && spec.candidate_dropout > 0.0 {
            let (layout, width) = (&table.spec.layout, table.spec.width);
            let names = Some(tile.plan.rows.rows());
            let dropout = Dropout::seeded(spec, tile.plan.dropout_seed, 0);
            candidate_dropout_backward(&dropout, layout, names, width, &mut self.shard_gradients);
        }
        losses.into_iter().map(f64::from).sum()
    }

    /// Reserves memory for the gradients of a part, and masks its rows where candidates have dropout.
    fn begin_part(&mut self, spec: &StepSpec, plan: &PartPlan, table: &TableReadGuard<'_>) {
        let layout = &table.spec.layout;
        self.shard_gradients
            .resize_with(layout.shards(), AlignedVec::default);
        for (s, gradient) in self.shard_gradients.iter_mut().enumerate() {
            gradient.resize_for_overwrite(layout.range(s).len() * table.spec.width);
        }
        if spec.candidate_dropout > 0.0 {
            let dropout = Dropout::seeded(spec, plan.dropout_seed, 0);
            let (names, old) = (Some(plan.rows.rows()), self.masked.take());
            self.masked = Some(candidate_dropout(&dropout, table, names, old));
        }
    }

    /// Calls `work` with the rows of a part as candidates: masked ones where candidates have dropout.
    fn with_candidates(
        &mut self,
        spec: &StepSpec,
        table: &TableReadGuard<'_>,
        work: impl FnOnce(&mut Workspace, &TableReadGuard<'_>),
    ) {
        // Lent, while the others are written.
        match self.masked.take().filter(|_| spec.candidate_dropout > 0.0) {
            Some(masked) => {
                work(self, &masked.read());
                self.masked = Some(masked);
            }
            None => work(self, table),
        }
    }

    /// Models that score by a dot product, with a softmax.
    fn part_softmax<K: TileKernel>(
        &mut self,
        kernel: K,
        tile: &PartTile<'_>,
        table: &TableReadGuard<'_>,
        statistics: &[Vec<Statistic>],
        d_queries: &mut [f32],
        losses: &mut [f32],
    ) {
        let all = statistics.first().map_or(&[][..], |all| &all[..]);
        for ((q, loss), all) in tile.queries.clone().zip(&mut *losses).zip(all) {
            if tile.plan.lane.contains(&q) {
                let normaliser = all.largest + f64::from(all.sum).ln() as f32;
                *loss = tile.plan.weights[q] * normaliser;
            }
        }
        let out = TileGradients {
            d_queries,
            losses,
            entities: &mut self.shard_gradients,
            overwrite: tile.queries.start == 0,
        };
        (self.softmax_all).part_gradients(kernel, queries_of(tile), table, all, out);
    }

    /// All other models and losses.
    fn part_rows(
        &mut self,
        spec: &StepSpec,
        tile: &PartTile<'_>,
        table: &TableReadGuard<'_>,
        statistics: &[Vec<Statistic>],
        d_queries: &mut [f32],
        losses: &mut [f32],
    ) {
        let (rows, width, n) = (
            table.spec.layout.rows(),
            table.spec.width,
            tile.queries.len(),
        );
        let (model, task) = (spec.model, task(n));
        let part_loss = |q: usize, scores: &mut [f32], slopes: &mut Vec<f32>| {
            let (row, rounds) = (row_of(tile, q), Rounds::of(statistics, q));
            let (loss, similarity) = (&spec.loss, model.similarity());
            part_loss(loss, similarity, scores, &row, rounds.as_slice(), slopes)
        };
        if rows == 0 {
            // Terms of the loss that belong to no candidate.
            let each = losses.iter_mut().enumerate();
            each.for_each(|(q, loss)| *loss = part_loss(q, &mut [], &mut Vec::new()));
            return d_queries.fill(0.0);
        }
        let scores = &mut self.scores[..n * rows];
        (scores.par_chunks_mut(task * rows))
            .zip(tile.vectors.par_chunks(task * width))
            .zip(d_queries.par_chunks_mut(task * width))
            .zip(losses.par_chunks_mut(task))
            .enumerate()
            .for_each(|(b, (((scores, vectors), d_queries), losses))| {
                let mut slopes = Vec::new();
                let each = scores.chunks_exact_mut(rows).zip(losses);
                for (q, (scores, value)) in (b * task..).zip(each) {
                    *value = part_loss(q, scores, &mut slopes);
                }
                grad_query_all(model, scores, vectors, table, d_queries);
            });
        let overwrite = tile.queries.start == 0;
        let gradients = &mut self.shard_gradients;
        grad_candidates_all(model, scores, tile.vectors, table, gradients, overwrite);
    }
}

/// Statistics of one query, one for each round so far.
struct Rounds {
    statistics: [Statistic; ROUNDS],
    count: usize,
}

impl Rounds {
    fn of(rounds: &[Vec<Statistic>], query: usize) -> Rounds {
        let mut statistics = [Statistic::default(); ROUNDS];
        for (own, round) in statistics.iter_mut().zip(rounds) {
            *own = round[query];
        }
        Rounds {
            statistics,
            count: rounds.len().min(ROUNDS),
        }
    }

    fn as_slice(&self) -> &[Statistic] {
        &self.statistics[..self.count]
    }
}

fn queries_of<'a>(tile: &PartTile<'a>) -> TileQueries<'a> {
    TileQueries {
        labels: Labels::of_part(tile.plan),
        first: tile.queries.start,
        vectors: tile.vectors,
    }
}

/// Query `q` of a tile, scores aside.
fn row_of<'a>(tile: &PartTile<'a>, q: usize) -> PartRow<'a> {
    let (plan, q) = (tile.plan, tile.queries.start + q);
    PartRow {
        answers: plan.answers_of(q),
        first: plan.first_answers[q],
        all_answers: plan.all_answers[q] as usize,
        candidates: plan.entities,
        weight: plan.weights[q],
        leads: plan.lane.contains(&q),
    }
}
