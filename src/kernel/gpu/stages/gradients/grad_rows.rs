//! `grad_rows`: every unique row adds up its list of contributions.

use super::grad_matrix::grad_matrix;
use crate::device::{Buffer, DeviceError};
use crate::kernel::gpu::params::{NONE, Params};
use crate::kernel::gpu::recorder::{Recorder, workgroups};
use crate::kernel::gpu::shape::Cells;
use crate::kernel::gpu::source::{GROUP, Stage};
use crate::kernel::gpu::stages::scores::mask_pulled_gradients;
use crate::kernel::gpu::workspace::Workspace;
use crate::model::{Model, Similarity};
use crate::sampler::Rows;

/// The places that a dispatch adds up: all (0), those of candidates, or the others, which are added to
/// the gradients of candidates.
const CANDIDATES: u32 = 1;
const OTHERS: u32 = 2;

/// Adds up the contributions to entity rows.
pub fn grad_entities(
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
        let buffers = RowBuffers {
            rows: work.candidates.buffer(),
            inputs,
            gradients,
        };
        let part = |extra| Params { extra, ..*params };
        let candidates = &part(CANDIDATES);
        grad_rows(recorder, candidates, similarity, cells, rows, buffers, work)?;
        mask_pulled_gradients(recorder, params, work)?;
        let others = &part(OTHERS);
        return grad_rows(recorder, others, similarity, cells, rows, buffers, work);
    }
    let buffers = RowBuffers {
        rows: work.entities.buffer(),
        inputs,
        gradients,
    };
    grad_rows(recorder, params, similarity, cells, rows, buffers, work)
}

/// Adds up the contributions to relation rows. Calls `grad_matrix` where relations are matrices.
pub fn grad_relations(
    recorder: &mut Recorder,
    params: &Params,
    model: Model,
    rows: &Rows,
    work: &Workspace,
) -> Result<(), DeviceError> {
    if model.has_matrices() {
        return grad_matrix(recorder, params, model, work);
    }
    let buffers = RowBuffers {
        rows: work.relations.buffer(),
        inputs: work.d_relations.buffer(),
        gradients: work.relation_gradients.buffer(),
    };
    // Inputs are only added up, so that any similarity of single values will do.
    let similarity = Similarity::Dot;
    let cells = Cells::of(similarity, params.relation_width);
    grad_rows(recorder, params, similarity, cells, rows, buffers, work)
}

/// Unique rows, contributions as such, and the sums.
#[derive(Clone, Copy)]
struct RowBuffers<'a> {
    rows: &'a Buffer,
    inputs: &'a Buffer,
    gradients: &'a Buffer,
}

fn grad_rows(
    recorder: &mut Recorder,
    params: &Params,
    similarity: Similarity,
    Cells { values, cells }: Cells,
    rows: &Rows,
    buffers: RowBuffers<'_>,
    work: &Workspace,
) -> Result<(), DeviceError> {
    let slices = slices(rows.places.len() / rows.len().max(1), params.items * cells);
    recorder.dispatch(
        Stage::GradRows(similarity, values, slices),
        &Params { cells, ..*params },
        &[
            work.plan.buffer(),
            buffers.rows,
            buffers.inputs,
            work.queries.buffer(),
            work.scores.buffer(),
            buffers.gradients,
        ],
        workgroups(u64::from(params.items) * u64::from(cells), GROUP / slices),
    )
}

/// Number of invocations that share a cell, of `cells` in all, where a row's list has `places` places
/// on average.
pub fn slices(places: usize, cells: u32) -> u32 {
    // Long lists are cut where rows alone would not keep a large GPU busy.
    match (places, cells) {
        (16.., ..0x2_0000) => 16,
        (4.., ..0x8_0000) => 4,
        _ => 1,
    }
}
