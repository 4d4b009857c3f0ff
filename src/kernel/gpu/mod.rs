//! The stages on a GPU, and the engine that records them.
//!
//! Rows never cross to the host while training: a plan goes up in one write, a step is one
//! submission, and losses stay on the device until [`Engine::take_loss`]. Every sum has a fixed
//! order, so a step gives the same bits every time on the same device.

mod average;
mod candidate_dropout;
mod core_matrix;
mod grad_candidates_all;
mod grad_query;
mod grad_query_all;
mod grad_rows;
mod gradients;
mod groups;
mod loss;
mod pair_query;
mod pair_query_backward;
mod params;
mod pull;
mod push;
mod query;
mod query_backward;
mod query_matrix;
mod rank;
mod rank_count;
mod rearrange;
mod recorder;
mod regularize;
mod relations;
mod repeat;
mod rows;
mod scatter;
mod score;
mod score_all;
mod shape;
mod source;
mod step;
mod table;
mod times;
mod update;
mod upload;
mod widen;
mod workspace;
mod write_rows;

pub use repeat::{CopyPair, RowBatch};
pub use rows::GradientRows;
pub use table::Table;

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use self::push::PushWork;
use self::recorder::Recorder;
use self::step::Step;
use self::upload::{Parts, Uploaded, Words};
use self::workspace::Workspace;
use super::{Column, KernelError, StepSpec, TableSpec, check};
use crate::device::{Buffer, DeviceError, Gpu};
use crate::optim::OptimizerStep;
use crate::sampler::{Candidates, Plan};

/// Losses of steps that the device keeps; then they are read back.
const LOSSES: usize = 1024;
/// Runs training steps and rankings on one GPU. Its buffers grow to the largest step and are
/// reused.
#[derive(Debug)]
pub struct Engine {
    gpu: Gpu,
    /// Behind a lock because even a write to a table must first submit what was recorded.
    recorder: Mutex<Recorder>,
    work: Workspace,
    words: Words,
    /// What the last call of [`Engine::gradients`] uploaded.
    uploaded: Uploaded,
    /// Losses of the steps since they were last read, and how many losses they are.
    step_losses: Buffer,
    steps: usize,
    /// Losses that were read already.
    loss: f64,
    /// Buffers of pushes.
    pushes: Mutex<PushWork>,
}

impl Engine {
    /// An engine with empty buffers. Pipelines are made when first used.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn new(gpu: Gpu) -> Result<Engine, KernelError> {
        Ok(Engine {
            recorder: Mutex::new(Recorder::new(&gpu)),
            work: Workspace::new(&gpu)?,
            words: Words::default(),
            uploaded: Uploaded::default(),
            step_losses: gpu.storage("step losses", (LOSSES * size_of::<f32>()) as u64)?,
            steps: 0,
            loss: 0.0,
            pushes: Mutex::new(PushWork::new(&gpu)?),
            gpu,
        })
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// The most rows of `width` values that one shard can hold, as `f32`: so can what is made of one
    /// of binary16.
    pub fn most_rows(&self, width: usize) -> usize {
        let bytes = width.max(1) as u64 * size_of::<f32>() as u64;
        usize::try_from(self.gpu.binding_limit() / bytes).unwrap_or(usize::MAX)
    }

    /// Makes a table. `fill` writes the values of consecutive rows, a few megabytes at a time,
    /// given the first row's number; optimizer states start at zero.
    ///
    /// # Errors
    /// If a shard is over the device's binding limit (see [`Engine::most_rows`]), or the device is
    /// lost or full.
    pub fn create_table(
        &self,
        spec: &TableSpec,
        fill: &mut dyn FnMut(usize, &mut [f32]),
    ) -> Result<Table, KernelError> {
        Table::new(&self.gpu, spec, fill)
    }

