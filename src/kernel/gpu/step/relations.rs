//! Relation prediction within a step: pair queries against all relations, as queries are scored
//! against all entities. The plan has pulled all relations, so that they lie together.

use super::upload::Uploaded;
use super::{most_slices, tile};
use crate::device::{DeviceError, Gpu};
use crate::kernel::gpu::params::Params;
use crate::kernel::gpu::recorder::Recorder;
use crate::kernel::gpu::stages::gradients::{
    CandidateGradientBuffers, QueryGradientBuffers, SLICE, Slices, grad_candidate_rows,
    grad_query_rows,
};
use crate::kernel::gpu::stages::queries::{pair_query, pair_query_backward};
use crate::kernel::gpu::stages::scores::{ScoreBuffers, loss, score_rows};
use crate::kernel::gpu::workspace::Workspace;
use crate::loss::LossKind;
use crate::model::{Model, Similarity};
use crate::sampler::Plan;

/// Makes room for the results of the stages. `width` is the width of relation rows.
pub fn make_room(
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
    work.slopes.room(gpu, n)?;
    let slices = most_slices(gpu, tile, width).min(rows.div_ceil(SLICE as usize));
    work.slices.room(gpu, slices * tile * width)
}

/// Records the stages from pair queries to the gradients of relations and the contributions to
/// entities.
pub fn record(
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

    // Answers are candidates: their rows seed their masks.
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
        let buffers = ScoreBuffers {
            queries,
            rows,
            scores,
        };
        score_rows(recorder, pairs, similarity, buffers)?;
        loss(recorder, pairs, LossKind::Softmax, similarity, losses, work)?;
        let buffers = QueryGradientBuffers {
            queries,
            rows,
            coefficients: scores,
            slices,
            d_queries,
        };
        let none = Slices { summed: 0, most };
        grad_query_rows(recorder, pairs, similarity, buffers, none)?;
        let buffers = CandidateGradientBuffers {
            queries,
            rows,
            coefficients: scores,
            gradients,
        };
        grad_candidate_rows(recorder, pairs, similarity, buffers)?;
    }
    pair_query_backward(recorder, params, model, work)
}
