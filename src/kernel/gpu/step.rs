//! The order of the stages within a training step.

use super::Table;
use super::grad_query::grad_query;
use super::grad_rows::{grad_entities, grad_relations};
use super::loss::loss;
use super::pull::pull;
use super::query::query;
use super::query_backward::query_backward;
use super::recorder::Recorder;
use super::regularize::regularize;
use super::score::score;
use super::upload::Uploaded;
use super::workspace::Workspace;
use crate::device::{DeviceError, Gpu};
use crate::kernel::{KernelError, StepSpec, TableSpec};
use crate::model::Model;
use crate::sampler::{Candidates, Plan};

/// Checks that tables, model and plan belong together.
pub(super) fn check(
    spec: &StepSpec,
    plan: &Plan,
    entities: &TableSpec,
    relations: &TableSpec,
) -> Result<(), KernelError> {
    check_widths(spec.model, entities, relations)?;
    for (rows, table) in [(&plan.entities, entities), (&plan.relations, relations)] {
        // Ids ascend, so the last is the largest.
        if let Some(&last) = rows.ids.last()
            && last as usize >= table.layout.rows()
        {
            return Err(KernelError::Row {
                table: table.name,
                row: last,
                rows: table.layout.rows(),
            });
        }
    }
    Ok(())
}

/// Checks that the rows have the widths that the model takes.
pub(super) fn check_widths(
    model: Model,
    entities: &TableSpec,
    relations: &TableSpec,
) -> Result<(), KernelError> {
    let whole = entities.width.next_multiple_of(model.values_per_lane());
    KernelError::check_shape("width of entities", whole, entities.width)?;
    let relation_width = model.relation_width(entities.width);
    KernelError::check_shape("width of relations", relation_width, relations.width)
}

/// Makes room for what the step's stages write.
pub(super) fn make_room(
    work: &mut Workspace,
    gpu: &Gpu,
    plan: &Plan,
    entities: &Table,
    relations: &Table,
) -> Result<(), DeviceError> {
    let (n, unique) = (plan.queries.len(), plan.entities.len());
    let (width, relation_width) = (entities.spec.width, relations.spec.width);
    work.entities.room(gpu, unique * width)?;
    work.entity_gradients.room(gpu, unique * width)?;
    work.relations
        .room(gpu, plan.relations.len() * relation_width)?;
    work.relation_gradients
        .room(gpu, plan.relations.len() * relation_width)?;
    work.queries.room(gpu, n * width)?;
    work.d_queries.room(gpu, n * width)?;
    work.d_relations.room(gpu, n * relation_width)?;
    work.losses.room(gpu, n)?;
    match &plan.candidates {
        Candidates::Sampled { negatives, .. } => {
            work.scores.room(gpu, n * (negatives + 1))?;
            work.slopes.room(gpu, n)?;
        }
        Candidates::All { positives, .. } => {
            work.slopes.room(gpu, positives.len())?;
        }
    }
    Ok(())
}

/// Records everything from pulling rows to the gradients of unique rows and whole shards.
pub(super) fn gradients(
    recorder: &mut Recorder,
    uploaded: &Uploaded,
    spec: &StepSpec,
    plan: &Plan,
    (entities, relations): (&Table, &Table),
    work: &Workspace,
) -> Result<(), DeviceError> {
    let params = &uploaded.params;
    let entity_rows = uploaded.entities.params(params);
    let relation_rows = uploaded.relations.params(params);
    let (words, similarity) = (work.plan.buffer(), spec.model.similarity());

    pull(
        recorder,
        &entity_rows,
        entities,
        &plan.entities.ids,
        words,
        work.entities.buffer(),
    )?;
    pull(
        recorder,
        &relation_rows,
        relations,
        &plan.relations.ids,
        words,
        work.relations.buffer(),
    )?;
    query(recorder, params, spec.model, work)?;
    match plan.candidates {
        Candidates::Sampled { .. } => {
            score(recorder, params, similarity, work)?;
            loss(recorder, params, spec.loss.kind, similarity, work)?;
            grad_query(recorder, params, similarity, work)?;
        }
        Candidates::All { .. } => {}
    }
    query_backward(recorder, params, spec.model, work)?;
    grad_entities(recorder, &entity_rows, similarity, &plan.entities, work)?;
    grad_relations(recorder, &relation_rows, &plan.relations, work)?;

    let penalty = &spec.regularizer;
    let buffers = [
        words,
        work.entities.buffer(),
        work.entity_gradients.buffer(),
    ];
    let how = (penalty.kind, spec.model.entity_lanes(), penalty.entity);
    regularize(recorder, &entity_rows, how, params.width, buffers)?;
    let buffers = [
        words,
        work.relations.buffer(),
        work.relation_gradients.buffer(),
    ];
    let how = (penalty.kind, spec.model.relation_lanes(), penalty.relation);
    regularize(
        recorder,
        &relation_rows,
        how,
        params.relation_width,
        buffers,
    )
}
