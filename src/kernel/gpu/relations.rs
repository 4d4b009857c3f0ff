//! Relation prediction within a step: pair queries against all relations, as queries are scored
//! against all entities. The plan has pulled all relations, so that they lie together.

use super::grad_candidates_all::grad_candidate_rows;
use super::grad_query_all::{SLICE, grad_query_rows};
use super::loss::loss;
use super::pair_query::pair_query;
use super::pair_query_backward::pair_query_backward;
use super::params::Params;
use super::recorder::Recorder;
use super::score_all::score_rows;
use super::step::{most_slices, tile};
use super::upload::Uploaded;
use super::workspace::Workspace;
use crate::device::{DeviceError, Gpu};
use crate::loss::LossKind;
use crate::model::{Model, Similarity};
use crate::sampler::Plan;

/// Makes room for what the stages write, `width` being that of relation rows.
pub(super) fn make_room(
    work: &mut Workspace,
    gpu: &Gpu,
    plan: &Plan,
    width: usize,
) -> Result<(), DeviceError> {
    let (n, rows) = (plan.pairs.len(), plan.relations.len());
    let tile = tile(gpu, rows).min(n);
    work.pair_queries.room(gpu, n * width)?;
    work.d_pairs.room(gpu, n * width)?;
    work.pair_losses.room(gpu, n)?;
    work.scores.room(gpu, tile * rows)?;
    let slices = most_slices(gpu, tile, width).min(rows.div_ceil(SLICE as usize));
    work.slices.room(gpu, slices * tile * width)
}

/// Records everything from pair queries to what it adds to the gradients of relations and to the
/// contributions to entities.
pub(super) fn record(
    recorder: &mut Recorder,
    gpu: &Gpu,
    uploaded: &Uploaded,
    model: Model,
    work: &Workspace,
) -> Result<(), DeviceError> {
    let Uploaded { params, pairs, .. } = uploaded;
    let similarity = Similarity::Dot;
    let [queries, d_queries] = [&work.pair_queries, &work.d_pairs].map(|s| s.buffer());
    let [rows, gradients] = [&work.relations, &work.relation_gradients].map(|s| s.buffer());
    let [scores, slices, losses] =
        [&work.scores, &work.slices, &work.pair_losses].map(|s| s.buffer());
    let tile = tile(gpu, pairs.rows as usize) as u32;
    let most = most_slices(gpu, tile.min(pairs.queries) as usize, pairs.width as usize) as u32;

    // Answers are candidates: their masks are named by their rows.
    let params = &Params {
        queries: pairs.queries,
        at_queries: pairs.at_queries,
        at_slots: pairs.at_slots,
        // Contributions of pairs come after those of queries.
        extra: params.queries,
        ..uploaded.entities.params(params)
    };
    pair_query(recorder, params, model, work)?;
    for first in (0..pairs.queries).step_by(tile as usize) {
        let pairs = &Params {
            first,
            count: tile.min(pairs.queries - first),
            // Gradients are added to those of the queries' own relations.
            extra: 1,
            ..*pairs
        };
        score_rows(recorder, pairs, similarity, [queries, rows, scores])?;
        loss(recorder, pairs, LossKind::Softmax, similarity, losses, work)?;
        let buffers = [queries, rows, scores, slices];
        grad_query_rows(recorder, pairs, similarity, buffers, d_queries, (0, most))?;
        let buffers = [queries, rows, scores, gradients];
        grad_candidate_rows(recorder, pairs, similarity, buffers)?;
    }
    pair_query_backward(recorder, params, model, work)
}
