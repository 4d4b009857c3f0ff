//! Where no matrix unit can be used.

use std::ops::Range;

use super::{Panel, SIDE, Side};

/// Leave to use the matrix unit: nobody has it here.
#[derive(Clone, Copy, Debug)]
pub enum Unit {}

impl Unit {
    /// None.
    pub fn get() -> Option<Unit> {
        None
    }

    pub fn tiles(self) -> Tiles {
        match self {}
    }

    pub fn along_rows(self, _: (&[f32], usize), _: Range<usize>, _: Side, _: &mut [f32]) {
        match self {}
    }

    pub fn across_rows(
        self,
        _: (&[f32], usize),
        _: Range<usize>,
        _: Option<&[f32]>,
        _: Side,
        _: &mut [f32],
    ) {
        match self {}
    }

    pub fn split(self, _: &[[f32; SIDE]; 16], _: &mut [f32]) {
        match self {}
    }

    pub fn rows_to_columns(self, _: &[f32], _: &mut [f32]) {
        match self {}
    }
}

/// The unit's registers.
pub enum Tiles {}

impl Tiles {
    pub fn block(&self, _: [Panel<'_>; 2], _: usize, _: &mut [f32], _: bool) {
        match *self {}
    }
}
