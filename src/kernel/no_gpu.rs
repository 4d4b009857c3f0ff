//! The GPU's engine in a build without the feature `gpu`: types without values, so that the code
//! that chooses between engines is written once.

use std::convert::Infallible;
use std::ops::Range;

use super::measure::{StageTime, Timed};
use super::{
    Column, KernelError, Places, Push, RankBatch, RankCounts, RankQuery, ShardLayout, StepSpec,
    TableName, TableSpec,
};
use crate::device::{DeviceError, Gpu};
use crate::model::Model;
use crate::optim::OptimizerStep;
use crate::sampler::Plan;

type Result<T, E = KernelError> = std::result::Result<T, E>;

/// Declares a type without values, with the methods of the GPU's type of the same name.
macro_rules! absent {
    ($(#[doc = $doc:literal])* $type:ident {
        $($name:ident($($argument:ty),*) -> $output:ty;)*
    }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug)]
        pub struct $type(Infallible);

        impl $type {
            $(
                /// Never called: the type has no values.
                #[allow(clippy::too_many_arguments, clippy::len_without_is_empty)]
                pub fn $name(&self, $(_: $argument),*) -> $output {
                    match self.0 {}
                }
            )*
        }
    };
}

absent! {
    /// The GPU's engine, which this build does not have.
    Engine {
        gpu() -> &Gpu;
        most_rows(usize) -> usize;
        create_table(&TableSpec, &mut dyn FnMut(usize, &mut [f32])) -> Result<Table>;
        read_part(&Table, Column, Range<usize>, &mut [f32]) -> Result<()>;
        write_part(&Table, Column, Range<usize>, &[f32]) -> Result<()>;
        name_rows(&Table, &[u32]) -> Result<()>;
        read_shard(&Table, usize, &mut [f32]) -> Result<()>;
        read_rows(&Table, &[u32], &mut [f32]) -> Result<()>;
        write_rows(&Table, &[u32], &[f32]) -> Result<()>;
        rearrange(&Table, &ShardLayout, &[u32]) -> Result<Table>;
        gradients(&StepSpec, &Plan, &Table, &Table) -> Result<()>;
        update(OptimizerStep, &Plan, &Table, &Table) -> Result<()>;
        step(&StepSpec, OptimizerStep, &Plan, &Table, &Table) -> Result<()>;
        take_loss() -> Result<f64>;
        gradient_square_sum(&Plan, &Table, &Table) -> Result<f64>;
        keep_gradients(&Plan, TableName, &Table, usize, Option<GradientRows>) -> Result<GradientRows>;
        read_gradients(&Plan, TableName, &Table, usize, &mut Vec<f32>) -> Result<()>;
        upload(&[f32], Option<GradientRows>) -> Result<GradientRows>;
        average(&[(&super::GradientRows, f32)], f32, Option<GradientRows>) -> Result<GradientRows>;
        square_sum(&super::GradientRows) -> Result<f64>;
        push(OptimizerStep, &Table, usize, &[Push<'_>]) -> Result<()>;
        push_rows(OptimizerStep, &Table, usize, Places<'_>, &[f32]) -> Result<()>;
        rank(Model, &RankBatch, &Table, &Table) -> Result<Vec<RankCounts>>;
        scores(Model, &[RankQuery], &Table, &Table) -> Result<Vec<f32>>;
        score_pairs(Model, &[RankQuery], &Table, &Table) -> Result<Vec<f32>>;
        row_batch(&TableSpec, &[u32], Vec<Range<usize>>, &[f32]) -> Result<RowBatch>;
        repeat_update(OptimizerStep, &Table, &[&RowBatch], usize) -> Result<Option<f64>>;
        repeat_gather(&Table, &[&RowBatch], usize) -> Result<Option<f64>>;
        repeat_copy(&CopyPair, usize) -> Result<Option<f64>>;
        start_clock(Timed) -> Result<bool>;
        stop_clock() -> Result<Vec<StageTime>>;
        poison() -> Result<()>;
    }
}

impl Engine {
    /// Never called: there is no GPU to make an engine on.
    pub fn new(gpu: Gpu) -> Result<Engine> {
        gpu.unreachable()
    }
}

absent! {
    /// A table in a GPU's memory.
    Table {
        spec() -> &TableSpec;
    }
}

absent! {
    /// Gradient rows in a GPU's memory.
    GradientRows {
        len() -> usize;
        is_shared() -> bool;
        are_on(&Gpu) -> bool;
        read(&mut Vec<f32>) -> Result<(), DeviceError>;
        replaced(&[f32]) -> Result<GradientRows, DeviceError>;
    }
}

absent! {
    /// Rows that benchmarks gather and update again and again.
    RowBatch {
        read_gathered(&Gpu) -> Result<Vec<f32>>;
    }
}

absent! {
    /// Two buffers that benchmarks copy between.
    CopyPair {
        bytes() -> u64;
    }
}

impl CopyPair {
    /// Never called: there is no GPU to make buffers on.
    pub fn new(gpu: &Gpu, _bytes: u64) -> Result<CopyPair> {
        gpu.unreachable()
    }
}
