//! `widen`: rows that are stored as binary16, as `f32`; and back.
//!
//! No table is ever widened whole: stages that want all rows take a block of them at a time
//! (`TableReadGuard::rows`), small enough to stay in cache.

use crate::kernel::dtype::{narrow_row, narrow_row_stochastically, widen_row};
use half::f16;

/// Memory for a row that is stored as halves, while it is updated.
pub struct HalfRow {
    wide: Vec<f32>,
}

impl HalfRow {
    /// Memory for rows of `width` values.
    pub fn new(width: usize) -> HalfRow {
        HalfRow {
            wide: vec![0.0; width],
        }
    }

    /// Replaces a row by what `update` makes of it as `f32`. One with a name is rounded
    /// stochastically.
    #[inline(always)]
    pub fn replace(
        &mut self,
        halves: &mut [f16],
        salt: u32,
        name: Option<u32>,
        update: impl FnOnce(&mut [f32]),
    ) {
        widen_row(halves, &mut self.wide);
        update(&mut self.wide);
        match name {
            Some(name) => narrow_row_stochastically(&self.wide, salt, name, halves),
            None => narrow_row(&self.wide, halves),
        }
    }
}
