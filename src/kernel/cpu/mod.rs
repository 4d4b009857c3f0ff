//! The CPU's code of every stage, and the engine that runs the stages.
//!
//! | folder | contents |
//! |---|---|
//! | `stages` | one file for each shader, of its folder and name |
//! | `step` | the order of stages in training steps, their buffers |
//! | `rank` | rankings and scores outside training |
//! | `matmul` | matrix products: general ones, tiles of registers, a matrix unit |
//! | `simd` | vectors of values, reductions, dispatch to the best instruction set |
//! | `table` | tables in main memory, their rows, prefetches |
//! | `engine.rs`, `gradients.rs`, `part.rs`, `push.rs` | the calls from outside |
//! | `dropout.rs` | masks, shared by stages |
//! | `parallel.rs` | threads of the engine |
//!
//! # Routes of a training step
//!
//! | candidates | if | route | why |
//! |---|---|---|---|
//! | sampled | all candidates of a query fit the second-level cache, rows are compared value by value, no dropout of candidates | by query | 1.3 × by row: coefficients and sums stay in registers |
//! | sampled | else | by row | 1.6 × by query with wide rows (RotatE, rank 1000): each row is read once, in segments |
//! | all | dot products of at least `ROWS` values, softmax without smoothing, AMX, `MatmulPrecision::Bf16x3` | softmax, AMX tiles | 1.7 to 2.1 × SIMD tiles |
//! | all | the same without AMX, or `MatmulPrecision::F32` | softmax, SIMD tiles | 1.4 to 1.6 × general: scores stay in cache between the products |
//! | all | else | general | serves every model and loss |
//!
//! Both routes of sampled candidates may *fuse the update*: rows are read in place instead of pulled, and
//! the optimizer is applied to each row as soon as its gradient is summed (1.1 to 1.9 ×). They do so where
//! a step is asked to update ([`StepEngine::step`]), the entity table is `f32` in one shard, and candidates
//! have no dropout (masked rows would have to be copied). Otherwise gradients are written to memory
//! ([`StepEngine::gradients`]), and [`StepEngine::update`] applies them. Both give the same bits.
//!
//! [`StepEngine::step`]: crate::kernel::engine::StepEngine::step
//! [`StepEngine::gradients`]: crate::kernel::engine::StepEngine::gradients
//! [`StepEngine::update`]: crate::kernel::engine::StepEngine::update
//!
//! benches/NOTES.md has the measurements. `Route::choose` is the only place that chooses.

mod dropout;
mod engine;
mod gradients;
mod matmul;
mod parallel;
mod part;
mod push;
mod rank;
mod simd;
mod stages;
mod step;
mod table;
#[cfg(test)]
mod tests;

pub use engine::Engine;
pub use part::part_tile;
pub use stages::updates::square_sum::{copy_square_sum, square_sum};
pub(super) use table::prefetch::{L1, prefetch};
pub use table::{AlignedVec, Table};

use self::matmul::amx::MatrixUnit;
use self::matmul::microkernel::ROWS;
use crate::kernel::{Dtype, MatmulPrecision, StepSpec, TableSpec};
use crate::loss::LossKind;
use crate::model::Similarity;
use crate::sampler::{Candidates, Plan};

/// Rows or queries that one task works on; fixed, so that no sum depends on the number of threads.
const BLOCK: usize = 64;
/// Bytes that a query's candidates may take on the route by query.
const CANDIDATE_BYTES: usize = 256 << 10;

/// Whether this processor has a matrix unit that [`Products::Fast`] uses.
#[doc(hidden)]
pub fn has_matrix_unit() -> bool {
    MatrixUnit::get().is_some()
}

/// The route of a training step through the stages; see the table above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    /// Each query along its candidates, then each row along its queries.
    SampledByQuery { fused_update: bool },
    /// Each row along its queries, in segments.
    SampledByRow { fused_update: bool },
    /// All entities, with any model and loss.
    All,
    /// All entities, dot products and a softmax.
    AllSoftmax(Tiles),
}

/// The kernel of matrix products on the softmax route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tiles {
    /// Vector registers.
    Simd,
    /// The processor's matrix unit.
    Amx(MatrixUnit),
}

/// Result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    /// Gradients in memory.
    Gradients,
    /// Updated rows.
    Update,
}

impl Route {
    /// The route of a step on a table of entities.
    fn choose(spec: &StepSpec, plan: &Plan, entities: &TableSpec, output: Output) -> Route {
        let similarity = spec.model.similarity();
        if matches!(plan.candidates, Candidates::All { .. }) {
            return Route::of_all(spec, entities);
        }
        let fused_update = output == Output::Update
            && entities.dtype == Dtype::F32
            && entities.layout.shards() == 1
            && spec.candidate_dropout == 0.0
            && !plan.queries.is_empty();
        let bytes = size_of::<f32>() * entities.width * plan.sampled_width();
        let by_query = similarity != Similarity::NegativeModulus
            && spec.candidate_dropout == 0.0
            && bytes <= CANDIDATE_BYTES;
        match by_query {
            true => Route::SampledByQuery { fused_update },
            false => Route::SampledByRow { fused_update },
        }
    }

    /// The route of a step whose candidates are all rows of a table.
    fn of_all(spec: &StepSpec, entities: &TableSpec) -> Route {
        let softmax = entities.width >= ROWS
            && spec.model.similarity() == Similarity::Dot
            && spec.loss.kind == LossKind::Softmax
            && spec.loss.smoothing == 0.0;
        let unit = match spec.matmul_precision {
            MatmulPrecision::Bf16x3 => MatrixUnit::get(),
            MatmulPrecision::F32 => None,
        };
        match (softmax, unit) {
            (false, _) => Route::All,
            (true, None) => Route::AllSoftmax(Tiles::Simd),
            (true, Some(unit)) => Route::AllSoftmax(Tiles::Amx(unit)),
        }
    }

    /// Whether the optimizer is applied within the step.
    fn fuses_update(self) -> bool {
        match self {
            Route::SampledByQuery { fused_update } | Route::SampledByRow { fused_update } => {
                fused_update
            }
            Route::All | Route::AllSoftmax(_) => false,
        }
    }
}
