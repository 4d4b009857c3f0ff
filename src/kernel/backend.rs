//! The choice between the GPU's engine and the CPU's, made once per call.

use std::fmt;

use super::{Column, KernelError, RankBatch, RankCounts, RankQuery, StepSpec, TableSpec, cpu, gpu};
use crate::device::{self, Device, DeviceChoice, GpuOptions};
use crate::model::Model;
use crate::optim::OptimizerStep;
use crate::sampler::Plan;

/// An engine: where the arithmetic runs.
#[derive(Debug)]
pub enum Backend {
    /// All cores of this machine.
    Cpu(Box<cpu::Engine>),
    /// One adapter.
    Gpu(Box<gpu::Engine>),
}

/// A table on the device of the backend that made it.
#[derive(Debug)]
pub enum Table {
    /// In main memory.
    Cpu(cpu::Table),
    /// In an adapter's memory.
    Gpu(gpu::Table),
}

/// Makes one call on the engine there is, with its own kind of tables.
macro_rules! on_engine {
    ($backend:expr, $engine:ident, [$($table:ident),+] => $call:expr) => {
        match ($backend, $($table),+) {
            (Backend::Cpu($engine), $(Table::Cpu($table)),+) => $call,
            (Backend::Gpu($engine), $(Table::Gpu($table)),+) => $call,
            (Backend::Cpu(_), ..) => Err(KernelError::ForeignTable { engine: "CPU" }),
            (Backend::Gpu(_), ..) => Err(KernelError::ForeignTable { engine: "GPU" }),
        }
    };
}

impl Backend {
    /// Opens a device, with a line for the user where the choice needs explaining.
    ///
    /// # Errors
    /// If there is no such device, or it does not open.
    pub fn open(choice: DeviceChoice) -> Result<(Backend, Option<String>), KernelError> {
        let opened = device::open_with(choice, &GpuOptions::default())?;
        let backend = match opened.device {
            Device::Cpu => Backend::cpu(),
            Device::Gpu(gpu) => Backend::gpu(gpu)?,
        };
        Ok((backend, opened.note))
    }

    /// The CPU.
    pub fn cpu() -> Backend {
        Backend::Cpu(Box::new(cpu::Engine::new()))
    }

    /// An adapter.
    ///
    /// # Errors
    /// If the engine's own buffers do not fit.
    pub fn gpu(gpu: device::Gpu) -> Result<Backend, KernelError> {
        Ok(Backend::Gpu(Box::new(gpu::Engine::new(gpu)?)))
    }

    /// The most rows of `width` values that one shard can hold here.
    pub fn most_rows(&self, width: usize) -> usize {
        match self {
            Backend::Cpu(_) => usize::MAX / width.max(1),
            Backend::Gpu(engine) => engine.most_rows(width),
        }
    }

    /// Makes a table. `fill` writes the values of consecutive rows, given the first row's number;
    /// optimizer states start at zero.
    ///
    /// # Errors
    /// If the device cannot hold it.
    pub fn create_table(
        &self,
        spec: &TableSpec,
        fill: &mut dyn FnMut(usize, &mut [f32]),
    ) -> Result<Table, KernelError> {
        Ok(match self {
            Backend::Cpu(_) => Table::Cpu(cpu::Table::new(spec, fill)),
            Backend::Gpu(engine) => Table::Gpu(engine.create_table(spec, fill)?),
        })
    }

    /// All rows of a column, in table order.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn read(&self, table: &Table, column: Column) -> Result<Vec<f32>, KernelError> {
        on_engine!(self, engine, [table] => engine.read(table, column))
    }

    /// Replaces all rows of a column.
    ///
    /// # Errors
    /// If `data` has not rows × width values, or the device is lost.
    pub fn write(
        &self,
        table: &mut Table,
        column: Column,
        data: &[f32],
    ) -> Result<(), KernelError> {
        on_engine!(self, engine, [table] => engine.write(table, column, data))
    }

    /// Computes a step's gradients and keeps them on the device for [`Backend::update`].
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn gradients(
        &mut self,
        spec: &StepSpec,
        plan: &Plan,
        entities: &Table,
        relations: &Table,
    ) -> Result<(), KernelError> {
        on_engine!(self, engine, [entities, relations] => {
            engine.gradients(spec, plan, entities, relations)
        })
    }

    /// Applies the gradients of the last [`Backend::gradients`] call, made from the same plan.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn update(
        &mut self,
        step: OptimizerStep,
        plan: &Plan,
        entities: &mut Table,
        relations: &mut Table,
    ) -> Result<(), KernelError> {
        on_engine!(self, engine, [entities, relations] => {
            engine.update(step, plan, entities, relations)
        })
    }

    /// The weighted losses of all steps since the last call, added up.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn take_loss(&mut self) -> Result<f64, KernelError> {
        match self {
            Backend::Cpu(engine) => Ok(engine.take_loss()),
            Backend::Gpu(engine) => engine.take_loss(),
        }
    }

    /// Counts, for every query, the candidates before and beside its target.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn rank(
        &mut self,
        model: Model,
        batch: &RankBatch,
        entities: &Table,
        relations: &Table,
    ) -> Result<Vec<RankCounts>, KernelError> {
        on_engine!(self, engine, [entities, relations] => {
            engine.rank(model, batch, entities, relations)
        })
    }

    /// Scores of every query against every entity, row-major; for a few queries.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn scores(
        &mut self,
        model: Model,
        queries: &[RankQuery],
        entities: &Table,
        relations: &Table,
    ) -> Result<Vec<f32>, KernelError> {
        on_engine!(self, engine, [entities, relations] => {
            engine.scores(model, queries, entities, relations)
        })
    }

    /// The score of every query against its target.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn score_pairs(
        &mut self,
        model: Model,
        queries: &[RankQuery],
        entities: &Table,
        relations: &Table,
    ) -> Result<Vec<f32>, KernelError> {
        on_engine!(self, engine, [entities, relations] => {
            engine.score_pairs(model, queries, entities, relations)
        })
    }

    /// Fills every buffer between the stages with values that are not numbers, so that a test sees
    /// whatever is read before it is written.
    ///
    /// # Errors
    /// If the device is lost.
    #[doc(hidden)]
    pub fn poison(&mut self) -> Result<(), KernelError> {
        match self {
            Backend::Cpu(engine) => {
                engine.poison();
                Ok(())
            }
            Backend::Gpu(engine) => engine.poison(),
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Backend::Cpu(_) => write!(f, "{}", device::cpu()),
            Backend::Gpu(engine) => write!(f, "{}", engine.gpu()),
        }
    }
}
