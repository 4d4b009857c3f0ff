//! Checks that both engines make before they touch anything.

use super::{
    KernelError, LaneRows, PartRanking, PartTile, RankBatch, RankQuery, StepSpec, TableSpec,
};
use crate::loss::Statistic;
use crate::model::Model;
use crate::sampler::{Candidates, Pair, Plan};

/// Checks that tables, model and plan belong together.
pub(super) fn step(
    spec: &StepSpec,
    plan: &Plan,
    entities: &TableSpec,
    relations: &TableSpec,
) -> Result<(), KernelError> {
    widths(spec.model, entities, relations)?;
    // Ids ascend, so the last is the largest.
    rows(entities, plan.entities.ids.last().copied())?;
    rows(relations, plan.relations.ids.last().copied())?;
    core(spec.model, plan, entities, relations)?;
    relation_prediction(spec, plan, relations)
}

/// Checks that a plan touches the whole core, if there is one.
fn core(
    model: Model,
    plan: &Plan,
    entities: &TableSpec,
    relations: &TableSpec,
) -> Result<(), KernelError> {
    let expected = match plan.queries.is_empty() {
        true => 0,
        false => model.core_rows(entities.width),
    };
    KernelError::check_shape("core rows of the plan", expected, plan.core_rows)?;
    let first = relations.layout.rows() - expected;
    // Ids ascend, so if as many come from there on, these are all.
    let found =
        plan.relations.len() - (plan.relations.ids).partition_point(|&id| (id as usize) < first);
    KernelError::check_shape("core rows of the plan", expected, found)
}

/// Checks that a step predicts relations if, and only if, its plan is made for it.
fn relation_prediction(
    spec: &StepSpec,
    plan: &Plan,
    relations: &TableSpec,
) -> Result<(), KernelError> {
    let answers = match &plan.candidates {
        Candidates::All { positives, .. } => positives.len(),
        Candidates::Sampled { .. } => 0,
    };
    prediction(spec, plan, answers, relations.layout.rows())
}

/// [`relation_prediction`] for a plan with `answers` right answers and a table of `relations` rows.
fn prediction(
    spec: &StepSpec,
    plan: &Plan,
    answers: usize,
    relations: usize,
) -> Result<(), KernelError> {
    let weight = spec.relation_weight;
    let ends = |pair: &Pair| {
        let (query, answer) = (pair.query as usize, pair.answer as usize);
        query < plan.queries.len() && answer < plan.entities.len()
    };
    let why = match plan.predicts_relations {
        false if weight == 0.0 => return Ok(()),
        false => "the plan is not made for it",
        true if !(weight > 0.0 && weight.is_finite()) => "expected a finite weight above 0",
        true if !spec.model.predicts_relations() => "the model is not linear in the relation",
        true if answers != plan.pairs.len() => "expected a pair for each right answer, of all",
        true if !plan.pairs.iter().all(ends) => {
            "a pair names a query or an answer beyond the plan's"
        }
        // Ids ascend, so these are all.
        true if !plan.queries.is_empty() && plan.relations.len() != relations => {
            "the plan does not have all relations"
        }
        true => return Ok(()),
    };
    Err(KernelError::RelationPrediction { why })
}

/// Checks that model, plan and rows of a lane belong together. Returns the width of entities.
pub(super) fn lane(
    engine: &'static str,
    spec: &StepSpec,
    lane: &Plan,
    rows: LaneRows<'_>,
) -> Result<usize, KernelError> {
    let Candidates::All { positives, .. } = &lane.candidates else {
        return Err(KernelError::Unsupported {
            engine,
            what: "steps on parts of the entity table with sampled candidates",
        });
    };
    let (entities, relations) = (lane.entities.len(), lane.relations.len());
    let width = rows.entities.len() / entities.max(1);
    let relation_width = rows.relations.len() / relations.max(1);
    KernelError::check_shape(
        "entities of the lane",
        entities * width,
        rows.entities.len(),
    )?;
    let values = relations * relation_width;
    KernelError::check_shape("relations of the lane", values, rows.relations.len())?;
    if lane.queries.is_empty() {
        return Ok(width);
    }
    let whole = width.next_multiple_of(spec.model.values_per_lane());
    KernelError::check_shape("width of entities", whole.max(1), width)?;
    let core = spec.model.core_rows(width);
    KernelError::check_shape("core rows of the plan", core, lane.core_rows)?;
    if core == 0 {
        let expected = spec.model.relation_width(width);
        KernelError::check_shape("width of relations", expected, relation_width)?;
    }
    prediction(spec, lane, positives.len(), relations)?;
    Ok(width)
}

