//! The choice between the GPU's engine and the CPU's, made once per call.

use std::fmt;

use super::engine::{GradientEngine, PushEngine, RankEngine, StepEngine, TableEngine};
use super::push::{on_cpu, on_gpu};
use super::{
    GradientRows, KernelError, Places, Push, RankBatch, RankCounts, RankQuery, StepSpec, TableName,
    TableSpec, cpu, gpu,
};
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

/// A table on the device of the backend that made it. Several workers may use it at once.
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

pub(super) use on_engine;

impl Table {
    /// What the table is made of.
    pub fn spec(&self) -> &TableSpec {
        match self {
            Table::Cpu(table) => table.spec(),
            Table::Gpu(table) => table.spec(),
        }
    }
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

    /// The device.
    pub fn choice(&self) -> DeviceChoice {
        match self {
            Backend::Cpu(_) => DeviceChoice::Cpu,
            Backend::Gpu(engine) => DeviceChoice::GpuAt(engine.gpu().description().index),
        }
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

    /// Another engine on the same device, with buffers of its own: for another worker.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn another(&self) -> Result<Backend, KernelError> {
        match self {
            Backend::Cpu(_) => Ok(Backend::cpu()),
            Backend::Gpu(engine) => Backend::gpu(engine.gpu().clone()),
        }
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
        entities: &Table,
        relations: &Table,
    ) -> Result<(), KernelError> {
        on_engine!(self, engine, [entities, relations] => {
            engine.update(step, plan, entities, relations)
        })
    }

    /// [`Backend::gradients`] and [`Backend::update`] in one: the same bits, and on a CPU fewer copies.
    /// No gradients are left to be read.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn step(
        &mut self,
        spec: &StepSpec,
        step: OptimizerStep,
        plan: &Plan,
        entities: &Table,
        relations: &Table,
    ) -> Result<(), KernelError> {
        on_engine!(self, engine, [entities, relations] => {
            engine.step(spec, step, plan, entities, relations)
        })
    }

    /// Σ g² over all gradients of the last [`Backend::gradients`] call, made from the same plan; not
    /// finite if a gradient is not. Waits for the device.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn gradient_square_sum(
        &mut self,
        plan: &Plan,
        entities: &Table,
        relations: &Table,
    ) -> Result<f64, KernelError> {
        on_engine!(self, engine, [entities, relations] => {
            engine.gradient_square_sum(plan, entities, relations)
        })
    }

    /// Keeps, on the device, the gradients of a shard's rows that the last [`Backend::gradients`]
    /// call made from the same plan: of the rows that the plan touches, or of all rows of an entity
    /// shard where candidates are all entities. What `old` had is used again.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn keep_gradients(
        &mut self,
        plan: &Plan,
        name: TableName,
        table: &Table,
        shard: usize,
        old: Option<GradientRows>,
    ) -> Result<GradientRows, KernelError> {
        match (self, table, old) {
            (Backend::Cpu(engine), Table::Cpu(table), old) => {
                let mut values = on_cpu(old);
                values.replace(engine.gradients_of(plan, name, table, shard));
                Ok(values.into())
            }
            (Backend::Gpu(engine), Table::Gpu(table), old) => {
                let rows = engine.keep_gradients(plan, name, table, shard, on_gpu(old))?;
                Ok(GradientRows::Gpu(rows))
            }
            (Backend::Cpu(_), ..) => Err(KernelError::ForeignTable { engine: "CPU" }),
            (Backend::Gpu(_), ..) => Err(KernelError::ForeignTable { engine: "GPU" }),
        }
    }

    /// Copies what [`Backend::keep_gradients`] would keep to the end of `out`. Waits for the
    /// device.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn read_gradients(
        &self,
        plan: &Plan,
        name: TableName,
        table: &Table,
        shard: usize,
        out: &mut Vec<f32>,
    ) -> Result<(), KernelError> {
        match (self, table) {
            (Backend::Cpu(engine), Table::Cpu(table)) => {
                out.extend_from_slice(engine.gradients_of(plan, name, table, shard));
                Ok(())
            }
            (Backend::Gpu(engine), Table::Gpu(table)) => {
                engine.read_gradients(plan, name, table, shard, out)
            }
            (Backend::Cpu(_), _) => Err(KernelError::ForeignTable { engine: "CPU" }),
            (Backend::Gpu(_), _) => Err(KernelError::ForeignTable { engine: "GPU" }),
        }
    }

    /// Copies gradient rows to the device, as [`Backend::upload`], and returns Σ g² over them, which
    /// is not finite if one of them is not.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn upload_summed(
        &self,
        gradients: &[f32],
        old: Option<GradientRows>,
    ) -> Result<(GradientRows, f64), KernelError> {
        match (self, old) {
            (Backend::Cpu(_), old) => {
                let mut values = on_cpu(old);
                let squares = cpu::copy_square_sum(gradients, &mut values);
                Ok((values.into(), squares))
            }
            (Backend::Gpu(_), old) => {
                let squares = cpu::square_sum(gradients);
                Ok((self.upload(gradients, old)?, squares))
            }
        }
    }

    /// Applies the optimizer once to every row that was pushed to a shard, with the weighted sum of
    /// its gradients, added up in the order of the pushes.
    ///
    /// # Errors
    /// [`KernelError::Shape`], [`KernelError::Row`], [`KernelError::ForeignTable`] or
    /// [`KernelError::ForeignRows`] if a push does not fit; nothing has changed then. If the device is lost or full.
    pub fn push(
        &self,
        step: OptimizerStep,
        table: &Table,
        shard: usize,
        pushes: &[Push<'_>],
    ) -> Result<(), KernelError> {
        on_engine!(self, engine, [table] => engine.push(step, table, shard, pushes))
    }

    /// The same for one push that lies in main memory, with weight one.
    ///
    /// # Errors
    /// As [`Backend::push`].
    pub fn push_rows(
        &self,
        step: OptimizerStep,
        table: &Table,
        shard: usize,
        places: Places<'_>,
        gradients: &[f32],
    ) -> Result<(), KernelError> {
        on_engine!(self, engine, [table] => engine.push_rows(step, table, shard, places, gradients))
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
