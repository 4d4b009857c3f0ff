//! Where no matrix unit can be used: nobody ever has leave to, and so nothing below is called.

use std::ops::Range;

use crate::kernel::cpu::matmul::amx::{Panel, SIDE, Side, TILE};

/// Leave to use the matrix unit.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "never made")]
pub struct Unit(());

impl Unit {
    /// None.
    pub fn get() -> Option<Unit> {
        None
    }

    pub fn tiles(self) -> Tiles {
        Tiles(())
    }

    pub fn along_rows(self, _: (&[f32], usize), _: Range<usize>, _: Side, _: &mut [f32]) {}

    pub fn across_rows(
        self,
        _: (&[f32], usize),
        _: Range<usize>,
        _: Option<&[f32]>,
        _: Side,
        _: &mut [f32],
    ) {
    }

    pub fn split(self, _: &[[f32; SIDE]; TILE], _: &mut [f32]) {}

    pub fn rows_to_columns(self, _: &[f32], _: &mut [f32]) {}
}

/// The unit's registers.
pub struct Tiles(());

impl Tiles {
    pub fn block(&self, panels: [Panel<'_>; 2], _: usize, _: &mut [f32], _: bool) {
        let _ = panels.map(|panel| (panel.words, panel.pitch));
    }
}
