//! The stages on a GPU, and the engine that records them.
//!
//! Rows never cross to the host while training: a plan is uploaded in one write, a step is one
//! submission, and losses stay on the device until [`StepEngine::take_loss`]. Every sum has a fixed
//! order, so a step gives the same bits every time on the same device.

mod bench;
mod bind_groups;
mod gradients;
mod params;
mod part;
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

use std::sync::{Mutex, PoisonError};

use self::push::PushWork;
use self::recorder::Recorder;
use self::source::Pushed;
use self::stages::scores::loss_sum;
use self::stages::updates::{Pushes, update_dense, update_sparse};
use self::step::Step;
use self::step::upload::{Parts, Uploaded, Widths, Words};
use self::workspace::Workspace;
use super::engine::StepEngine;
use super::{KernelError, StepSpec, check};
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
    /// Parameters of the plan that the last call of [`StepEngine::gradients`] uploaded.
    uploaded: Uploaded,
    /// The lane and the part of a step whose entity table is cut.
    part: part::PartStep,
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
            part: part::PartStep::default(),
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
}

impl StepEngine for Engine {
    fn gradients(
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

    fn update(
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

    fn take_loss(&mut self) -> Result<f64, KernelError> {
        self.flush()?;
        self.read_losses()?;
        Ok(std::mem::take(&mut self.loss))
    }

    fn poison(&mut self) -> Result<(), KernelError> {
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
