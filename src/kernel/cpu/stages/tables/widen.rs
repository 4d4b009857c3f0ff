//! `widen`: rows that are stored as binary16, as `f32`; and back.
//!
//! No table is ever widened whole: stages that want all rows take a strip of them at a time
//! (`View::rows`), small enough to stay in cache.

use half::f16;
use pulp::Simd;

use crate::kernel::cpu::stages::tables::optimize::optimize;
use crate::kernel::dtype::{narrow_row, narrow_row_stochastically, widen_row};
use crate::optim::OptimizerStep;

/// Room for a row that is stored as halves while it is updated.
pub struct HalfRow {
    wide: Vec<f32>,
}

impl HalfRow {
    pub fn new(width: usize) -> HalfRow {
        HalfRow {
            wide: vec![0.0; width],
        }
    }

    /// Applies the optimizer to a row. One with a name is rounded stochastically.
    #[inline(always)]
    pub fn apply<S: Simd>(
        &mut self,
        simd: S,
        step: OptimizerStep,
        halves: &mut [f16],
        name: Option<u32>,
        gradient: &[f32],
        [first, second]: [&mut [f32]; 2],
    ) {
        widen_row(halves, &mut self.wide);
        optimize(simd, step, [&mut self.wide, first, second], gradient);
        match name {
            Some(name) => narrow_row_stochastically(&self.wide, step.salt, name, halves),
            None => narrow_row(&self.wide, halves),
        }
    }
}
