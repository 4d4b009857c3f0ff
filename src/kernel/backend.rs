//! The choice between the GPU's engine and the CPU's, made once per call.

use std::fmt;
use std::ops::Range;

use super::engine::{GradientEngine, PartEngine, PushEngine, RankEngine, StepEngine, TableEngine};
use super::push::reuse;
use super::{
    Column, GradientRows, KernelError, LaneGradients, LaneRows, PartRanking, PartTile, Places,
    Push, RankBatch, RankCounts, RankQuery, ShardLayout, StepSpec, TableName, TableSpec, check,
    cpu, gpu,
};
use crate::device::{self, Device, DeviceChoice, GpuOptions};
use crate::loss::Statistic;
use crate::model::Model;
use crate::optim::OptimizerStep;
use crate::sampler::Plan;

/// An engine: the CPU's, or a GPU's.
///
/// The traits in [`engine`](super::engine) document the calls. Besides their errors, every call
/// with tables or gradient rows returns [`KernelError::ForeignTable`] or
/// [`KernelError::ForeignRows`] if these are in the memory of another device.
#[derive(Debug)]
pub enum Backend {
    /// All cores of this machine.
    Cpu(Box<cpu::Engine>),
    /// One GPU.
    Gpu(Box<gpu::Engine>),
}

/// A table on the device of the backend that made it. Several workers may use it at once.
#[derive(Debug)]
pub enum Table {
    /// In main memory.
    Cpu(cpu::Table),
    /// In a GPU's memory.
    Gpu(gpu::Table),
}

/// Makes a call to the engine of a backend, with the tables of that engine.
macro_rules! on_engine {
    ($backend:expr, $engine:ident, [] => $call:expr) => {
        match $backend {
            Backend::Cpu($engine) => $call,
            Backend::Gpu($engine) => $call,
        }
    };
    ($backend:expr, $engine:ident, [$($table:ident),+] => $call:expr) => {
        match ($backend, $($table),+) {
            (Backend::Cpu($engine), $(Table::Cpu($table)),+) => $call,
            (Backend::Gpu($engine), $(Table::Gpu($table)),+) => $call,
            (Backend::Cpu(_), ..) => Err(KernelError::ForeignTable { engine: "CPU" }),
            (Backend::Gpu(_), ..) => Err(KernelError::ForeignTable { engine: "GPU" }),
        }
    };
}