    /// Successive rows of a column, in table order; none if the optimizer does not keep it.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn read_part(
        &self,
        table: &Table,
        column: Column,
        rows: Range<usize>,
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        self.flush()?;
        table.read_part(&self.gpu, column, rows, out)
    }

    /// Replaces successive rows of a column.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn write_part(
        &self,
        table: &Table,
        column: Column,
        rows: Range<usize>,
        data: &[f32],
    ) -> Result<(), KernelError> {
        self.flush()?;
        table.write_part(&self.gpu, column, rows, data)
    }

    /// Names all rows of a table that rounds stochastically.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn name_rows(&self, table: &Table, names: &[u32]) -> Result<(), KernelError> {
        self.flush()?;
        table.name_rows(&self.gpu, names)
    }

    /// Computes the gradients of a step and keeps them on the device for [`Engine::update`].
    ///
    /// # Errors
    /// [`KernelError::Shape`] if tables, model and plan do not belong together; or if the device is
    /// lost or full.
    pub fn gradients(
        &mut self,
        spec: &StepSpec,
        plan: &Plan,
        entities: &Table,
        relations: &Table,
    ) -> Result<(), KernelError> {
        check::step(spec, plan, &entities.spec, &relations.spec)?;
        self.flush()?;
        // A step may leave two: its queries' loss and that of their relations.
        if self.steps + 2 > LOSSES {
            self.read_losses()?;
        }
        let step = Step {
            spec,
            plan,
            entities,
            relations,
        };
        step.make_room(&mut self.work, &self.gpu)?;
        let width = entities.spec.width;
        let widths = (width, spec.model.relation_width(width));
        let rows = entities.spec.layout.rows();
        let (uploaded, parts) = Parts::plan(spec, plan, widths, rows);
        self.uploaded = uploaded;
        self.work.plan.room(&self.gpu, parts.len())?;
        let words = self.work.plan.buffer();
        self.gpu.write_parts(words, parts.as_slice())?;

        let recorder = unlocked(&mut self.recorder);
        step.record(recorder, &self.gpu, &self.uploaded, &self.work)?;
        let (all, work) = (&self.uploaded, &self.work);
        let pairs = (plan.predicts_relations).then_some((&all.pairs, &work.pair_losses));
        for (params, losses) in [(&all.params, &work.losses)].into_iter().chain(pairs) {
            let (slot, buffers) = (self.steps as u32, [losses.buffer(), &self.step_losses]);
            loss::loss_sum(recorder, params, slot, buffers)?;
            self.steps += 1;
        }
        Ok(())
    }

    /// Applies the gradients of the last [`Engine::gradients`] call, made from the same plan.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn update(
        &mut self,
        step: OptimizerStep,
        plan: &Plan,
        entities: &Table,
        relations: &Table,
    ) -> Result<(), KernelError> {
        let recorder = unlocked(&mut self.recorder);
        let Uploaded { params, .. } = &self.uploaded;
        let words = self.work.plan.buffer();
        let rows = self.uploaded.entities.params(params);
        if plan.queries.is_empty() {
            return Ok(());
        }
        match &plan.candidates {
            Candidates::Sampled { .. } => {
                let buffers = [words, self.work.entity_gradients.buffer()];
                update::update_sparse(
                    recorder,
                    &rows,
                    step,
                    entities,
                    &plan.entities.ids,
                    buffers,
                )?;
            }
            Candidates::All { .. } => {
                for (s, gradients) in self
                    .work
                    .shard_gradients
                    .iter()
                    .enumerate()
                    .take(entities.shards.len())
                {
                    let buffers = [words, gradients.buffer()];
                    update::update_dense(recorder, &rows, step, entities, s, buffers)?;
                }
            }
        }
        let rows = self.uploaded.relations.params(params);
        let buffers = [words, self.work.relation_gradients.buffer()];
        update::update_sparse(
            recorder,
            &rows,
            step,
            relations,
            &plan.relations.ids,
            buffers,
        )?;
        recorder.submit()?;
        Ok(())
    }

    /// The weighted losses of all steps since the last call, added up. Waits for the device.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn take_loss(&mut self) -> Result<f64, KernelError> {
        self.flush()?;
        self.read_losses()?;
        Ok(std::mem::take(&mut self.loss))
    }

    fn read_losses(&mut self) -> Result<(), DeviceError> {
        let losses = self.gpu.read::<f32>(&self.step_losses, 0, self.steps)?;
        self.loss += losses.into_iter().map(f64::from).sum::<f64>();
        self.steps = 0;
        Ok(())
    }

    /// Submits what was recorded.
    fn flush(&self) -> Result<(), DeviceError> {
        self.recorder
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .submit()
    }

    /// Fills the buffers between stages with NaN: tests see what reads before it writes.
    ///
    /// # Errors
    /// If the device is lost.
    #[doc(hidden)]
    pub fn poison(&mut self) -> Result<(), KernelError> {
        self.flush()?;
        Ok(self.work.poison(&self.gpu)?)
    }
}

/// The recorder, where no other thread can have it.
fn unlocked(recorder: &mut Mutex<Recorder>) -> &mut Recorder {
    recorder.get_mut().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