/// Checks that a tile of queries and a part of the entity table belong together.
pub(super) fn part(
    spec: &StepSpec,
    tile: &PartTile<'_>,
    table: &TableSpec,
) -> Result<(), KernelError> {
    let (plan, width) = (tile.plan, table.width);
    let whole = width.next_multiple_of(spec.model.values_per_lane());
    KernelError::check_shape("width of entities", whole, width)?;
    KernelError::check_shape("rows of the part", plan.rows.len(), table.layout.rows())?;
    let end = tile.queries.end.min(plan.queries());
    KernelError::check_shape("end of the tile", end, tile.queries.end)?;
    let values = tile.queries.len() * width;
    KernelError::check_shape("query vectors", values, tile.vectors.len())
}

/// Checks that queries to rank and a part of the entity table belong together.
pub(super) fn part_ranking(
    ranking: &PartRanking<'_>,
    table: &TableSpec,
) -> Result<(), KernelError> {
    let n = ranking.thresholds.len();
    KernelError::check_shape("query vectors", n * table.width, ranking.vectors.len())?;
    KernelError::check_shape("offsets of rows left out", n + 1, ranking.offsets.len())?;
    rows(table, ranking.left_out.iter().copied())
}

/// Checks that there are statistics of `rounds` rounds, one for each query of a tile.
pub(super) fn statistics(
    tile: &PartTile<'_>,
    statistics: &[Vec<Statistic>],
    rounds: usize,
) -> Result<(), KernelError> {
    KernelError::check_shape("rounds of statistics", rounds, statistics.len())?;
    let n = tile.queries.len();
    let mut rounds = statistics.iter();
    rounds.try_for_each(|round| KernelError::check_shape("statistics of queries", n, round.len()))
}

/// Checks that queries name rows that the tables have, targets included.
pub(super) fn queries(
    model: Model,
    queries: &[RankQuery],
    entities: &TableSpec,
    relations: &TableSpec,
) -> Result<(), KernelError> {
    known_rows(model, queries, entities, relations)?;
    rows(entities, queries.iter().map(|q| q.target))
}

/// Checks that queries name rows that the tables have, targets aside.
pub(super) fn known_rows(
    model: Model,
    queries: &[RankQuery],
    entities: &TableSpec,
    relations: &TableSpec,
) -> Result<(), KernelError> {
    widths(model, entities, relations)?;
    rows(entities, queries.iter().map(|q| q.entity))?;
    let end = relations.layout.rows() - model.core_rows(entities.width);
    below(end, relations, queries.iter().map(|q| q.relation))
}

/// Checks that a batch of rankings names rows that the tables have.
pub(super) fn ranking(
    model: Model,
    batch: &RankBatch,
    entities: &TableSpec,
    relations: &TableSpec,
) -> Result<(), KernelError> {
    queries(model, &batch.queries, entities, relations)?;
    rows(entities, batch.known.iter().copied())
}

/// Checks that the rows have the widths that the model takes.
fn widths(model: Model, entities: &TableSpec, relations: &TableSpec) -> Result<(), KernelError> {
    let whole = entities.width.next_multiple_of(model.values_per_lane());
    KernelError::check_shape("width of entities", whole, entities.width)?;
    if model.has_core() {
        let (rows, core) = (relations.layout.rows(), model.core_rows(entities.width));
        return KernelError::check_shape("rows of relations", rows.max(core), rows);
    }
    let relation_width = model.relation_width(entities.width);
    KernelError::check_shape("width of relations", relation_width, relations.width)
}

/// Checks that a table has these rows.
pub(super) fn rows(
    table: &TableSpec,
    rows: impl IntoIterator<Item = u32>,
) -> Result<(), KernelError> {
    below(table.layout.rows(), table, rows)
}

/// Checks that rows come before the end of those that may be named.
fn below(
    end: usize,
    table: &TableSpec,
    rows: impl IntoIterator<Item = u32>,
) -> Result<(), KernelError> {
    match rows.into_iter().find(|&row| row as usize >= end) {
        None => Ok(()),
        Some(row) => Err(KernelError::Row {
            table: table.name,
            row,
            rows: end,
        }),
    }
}
