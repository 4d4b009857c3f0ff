//! The order of the stages within a training step.

pub mod core_matrix;
mod relations;
pub mod upload;

use self::core_matrix::{Core, core_matrix, core_matrix_backward};
use self::upload::Uploaded;
use super::Table;
use super::params::Params;
use super::recorder::Recorder;
use super::stages::gradients::{
    Penalty, SLICE, grad_candidates_all, grad_entities, grad_query, grad_query_all, grad_relations,
    regularize, scatter,
};
use super::stages::queries::{query, query_backward};
use super::stages::rows::{make_widened_room, pull};
use super::stages::scores::{
    loss, mask_pulled, mask_shard_gradients, mask_shards, score, score_all,
};
use super::workspace::Workspace;
use crate::device::{DeviceError, Gpu};
use crate::kernel::StepSpec;
use crate::sampler::{Candidates, Plan};

/// Bytes of a tile's scores: enough to keep a large GPU busy.
const TILE_BYTES: u64 = 64 << 20;
/// Largest number of queries in a tile.
const MOST_TILED: usize = 4096;

/// The arguments of a training step.
pub(super) struct Step<'a> {
    pub spec: &'a StepSpec,
    pub plan: &'a Plan,
    pub entities: &'a Table,
    pub relations: &'a Table,
}

/// The queries of a training step, and the rows that they read as inputs.
pub(super) struct StepQueries<'a> {
    pub spec: &'a StepSpec,
    pub plan: &'a Plan,
    /// Values of an entity row, and of a relation row.
    pub width: usize,
    pub relation_width: usize,
}

impl StepQueries<'_> {
    /// The core that the plan has pulled, if the model has one.
    fn core(&self) -> Option<Core> {
        let (plan, rows) = (self.plan, self.plan.core_rows);
        (rows > 0).then(|| Core {
            relations: plan.relations.len() - rows,
            rows,
            width: self.relation_width,
        })
    }

    /// Makes room for what the stages of queries and of the rows they read write.
    pub fn make_room(&self, work: &mut Workspace, gpu: &Gpu) -> Result<(), DeviceError> {
        let (plan, n) = (self.plan, self.plan.queries.len());
        let (width, relation_width) = (self.width, self.relation_width);
        let (unique, relations) = (plan.entities.len(), plan.relations.len());
        work.entities.room(gpu, unique * width)?;
        work.entity_gradients.room(gpu, unique * width)?;
        work.relations.room(gpu, relations * relation_width)?;
        work.relation_gradients
            .room(gpu, relations * relation_width)?;
        if let Some(core) = self.core() {
            core.make_room(work, gpu, true)?;
        }
        work.queries.room(gpu, n * width)?;
        work.d_queries
            .room(gpu, (n + 2 * plan.pairs.len()) * width)?;
        if self.spec.model.has_matrices() {
            work.d_inputs.room(gpu, n * width)?;
        } else {
            work.d_relations.room(gpu, n * relation_width)?;
        }
        match plan.predicts_relations {
            true => relations::make_room(work, gpu, plan, relation_width),
            false => Ok(()),
        }
    }

    /// The parameters of the relations' rows, without those of the core.
    fn relation_rows(&self, uploaded: &Uploaded) -> Params {
        Params {
            items: (self.plan.relations.len() - self.plan.core_rows) as u32,
            ..uploaded.relations.params(&uploaded.params)
        }
    }

    /// Records the stages from pulled rows to query vectors.
    pub fn record_forward(
        &self,
        recorder: &mut Recorder,
        uploaded: &Uploaded,
        work: &Workspace,
    ) -> Result<(), DeviceError> {
        if let Some(core) = self.core() {
            core_matrix(recorder, core, work)?;
        }
        query(recorder, &uploaded.params, self.spec.model, work)
    }

    /// Records the stages from ∂loss/∂query to the gradients of unique rows.
    pub fn record_backward(
        &self,
        recorder: &mut Recorder,
        gpu: &Gpu,
        uploaded: &Uploaded,
        work: &Workspace,
    ) -> Result<(), DeviceError> {
        let (plan, params, model) = (self.plan, &uploaded.params, self.spec.model);
        let (entity_rows, relation_rows) = (
            uploaded.entities.params(params),
            self.relation_rows(uploaded),
        );
        let words = work.plan.buffer();
        let [entities, relations] = [&work.entities, &work.relations].map(|s| s.buffer());
        query_backward(recorder, params, model, work)?;
        grad_relations(recorder, &relation_rows, model, &plan.relations, work)?;
        if let Some(core) = self.core() {
            core_matrix_backward(recorder, gpu, core, work)?;
        }
        if plan.predicts_relations {
            relations::record(recorder, gpu, uploaded, model, work)?;
        }
        grad_entities(recorder, &entity_rows, model, &plan.entities, work)?;

        let regularizer = &self.spec.regularizer;
        let penalty = Penalty {
            kind: regularizer.kind,
            lanes: model.entity_lanes(),
            strength: regularizer.entity,
            width: params.width,
        };
        let gradients = work.entity_gradients.buffer();
        regularize(recorder, &entity_rows, penalty, words, entities, gradients)?;
        let penalty = Penalty {
            lanes: model.relation_lanes(),
            strength: regularizer.relation,
            width: self.relation_width as u32,
            ..penalty
        };
        let gradients = work.relation_gradients.buffer();
        regularize(
            recorder,
            &relation_rows,
            penalty,
            words,
            relations,
            gradients,
        )
    }
}

