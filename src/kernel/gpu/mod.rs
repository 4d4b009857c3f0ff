//! The stages on a GPU, and the engine that records them.
//!
//! Rows never cross to the host while training: a plan is uploaded in one write, a step is one
//! submission, and losses stay on the device until [`Engine::take_loss`]. Every sum has a fixed
//! order, so a step gives the same bits every time on the same device.

mod bench;
mod bind_groups;
mod gradients;
mod params;
mod push;
mod rank;
mod recorder;
mod shape;
mod source;
mod stages;
mod step;
mod table;
mod workspace;

pub use bench::{CopyPair, RowBatch};
pub use table::{GradientRows, Table};

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use self::push::PushWork;
use self::recorder::Recorder;
use self::source::Pushed;
use self::stages::scores::loss_sum;
use self::stages::updates::{Pushes, update_dense, update_sparse};
use self::step::Step;
use self::step::upload::{Parts, Uploaded, Widths, Words};
use self::workspace::Workspace;
use super::{Column, KernelError, StepSpec, TableSpec, check};
use crate::device::{Buffer, DeviceError, Gpu};
use crate::optim::OptimizerStep;
use crate::sampler::{Candidates, Plan};

/// Number of losses that the device keeps before the host reads them.
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
    /// Parameters of the plan that the last call of [`Engine::gradients`] uploaded.
    uploaded: Uploaded,
    /// Losses since the host last read them.
    step_losses: Buffer,
    /// Number of losses in `step_losses`.
    steps: usize,
    /// Sum of the losses that the host has read.
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

    /// The most rows of `width` values that one shard can hold as `f32`. Shards of binary16 have the same
    /// limit, since some stages widen them.
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

    /// Reads successive rows of a column, in table order, into `out`, which has `rows.len()` × the width of
    /// the column values. Leaves `out` as it is if the optimizer does not keep the column.
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

    /// Replaces successive rows of a column by `data`, row-major.
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

    /// Names all rows of a table, in storage order. A row's name seeds its stochastic rounding; tables that
    /// do not round so ignore names.
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
        // A step has two losses at most: one of its queries and one of their relations.
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
        let widths = Widths {
            entity: width,
            relation: spec.model.relation_width(width),
        };
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
            let (losses, slot) = (losses.buffer(), self.steps as u32);
            loss_sum(recorder, params, losses, &self.step_losses, slot)?;
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
        let pushes = |gradients| Pushes {
            plan: words,
            gradients,
            pushed: Pushed::Rows,
        };
        match &plan.candidates {
            Candidates::Sampled { .. } => {
                let pushes = pushes(self.work.entity_gradients.buffer());
                update_sparse(recorder, &rows, step, entities, &plan.entities.ids, pushes)?;
            }
            Candidates::All { .. } => {
                let shards = self.work.shard_gradients.iter().take(entities.shards.len());
                for (s, gradients) in shards.enumerate() {
                    let pushes = pushes(gradients.buffer());
                    update_dense(recorder, &rows, step, entities, s, pushes)?;
                }
            }
        }
        let rows = self.uploaded.relations.params(params);
        let pushes = pushes(self.work.relation_gradients.buffer());
        update_sparse(
            recorder,
            &rows,
            step,
            relations,
            &plan.relations.ids,
            pushes,
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

    /// Submits the recorded commands.
    fn flush(&self) -> Result<(), DeviceError> {
        self.recorder
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .submit()
    }

    /// Fills the buffers between stages with NaN, so that tests notice a stage that reads before another has
    /// written.
    ///
    /// # Errors
    /// If the device is lost.
    #[doc(hidden)]
    pub fn poison(&mut self) -> Result<(), KernelError> {
        self.flush()?;
        Ok(self.work.poison(&self.gpu)?)
    }
}

/// The recorder, without locking: the caller has the only reference to the engine.
fn unlocked(recorder: &mut Mutex<Recorder>) -> &mut Recorder {
    recorder.get_mut().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
