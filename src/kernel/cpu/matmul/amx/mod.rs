//! Products by a processor's matrix unit (AMX), which multiplies bf16 and adds up in `f32`.
//!
//! Each `f32` is split into two halves of bf16, high and low, of 8 bits each. Three of the four
//! products of halves are added up: high · high, high · low and low · high. Halves are rounded to the
//! nearest, so that a term is off by at most 3 · 2⁻¹⁶ of itself, and by a tenth of that as a rule; sums
//! are those of `f32`. (Henry, Tang, Heinecke: Leveraging the bfloat16 Artificial Intelligence Datatype for Higher-Precision
//! Computations, 2019.) A unit that makes 16 times what the vector registers do of bf16 is still 5
//! times as fast.
//!
//! Factors lie in *panels*: of the left side [`SIDE`] rows, of the right side [`SIDE`] columns; a panel
//! is cut into *steps* of [`SIDE`] values along the sum, of [`STEP`] words. A word is two values of
//! bf16 that are multiplied and added at once, the first in its lower half.

#![cfg_attr(
    not(any(test, all(target_arch = "x86_64", target_os = "linux"))),
    allow(unused, reason = "no other system has a unit")
)]

#[cfg(test)]
mod emulated;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod hardware;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod pack;
#[cfg(test)]
mod tests;

use std::ops::Range;

use super::microkernel::Rows;

/// Rows and columns of a block, and values along the sum in a step of a panel.
pub const SIDE: usize = 32;
/// Rows and columns of a tile, and words in a row of it.
const TILE: usize = 16;
/// Words of a step of a panel: first half of its rows or columns, high and low; second half.
pub const STEP: usize = 4 * TILE * TILE;

/// The side of a product that a panel is on.
#[derive(Clone, Copy, PartialEq)]
pub enum Side {
    /// Rows of the product.
    Left,
    /// Columns of the product.
    Right,
}

/// Steps of a panel, `pitch` words from one to the next.
#[derive(Clone, Copy)]
pub struct Panel<'a> {
    /// The panel, from its first step on.
    pub words: &'a [f32],
    /// Words from one step to the next.
    pub pitch: usize,
}

impl<'a> Panel<'a> {
    /// Steps that follow one another.
    pub fn new(words: &'a [f32]) -> Panel<'a> {
        Panel { words, pitch: STEP }
    }
}

/// Leave to use the matrix unit of this processor; in tests, or an emulation of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatrixUnit(Kind);

/// Kinds of units. Without one of them, no [`MatrixUnit`] is ever made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Hardware(hardware::Leave),
    #[cfg(test)]
    Emulated,
}

/// The unit's registers, shaped for blocks, for this thread until they are dropped.
pub struct Tiles(#[allow(dead_code, reason = "some systems have no unit")] TilesKind);

enum TilesKind {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Hardware(hardware::Tiles),
    #[cfg(test)]
    Emulated,
}

/// Calls the function of a unit's kind.
macro_rules! on_unit {
    ($kind:expr, $enum:ident, $leave:ident => $hardware:expr, $emulated:expr) => {
        match $kind {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            $enum::Hardware(ref $leave) => $hardware,
            #[cfg(test)]
            $enum::Emulated => $emulated,
        }
    };
}

impl MatrixUnit {
    /// The processor's unit. The processor and the system are asked once.
    pub fn get() -> Option<MatrixUnit> {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        {
            hardware::Leave::get().map(|leave| MatrixUnit(Kind::Hardware(leave)))
        }
        #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
        {
            None
        }
    }

    /// The unit in plain Rust, for processors without one.
    #[cfg(test)]
    pub fn emulated() -> MatrixUnit {
        MatrixUnit(Kind::Emulated)
    }

    /// Takes the registers of this thread.
    pub fn tiles(self) -> Tiles {
        Tiles(on_unit!(self.0, Kind, leave =>
            TilesKind::Hardware(leave.tiles()),
            TilesKind::Emulated
        ))
    }

    /// Overwrites `panels` with panels of rows that are multiplied along their values: of each row the
    /// values of `steps`. Rows and values beyond the last are zero.
    ///
    /// # Panics
    /// If `panels` does not have ⌈rows / `SIDE`⌉ × steps × `STEP` words.
    pub fn along_rows(self, rows: Rows<'_>, steps: Range<usize>, side: Side, panels: &mut [f32]) {
        on_unit!(self.0, Kind, leave =>
            leave.along_rows(rows, steps, side, panels),
            emulated::along_rows(rows, steps, side, panels)
        );
    }

    /// Overwrites `panel` with a panel of some columns of rows, `SIDE` at most, that are multiplied along
    /// the rows: each row times its factor, or 1. Rows and columns beyond the last are zero.
    ///
    /// # Panics
    /// If `panel` does not have ⌈rows / `SIDE`⌉ × `STEP` words, or factors are fewer than rows.
    pub fn across_rows(
        self,
        rows: Rows<'_>,
        columns: Range<usize>,
        factors: Option<&[f32]>,
        side: Side,
        panel: &mut [f32],
    ) {
        on_unit!(self.0, Kind, leave =>
            leave.across_rows(rows, columns, factors, side, panel),
            emulated::across_rows(rows, columns, factors, side, panel)
        );
    }

    /// Sixteen rows of `SIDE` values as the words of a left panel, in as much memory.
    pub fn split(self, values: &[[f32; SIDE]; TILE], out: &mut [f32]) {
        on_unit!(self.0, Kind, leave => leave.split(values, out), emulated::split(values, out));
    }

    /// Steps of a left panel, `SIDE` rows by `SIDE` values each, as steps of a right panel whose columns
    /// are those values and that is multiplied along those rows.
    pub fn rows_to_columns(self, left: &[f32], right: &mut [f32]) {
        on_unit!(self.0, Kind, leave =>
            leave.rows_to_columns(left, right),
            emulated::rows_to_columns(left, right)
        );
    }
}

impl Tiles {
    /// The product of `steps` steps of two panels: overwrites `sums`, `SIDE` × `SIDE` values, or adds to
    /// them. Every sum has the same order, wherever in the block it is.
    ///
    /// # Panics
    /// If a panel has fewer steps, or `sums` fewer values.
    #[inline]
    pub fn block(
        &self,
        left: Panel<'_>,
        right: Panel<'_>,
        steps: usize,
        sums: &mut [f32],
        add: bool,
    ) {
        for panel in [left, right] {
            let words = steps.saturating_sub(1) * panel.pitch + STEP;
            assert!(panel.words.len() >= words, "a panel is too short");
        }
        assert!(sums.len() >= SIDE * SIDE, "a block is too small");
        on_unit!(self.0, TilesKind, tiles =>
            // SAFETY: panels and sums are long enough, as was just checked.
            unsafe { tiles.block(left, right, steps, sums, add) },
            emulated::block(left, right, steps, sums, add)
        );
    }
}