/// Defines methods of [`Backend`] that only call the engine's method of the same name. The brackets
/// at the end of a line name the tables among the arguments; those at the start say whether the
/// methods change the engine.
macro_rules! forward {
    ($trait:ident, $receiver:tt $(
        $(#[$attribute:meta])*
        $method:ident $arguments:tt -> $output:ty, $tables:tt;
    )*) => {
        impl Backend {
            $(
                forward! { @ $receiver
                    #[doc = concat!("Calls [`", stringify!($trait), "::", stringify!($method), "`].")]
                    $(#[$attribute])*
                    $method $arguments -> $output, $tables
                }
            )*
        }
    };
    (@ [&$($mut:ident)?] $(#[$attribute:meta])* $method:ident(
        $($argument:ident: $type:ty),*
    ) -> $output:ty, [$($table:ident),*]) => {
        $(#[$attribute])*
        pub fn $method(&$($mut)? self, $($argument: $type),*) -> Result<$output, KernelError> {
            on_engine!(self, engine, [$($table),*] => engine.$method($($argument),*))
        }
    };
}

impl From<cpu::Table> for Table {
    fn from(table: cpu::Table) -> Table {
        Table::Cpu(table)
    }
}

impl From<gpu::Table> for Table {
    fn from(table: gpu::Table) -> Table {
        Table::Gpu(table)
    }
}

impl Table {
    /// Width, layout, optimizer and type of the table.
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
    /// If there is no such device, or the device does not open.
    pub fn open(choice: DeviceChoice) -> Result<(Backend, Option<String>), KernelError> {
        let opened = device::open_with(choice, &GpuOptions::default())?;
        let backend = match opened.device {
            Device::Cpu => Backend::cpu(),
            Device::Gpu(gpu) => Backend::gpu(gpu)?,
        };
        Ok((backend, opened.note))
    }

    /// An engine on the CPU.
    pub fn cpu() -> Backend {
        Backend::Cpu(Box::new(cpu::Engine::new()))
    }

    /// An engine on a GPU.
    ///
    /// # Errors
    /// If the device is lost or full.
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
}

forward! { StepEngine, [&mut]
    gradients(spec: &StepSpec, plan: &Plan, entities: &Table, relations: &Table) -> (),
        [entities, relations];
    update(step: OptimizerStep, plan: &Plan, entities: &Table, relations: &Table) -> (),
        [entities, relations];
    step(
        spec: &StepSpec, step: OptimizerStep, plan: &Plan, entities: &Table, relations: &Table
    ) -> (), [entities, relations];
    take_loss() -> f64, [];
    #[doc(hidden)]
    poison() -> (), [];
}

forward! { GradientEngine, [&mut]
    gradient_square_sum(plan: &Plan, entities: &Table, relations: &Table) -> f64,
        [entities, relations];
}

forward! { GradientEngine, [&]
    read_gradients(
        plan: &Plan, name: TableName, table: &Table, shard: usize, out: &mut Vec<f32>
    ) -> (), [table];
    square_sum(rows: &GradientRows) -> f64, [];
}

forward! { PushEngine, [&]
    push(step: OptimizerStep, table: &Table, shard: usize, pushes: &[Push<'_>]) -> (), [table];
    push_rows(
        step: OptimizerStep, table: &Table, shard: usize, places: Places<'_>, gradients: &[f32]
    ) -> (), [table];
}

forward! { RankEngine, [&mut]
    rank(model: Model, batch: &RankBatch, entities: &Table, relations: &Table) -> Vec<RankCounts>,
        [entities, relations];
    scores(model: Model, queries: &[RankQuery], entities: &Table, relations: &Table) -> Vec<f32>,
        [entities, relations];
    score_pairs(
        model: Model, queries: &[RankQuery], entities: &Table, relations: &Table
    ) -> Vec<f32>, [entities, relations];
}

forward! { PartEngine, [&mut]
    lane_queries(spec: &StepSpec, lane: &Plan, rows: LaneRows<'_>) -> Vec<f32>, [];
    score_part(spec: &StepSpec, tile: &PartTile<'_>, part: &Table) -> (), [part];
    part_statistics(
        spec: &StepSpec, tile: &PartTile<'_>, part: &Table, before: &[Vec<Statistic>]
    ) -> Vec<Statistic>, [part];
    part_gradients(
        spec: &StepSpec, tile: &PartTile<'_>, part: &Table, statistics: &[Vec<Statistic>],
        d_queries: &mut [f32]
    ) -> f64, [part];
    lane_gradients(spec: &StepSpec, lane: &Plan, d_queries: &[f32]) -> f64, [];
    query_vectors(
        model: Model, queries: &[RankQuery], entities: &Table, relations: &Table
    ) -> Vec<f32>, [entities, relations];
    target_scores(
        model: Model, vectors: &[f32], targets: &[Option<u32>], part: &Table
    ) -> Vec<f32>, [part];
    rank_part(model: Model, ranking: &PartRanking<'_>, part: &Table) -> Vec<RankCounts>, [part];
}

forward! { PartEngine, [&]
    read_lane_gradients(lane: &Plan) -> LaneGradients, [];
}

/// Tables and their rows. A call returns [`KernelError::Row`] for a row that the table does not
/// have, and [`KernelError::Shape`] unless a slice has the length that rows and width ask for.
/// Calls that read replace the contents of `out`.
impl Backend {
    /// Calls [`TableEngine::most_rows`].
    pub fn most_rows(&self, width: usize) -> usize {
        on_engine!(self, engine, [] => engine.most_rows(width))
    }

    /// Calls [`TableEngine::create_table`].
    pub fn create_table(
        &self,
        spec: &TableSpec,
        fill: &mut dyn FnMut(usize, &mut [f32]),
    ) -> Result<Table, KernelError> {
        on_engine!(self, engine, [] => Ok(engine.create_table(spec, fill)?.into()))
    }

    /// Reads all rows of a column, in table order.
    ///
    /// # Errors
    /// As [`TableEngine::read_part`].
    pub fn read(&self, table: &Table, column: Column) -> Result<Vec<f32>, KernelError> {
        let mut all = Vec::new();
        self.read_part(table, column, 0..table.spec().layout.rows(), &mut all)?;
        Ok(all)
    }

    /// Calls [`TableEngine::read_part`].
    pub fn read_part(
        &self,
        table: &Table,
        column: Column,
        rows: Range<usize>,
        out: &mut Vec<f32>,
    ) -> Result<(), KernelError> {
        let spec = table.spec();
        check::rows(spec, last_row(&rows))?;
        out.resize(rows.len() * column.width(spec), 0.0);
        on_engine!(self, engine, [table] => engine.read_part(table, column, rows, out))
    }

    /// Replaces all rows of a column by `data`, in table order.
    ///
    /// # Errors
    /// As [`TableEngine::write_part`].
    pub fn write(&self, table: &Table, column: Column, data: &[f32]) -> Result<(), KernelError> {
        self.write_part(table, column, 0..table.spec().layout.rows(), data)
    }

    /// Calls [`TableEngine::write_part`].
    pub fn write_part(
        &self,
        table: &Table,
        column: Column,
        rows: Range<usize>,
        data: &[f32],
    ) -> Result<(), KernelError> {
        let spec = table.spec();
        check::rows(spec, last_row(&rows))?;
        KernelError::check_shape(spec.name, rows.len() * column.width(spec), data.len())?;
        on_engine!(self, engine, [table] => engine.write_part(table, column, rows, data))
    }

    /// Calls [`TableEngine::read_shard`].
    pub fn read_shard(
        &self,
        table: &Table,
        shard: usize,
        out: &mut Vec<f32>,
    ) -> Result<(), KernelError> {
        let (width, layout) = (table.spec().width, &table.spec().layout);
        out.resize(layout.range(shard).len() * width, 0.0);
        on_engine!(self, engine, [table] => engine.read_shard(table, shard, out))
    }

    /// Calls [`TableEngine::read_rows`].
    pub fn read_rows(
        &self,
        table: &Table,
        rows: &[u32],
        out: &mut Vec<f32>,
    ) -> Result<(), KernelError> {
        check::rows(table.spec(), rows.iter().copied())?;
        out.resize(rows.len() * table.spec().width, 0.0);
        on_engine!(self, engine, [table] => engine.read_rows(table, rows, out))
    }

    /// Calls [`TableEngine::write_rows`].
    pub fn write_rows(
        &self,
        table: &Table,
        rows: &[u32],
        values: &[f32],
    ) -> Result<(), KernelError> {
        let spec = table.spec();
        check::rows(spec, rows.iter().copied())?;
        KernelError::check_shape(spec.name, rows.len() * spec.width, values.len())?;
        on_engine!(self, engine, [table] => engine.write_rows(table, rows, values))
    }

    /// Calls [`TableEngine::rearrange`].
    pub fn rearrange(
        &self,
        table: &Table,
        layout: &ShardLayout,
        from: &[u32],
    ) -> Result<Table, KernelError> {
        let spec = table.spec();
        KernelError::check_shape(spec.name, layout.rows(), from.len())?;
        check::rows(spec, from.iter().copied())?;
        on_engine!(self, engine, [table] => Ok(engine.rearrange(table, layout, from)?.into()))
    }

    /// Calls [`TableEngine::name_rows`] if the table rounds stochastically.
    pub fn name_rows(&self, table: &Table, names: &[u32]) -> Result<(), KernelError> {
        let spec = table.spec();
        KernelError::check_shape(spec.name, spec.layout.rows(), names.len())?;
        if !spec.dtype.is_stochastic() {
            return Ok(());
        }
        on_engine!(self, engine, [table] => engine.name_rows(table, names))
    }
}

/// Gradient rows on the device. Calls that make some may use the memory of `old`.
impl Backend {
    /// Calls [`GradientEngine::keep_gradients`].
    pub fn keep_gradients(
        &mut self,
        plan: &Plan,
        name: TableName,
        table: &Table,
        shard: usize,
        old: Option<GradientRows>,
    ) -> Result<GradientRows, KernelError> {
        on_engine!(self, engine, [table] => {
            Ok(engine.keep_gradients(plan, name, table, shard, reuse(old))?.into())
        })
    }

    /// Calls [`GradientEngine::upload`].
    pub fn upload(
        &self,
        gradients: &[f32],
        old: Option<GradientRows>,
    ) -> Result<GradientRows, KernelError> {
        on_engine!(self, engine, [] => Ok(engine.upload(gradients, reuse(old))?.into()))
    }

    /// Makes `values` gradients on the device, which `fill` writes. On a CPU they are written where they stay.
    ///
    /// # Errors
    /// As [`GradientEngine::upload`].
    pub fn upload_filled(
        &self,
        values: usize,
        fill: impl FnOnce(&mut [f32]),
        old: Option<GradientRows>,
    ) -> Result<GradientRows, KernelError> {
        if let Backend::Gpu(_) = self {
            let mut host = vec![0.0; values];
            fill(&mut host);
            return self.upload(&host, old);
        }
        let mut rows: cpu::AlignedVec = reuse(old).unwrap_or_default();
        fill(rows.resize_for_overwrite(values));
        Ok(rows.into())
    }

    /// [`Backend::upload`], and Σ g² over the rows, which is not finite if a gradient is not.
    ///
    /// # Errors
    /// As [`GradientEngine::upload`].
    pub fn upload_summed(
        &self,
        gradients: &[f32],
        old: Option<GradientRows>,
    ) -> Result<(GradientRows, f64), KernelError> {
        if let Backend::Gpu(_) = self {
            return Ok((self.upload(gradients, old)?, cpu::square_sum(gradients)));
        }
        // The values are read once, to be copied and to be summed.
        let mut values: cpu::AlignedVec = reuse(old).unwrap_or_default();
        let squares = cpu::copy_square_sum(gradients, &mut values);
        Ok((values.into(), squares))
    }

    /// Calls [`GradientEngine::average`].
    pub fn average(
        &self,
        parts: &[(&GradientRows, f32)],
        divisor: f32,
        old: Option<GradientRows>,
    ) -> Result<GradientRows, KernelError> {
        on_engine!(self, engine, [] => Ok(engine.average(parts, divisor, reuse(old))?.into()))
    }

    /// Copies gradient rows to the host, in place of the contents of `out`. Waits for the device.
    ///
    /// # Errors
    /// [`KernelError::ForeignRows`] if the rows are in the memory of another device; if the device
    /// is lost.
    pub fn download(&self, rows: &GradientRows, out: &mut Vec<f32>) -> Result<(), KernelError> {
        self.check_rows(rows)?;
        rows.read(out)
    }

    /// Checks that gradient rows are in the memory of this engine's device. Two openings of one GPU
    /// are two devices; [`Backend::another`] is on the same.
    ///
    /// # Errors
    /// [`KernelError::ForeignRows`] if the rows are in the memory of another device.
    pub fn check_rows(&self, rows: &GradientRows) -> Result<(), KernelError> {
        match (self, rows) {
            (Backend::Cpu(_), GradientRows::Cpu(_)) => Ok(()),
            (Backend::Gpu(engine), GradientRows::Gpu(rows)) if rows.are_on(engine.gpu()) => Ok(()),
            (Backend::Cpu(_), _) => Err(KernelError::ForeignRows { engine: "CPU" }),
            (Backend::Gpu(_), _) => Err(KernelError::ForeignRows { engine: "GPU" }),
        }
    }
}

/// The last of successive rows, if there is one.
fn last_row(rows: &Range<usize>) -> Option<u32> {
    let last = rows.end.checked_sub(1).filter(|_| !rows.is_empty());
    last.map(|row| u32::try_from(row).unwrap_or(u32::MAX))
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Backend::Cpu(_) => write!(f, "{}", device::cpu()),
            Backend::Gpu(engine) => write!(f, "{}", engine.gpu()),
        }
    }
}
