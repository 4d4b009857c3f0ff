//! The buffers between the stages of a step.

use super::params::Params;
use crate::device::{Buffer, DeviceError, Gpu};
use crate::model::Model;

/// A storage buffer that grows with the demand and is reused from step to step. Growing loses the
/// contents.
#[derive(Debug)]
pub(super) struct Scratch {
    label: &'static str,
    buffer: Buffer,
}

impl Scratch {
    pub fn new(gpu: &Gpu, label: &'static str) -> Result<Scratch, DeviceError> {
        // Enough for a binding of any type; the first step makes the buffer larger.
        let buffer = gpu.storage(label, 64)?;
        Ok(Scratch { label, buffer })
    }

    /// Makes room for `values` values of four bytes.
    pub fn room(&mut self, gpu: &Gpu, values: usize) -> Result<(), DeviceError> {
        let bytes = values as u64 * 4;
        if self.buffer.size() < bytes {
            let roomy = (self.buffer.size() * 3 / 2).min(gpu.binding_limit());
            self.buffer = gpu.storage(self.label, bytes.max(roomy))?;
        }
        Ok(())
    }

    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }
}

macro_rules! workspace {
    ($($(#[doc = $doc:literal])* $field:ident,)+) => {
        /// The buffers, all flat and row-major.
        #[derive(Debug)]
        pub(super) struct Workspace {
            $($(#[doc = $doc])* pub $field: Scratch,)+
            /// Gradients of whole shards (objectives over all entities).
            pub shard_gradients: Vec<Scratch>,
            /// Whole shards as candidates, where candidates have dropout; otherwise none.
            pub masked: Vec<Scratch>,
        }

        impl Workspace {
            pub fn new(gpu: &Gpu) -> Result<Workspace, DeviceError> {
                Ok(Workspace {
                    $($field: Scratch::new(gpu, stringify!($field))?,)+
                    shard_gradients: Vec::new(),
                    masked: Vec::new(),
                })
            }

            fn all(&self) -> impl Iterator<Item = &Scratch> {
                [$(&self.$field,)+]
                    .into_iter()
                    .chain(&self.shard_gradients)
                    .chain(&self.masked)
            }
        }
    };
}

workspace! {
    /// The plan, in one piece; see `upload`.
    plan,
    /// Pulled rows: unique rows × width (rankings: one row a query).
    entities,
    relations,
    /// Matrices of relations that share a core: unique relations × rows of the core.
    matrices,
    /// ∂loss/∂matrix.
    matrix_gradients,
    /// Query vectors: queries × entity width.
    queries,
    /// ∂loss/∂query, then contributions of queries to their entities (but see `d_inputs`); where
    /// relations are predicted, those of pairs to both their ends come after them.
    d_queries,
    /// Contributions of queries to their entities, where relations are matrices.
    d_inputs,
    /// Contributions of queries to their relations: queries × relation width.
    d_relations,
    /// Scores, then coefficients: queries × candidates, or a tile × entities.
    scores,
    /// The loss of every query.
    losses,
    /// Pair queries, ∂loss/∂(pair query), and the loss of the relation of every pair.
    pair_queries,
    d_pairs,
    pair_losses,
    /// Slopes of right answers, see `loss`.
    slopes,
    /// Statistics of rows of scores where entities are cut into parts, see `part_statistic`.
    statistics,
    /// Partial sums, see `grad_query_all`.
    slices,
    /// Gradients of unique rows.
    entity_gradients,
    relation_gradients,
    /// Rows and scores of the targets of a ranking.
    targets,
    thresholds,
    /// Better and equal candidates of every query of a ranking.
    counts,
    /// Pulled entity rows as candidates, where candidates have dropout.
    candidates,
    /// A shard as `f32`, see `widen`.
    widened,
}

impl Workspace {
    /// Makes room for the gradient of a shard.
    pub fn shard_room(
        &mut self,
        gpu: &Gpu,
        shard: usize,
        values: usize,
    ) -> Result<(), DeviceError> {
        while self.shard_gradients.len() <= shard {
            self.shard_gradients
                .push(Scratch::new(gpu, "shard_gradients")?);
        }
        self.shard_gradients[shard].room(gpu, values)
    }

    /// Makes room for a shard as candidates.
    pub fn masked_room(
        &mut self,
        gpu: &Gpu,
        shard: usize,
        values: usize,
    ) -> Result<(), DeviceError> {
        while self.masked.len() <= shard {
            self.masked.push(Scratch::new(gpu, "masked")?);
        }
        self.masked[shard].room(gpu, values)
    }

    /// The pulled entity rows as candidates.
    pub fn pulled_candidates(&self, params: &Params) -> &Buffer {
        match params.candidate_threshold {
            0 => self.entities.buffer(),
            _ => self.candidates.buffer(),
        }
    }

    /// Relations as the operator takes them: rows, or the matrices that a core makes of rows.
    pub fn operands(&self, model: Model) -> &Buffer {
        match model.has_core() {
            true => self.matrices.buffer(),
            false => self.relations.buffer(),
        }
    }

    /// Gradients of [`Workspace::operands`].
    pub fn operand_gradients(&self, model: Model) -> &Buffer {
        match model.has_core() {
            true => self.matrix_gradients.buffer(),
            false => self.relation_gradients.buffer(),
        }
    }

    /// Fills every buffer with NaN, so that tests notice a stage that reads before another has
    /// written.
    pub fn poison(&self, gpu: &Gpu) -> Result<(), DeviceError> {
        for scratch in self.all() {
            let nans = vec![f32::NAN; scratch.buffer.size() as usize / 4];
            gpu.write(&scratch.buffer, 0, &nans)?;
        }
        Ok(())
    }
}
