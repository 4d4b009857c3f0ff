//! The GPU's engine in a build without the feature `gpu`: types without values, so that the code
//! that chooses between engines is written once.

use std::convert::Infallible;
use std::ops::Range;

use super::engine::{GradientEngine, PartEngine, PushEngine, RankEngine, StepEngine, TableEngine};
use super::measure::{StageTime, Timed};
use super::{
    Column, KernelError, LaneGradients, LaneRows, PartRanking, PartTile, Places, Push, RankBatch,
    RankCounts, RankQuery, ShardLayout, StepSpec, TableName, TableSpec,
};
use crate::device::{DeviceError, Gpu};
use crate::loss::Statistic;
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
                #[allow(clippy::too_many_arguments)]
                pub fn $name(&self, $(_: $argument),*) -> $output {
                    match self.0 {}
                }
            )*
        }
    };
}

/// Implements a trait of an engine's calls for the absent engine.
macro_rules! absent_calls {
    ($trait:ident { $(type $associated:ident = $type:ty;)* }
        shared { $($name:ident($($argument:ty),*) -> $output:ty;)* }
        exclusive { $($name_mut:ident($($argument_mut:ty),*) -> $output_mut:ty;)* }
    ) => {
        impl $trait for Engine {
            $(type $associated = $type;)*
            $(fn $name(&self, $(_: $argument),*) -> $output {
                match self.0 {}
            })*
            $(fn $name_mut(&mut self, $(_: $argument_mut),*) -> $output_mut {
                match self.0 {}
            })*
        }
    };
}

absent! {
    /// The GPU's engine, which this build does not have.
    Engine {
        gpu() -> &Gpu;
        row_batch(&TableSpec, &[u32], Vec<Range<usize>>, &[f32]) -> Result<RowBatch>;
        repeat_update(OptimizerStep, &Table, &[&RowBatch], usize) -> Result<Option<f64>>;
        repeat_gather(&Table, &[&RowBatch], usize) -> Result<Option<f64>>;
        repeat_copy(&CopyPair, usize) -> Result<Option<f64>>;
        start_clock(Timed) -> Result<bool>;
        stop_clock() -> Result<Vec<StageTime>>;
    }
}

absent_calls! {
    TableEngine { type Table = Table; }
    shared {
        most_rows(usize) -> usize;
        create_table(&TableSpec, &mut dyn FnMut(usize, &mut [f32])) -> Result<Table>;
        read_part(&Table, Column, Range<usize>, &mut [f32]) -> Result<()>;
        write_part(&Table, Column, Range<usize>, &[f32]) -> Result<()>;
        read_shard(&Table, usize, &mut [f32]) -> Result<()>;
        read_rows(&Table, &[u32], &mut [f32]) -> Result<()>;
        write_rows(&Table, &[u32], &[f32]) -> Result<()>;
        rearrange(&Table, &ShardLayout, &[u32]) -> Result<Table>;
        name_rows(&Table, &[u32]) -> Result<()>;
    }
    exclusive {}
}

absent_calls! {
    StepEngine {}
    shared {}
    exclusive {
        gradients(&StepSpec, &Plan, &Table, &Table) -> Result<()>;
        update(OptimizerStep, &Plan, &Table, &Table) -> Result<()>;
        take_loss() -> Result<f64>;
        poison() -> Result<()>;
    }
}

absent_calls! {
    GradientEngine { type Gradients = GradientRows; }
    shared {
        read_gradients(&Plan, TableName, &Table, usize, &mut Vec<f32>) -> Result<()>;
        upload(&[f32], Option<GradientRows>) -> Result<GradientRows>;
        average(&[(&super::GradientRows, f32)], f32, Option<GradientRows>) -> Result<GradientRows>;
        square_sum(&super::GradientRows) -> Result<f64>;
    }
    exclusive {
        keep_gradients(&Plan, TableName, &Table, usize, Option<GradientRows>) -> Result<GradientRows>;
        gradient_square_sum(&Plan, &Table, &Table) -> Result<f64>;
    }
}

absent_calls! {
    PushEngine {}
    shared {
        push(OptimizerStep, &Table, usize, &[Push<'_>]) -> Result<()>;
        push_rows(OptimizerStep, &Table, usize, Places<'_>, &[f32]) -> Result<()>;
    }
    exclusive {}
}

absent_calls! {
    RankEngine {}
    shared {}
    exclusive {
        rank(Model, &RankBatch, &Table, &Table) -> Result<Vec<RankCounts>>;
        scores(Model, &[RankQuery], &Table, &Table) -> Result<Vec<f32>>;
        score_pairs(Model, &[RankQuery], &Table, &Table) -> Result<Vec<f32>>;
    }
}

absent_calls! {
    PartEngine {}
    shared {
        read_lane_gradients(&Plan) -> Result<LaneGradients>;
    }
    exclusive {
        lane_queries(&StepSpec, &Plan, LaneRows<'_>) -> Result<Vec<f32>>;
        score_part(&StepSpec, &PartTile<'_>, &Table) -> Result<()>;
        part_statistics(
            &StepSpec, &PartTile<'_>, &Table, &[Vec<Statistic>]
        ) -> Result<Vec<Statistic>>;
        part_gradients(
            &StepSpec, &PartTile<'_>, &Table, &[Vec<Statistic>], &mut [f32]
        ) -> Result<f64>;
        lane_gradients(&StepSpec, &Plan, &[f32]) -> Result<f64>;
        query_vectors(Model, &[RankQuery], &Table, &Table) -> Result<Vec<f32>>;
        target_scores(Model, &[f32], &[Option<u32>], &Table) -> Result<Vec<f32>>;
        rank_part(Model, &PartRanking<'_>, &Table) -> Result<Vec<RankCounts>>;
    }
}

impl Engine {
    /// Never called: there is no GPU to make an engine on.
    pub fn new(gpu: Gpu) -> Result<Engine> {
        gpu.unreachable()
    }
}

absent! {
    /// A table in an adapter's memory.
    Table {
        spec() -> &TableSpec;
    }
}

absent! {
    /// Gradient rows in an adapter's memory.
    GradientRows {
        is_empty() -> bool;
        len() -> usize;
        is_shared() -> bool;
        are_on(&Gpu) -> bool;
        read(&mut Vec<f32>) -> Result<(), DeviceError>;
        replaced(&[f32]) -> Result<GradientRows, DeviceError>;
    }
}

absent! {
    /// A batch of rows that benchmarks repeat.
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
