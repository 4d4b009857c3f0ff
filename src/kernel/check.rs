//! What both engines check before they touch anything.

use super::{KernelError, RankBatch, RankQuery, StepSpec, TableSpec};
use crate::model::Model;
use crate::sampler::Plan;

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
    rows(relations, plan.relations.ids.last().copied())
}

/// Checks that queries name rows that the tables have.
pub(super) fn queries(
    model: Model,
    queries: &[RankQuery],
    entities: &TableSpec,
    relations: &TableSpec,
) -> Result<(), KernelError> {
    widths(model, entities, relations)?;
    rows(entities, queries.iter().flat_map(|q| [q.entity, q.target]))?;
    rows(relations, queries.iter().map(|q| q.relation))
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
    let relation_width = model.relation_width(entities.width);
    KernelError::check_shape("width of relations", relation_width, relations.width)
}

/// Checks that a table has these rows.
pub(super) fn rows(
    table: &TableSpec,
    rows: impl IntoIterator<Item = u32>,
) -> Result<(), KernelError> {
    let end = table.layout.rows();
    match rows.into_iter().find(|&row| row as usize >= end) {
        None => Ok(()),
        Some(row) => Err(KernelError::Row {
            table: table.name,
            row,
            rows: end,
        }),
    }
}