impl Step<'_> {
    fn queries(&self) -> StepQueries<'_> {
        StepQueries {
            spec: self.spec,
            plan: self.plan,
            width: self.entities.spec.width,
            relation_width: self.relations.spec.width,
        }
    }

    /// Makes room for what the stages write.
    pub fn make_room(&self, work: &mut Workspace, gpu: &Gpu) -> Result<(), DeviceError> {
        let (plan, n) = (self.plan, self.plan.queries.len());
        let (width, unique) = (self.entities.spec.width, plan.entities.len());
        self.queries().make_room(work, gpu)?;
        work.losses.room(gpu, n)?;
        match &plan.candidates {
            Candidates::Sampled { negatives, .. } => {
                if self.spec.candidate_dropout > 0.0 {
                    work.candidates.room(gpu, unique * width)?;
                }
                work.slopes.room(gpu, n)?;
                work.scores.room(gpu, n * (negatives + 1))
            }
            Candidates::All { positives, .. } => {
                let layout = &self.entities.spec.layout;
                let tile = tile(gpu, layout.rows()).min(n);
                work.slopes.room(gpu, positives.len())?;
                work.scores.room(gpu, tile * layout.rows())?;
                let slices =
                    most_slices(gpu, tile, width).min(layout.most_rows().div_ceil(SLICE as usize));
                work.slices.room(gpu, slices * tile * width)?;
                make_widened_room(work, gpu, self.entities)?;
                for s in 0..layout.shards() {
                    let values = layout.range(s).len() * width;
                    work.shard_room(gpu, s, values)?;
                    if self.spec.candidate_dropout > 0.0 {
                        work.masked_room(gpu, s, values)?;
                    }
                }
                Ok(())
            }
        }
    }

    /// Records everything from pulling rows to the gradients of unique rows and whole shards.
    pub fn record(
        &self,
        recorder: &mut Recorder,
        gpu: &Gpu,
        uploaded: &Uploaded,
        work: &Workspace,
    ) -> Result<(), DeviceError> {
        let (plan, params, model) = (self.plan, &uploaded.params, self.spec.model);
        let entity_rows = uploaded.entities.params(params);
        let relation_rows = self.queries().relation_rows(uploaded);
        let words = work.plan.buffer();
        let [entities, relations] = [&work.entities, &work.relations].map(|s| s.buffer());

        pull(
            recorder,
            &entity_rows,
            self.entities,
            &plan.entities.ids,
            words,
            entities,
        )?;
        pull(
            recorder,
            &relation_rows,
            self.relations,
            &plan.relations.ids,
            words,
            relations,
        )?;
        self.queries().record_forward(recorder, uploaded, work)?;
        let masks = params.candidate_threshold > 0;
        match plan.candidates {
            Candidates::Sampled { .. } => {
                if masks {
                    mask_pulled(recorder, &entity_rows, work)?;
                }
                score(recorder, params, model.similarity(), work)?;
                loss(
                    recorder,
                    params,
                    self.spec.loss.kind,
                    model.similarity(),
                    work.losses.buffer(),
                    work,
                )?;
                grad_query(recorder, params, model.similarity(), work)?;
            }
            Candidates::All { .. } if masks => {
                mask_shards(recorder, params, self.entities, None, work)?;
                self.record_tiles(recorder, gpu, params, work)?;
                mask_shard_gradients(recorder, params, self.entities, None, work)?;
            }
            Candidates::All { .. } => self.record_tiles(recorder, gpu, params, work)?,
        }
        self.queries()
            .record_backward(recorder, gpu, uploaded, work)?;
        if let Candidates::All { .. } = plan.candidates {
            scatter(
                recorder,
                &entity_rows,
                self.entities,
                &plan.entities.ids,
                work,
            )?;
        }
        Ok(())
    }

    /// Records scores against all entities, losses and gradients, tile by tile.
    fn record_tiles(
        &self,
        recorder: &mut Recorder,
        gpu: &Gpu,
        params: &Params,
        work: &Workspace,
    ) -> Result<(), DeviceError> {
        let (similarity, table) = (self.spec.model.similarity(), self.entities);
        let tile = tile(gpu, table.spec.layout.rows()) as u32;
        let slices = most_slices(gpu, tile.min(params.queries) as usize, table.spec.width) as u32;
        for first in (0..params.queries).step_by(tile as usize) {
            let params = &Params {
                first,
                count: tile.min(params.queries - first),
                ..*params
            };
            score_all(recorder, params, similarity, table, work)?;
            let losses = work.losses.buffer();
            let kind = self.spec.loss.kind;
            loss(recorder, params, kind, similarity, losses, work)?;
            grad_query_all(recorder, params, similarity, table, work, slices)?;
            grad_candidates_all(recorder, params, similarity, table, work)?;
        }
        Ok(())
    }
}

/// Number of queries in a tile: the scores of a tile against every entity take at most
/// [`TILE_BYTES`].
pub(super) fn tile(gpu: &Gpu, entities: usize) -> usize {
    let most = most_bytes(gpu) / (entities.max(1) * size_of::<f32>());
    most.clamp(1, MOST_TILED)
}

/// Number of slices of a tile of queries whose sums take at most [`TILE_BYTES`].
pub(super) fn most_slices(gpu: &Gpu, tile: usize, width: usize) -> usize {
    let one = tile * width * size_of::<f32>();
    (most_bytes(gpu) / one.max(1)).max(1)
}

fn most_bytes(gpu: &Gpu) -> usize {
    // At most 64 MiB, so it fits.
    TILE_BYTES.min(gpu.binding_limit()) as usize
}
