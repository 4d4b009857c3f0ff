//! `grad_rows`: every unique row adds up its list of places.

use super::candidate_dropout::mask_gradients;
use super::params::{NONE, Params};
use super::query_matrix::grad_matrix;
use super::recorder::{Recorder, workgroups};
use super::shape::Cells;
use super::source::{GROUP, Stage};
use super::workspace::Workspace;
use crate::device::{Buffer, DeviceError};
use crate::model::{Model, Similarity};
use crate::sampler::Rows;

/// Which places count: all of them (0), those of candidates, or the others, which are added to what
/// is there.
const CANDIDATES: u32 = 1;
const OTHERS: u32 = 2;

/// Adds up the places of entity rows.
pub(super) fn grad_entities(
    recorder: &mut Recorder,
    params: &Params,
    model: Model,
    rows: &Rows,
    work: &Workspace,
) -> Result<(), DeviceError> {
    let similarity = model.similarity();
    let inputs = match model.has_matrices() {
        true => &work.d_inputs,
        false => &work.d_queries,
    };
    let [inputs, gradients] = [inputs, &work.entity_gradients].map(|s| s.buffer());
    let cells = Cells::of(similarity, params.width);
    // Only where candidates are sampled do rows have places as such.
    if params.candidate_threshold > 0 && params.at_slots != NONE {
        let buffers = [work.candidates.buffer(), inputs, gradients];
        let part = |extra| Params { extra, ..*params };
        let candidates = &part(CANDIDATES);
        grad_rows(recorder, candidates, similarity, cells, rows, buffers, work)?;
        mask_gradients(recorder, params, work)?;
        let others = &part(OTHERS);
        return grad_rows(recorder, others, similarity, cells, rows, buffers, work);
    }
    let buffers = [work.entities.buffer(), inputs, gradients];
    grad_rows(recorder, params, similarity, cells, rows, buffers, work)
}

/// Adds up the places of relation rows, all of them inputs; or has `grad_matrix` do it.
pub(super) fn grad_relations(
    recorder: &mut Recorder,
    params: &Params,
    model: Model,
    rows: &Rows,
    work: &Workspace,
) -> Result<(), DeviceError> {
    if model.has_matrices() {
        return grad_matrix(recorder, params, model, work);
    }
    let [values, inputs] = [&work.relations, &work.d_relations].map(|s| s.buffer());
    let gradients = work.relation_gradients.buffer();
    // Inputs are only added up, so that any similarity of single values will do.
    let similarity = Similarity::Dot;
    let cells = Cells::of(similarity, params.relation_width);
    grad_rows(
        recorder,
        params,
        similarity,
        cells,
        rows,
        [values, inputs, gradients],
        work,
    )
}

fn grad_rows(
    recorder: &mut Recorder,
    params: &Params,
    similarity: Similarity,
    Cells { values, cells }: Cells,
    rows: &Rows,
    [own, inputs, gradients]: [&Buffer; 3],
    work: &Workspace,
) -> Result<(), DeviceError> {
    let slices = slices(rows.places.len() / rows.len().max(1), params.items * cells);
    recorder.dispatch(
        Stage::GradRows(similarity, values, slices),
        &Params { cells, ..*params },
        &[
            work.plan.buffer(),
            own,
            inputs,
            work.queries.buffer(),
            work.scores.buffer(),
            gradients,
        ],
        workgroups(u64::from(params.items) * u64::from(cells), GROUP / slices),
    )
}

/// How many invocations share a cell, of `cells` in all, where a row's list has `places` places on
/// average.
pub(super) fn slices(places: usize, cells: u32) -> u32 {
    // Long lists are cut where rows alone would not keep a large GPU busy.
    match (places, cells) {
        (16.., ..0x2_0000) => 16,
        (4.., ..0x8_0000) => 4,
        _ => 1,
    }
}
