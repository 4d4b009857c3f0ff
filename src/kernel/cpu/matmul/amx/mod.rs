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

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod pack;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod tiles;
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
#[path = "unsupported.rs"]
mod tiles;

pub use tiles::{Tiles, Unit};

/// Rows and columns of a block, and values along the sum in a step of a panel.
pub const SIDE: usize = 32;
/// Rows and columns of a tile, and words in a row of it.
const TILE: usize = 16;
/// Words of a step of a panel: first half of its rows or columns, high and low; second half.
pub const STEP: usize = 4 * TILE * TILE;

/// Which side of a product a panel is.
#[derive(Clone, Copy, PartialEq)]
pub enum Side {
    Left,
    Right,
}

/// Steps of a panel, `pitch` words from one to the next.
#[derive(Clone, Copy)]
pub struct Panel<'a> {
    pub words: &'a [f32],
    pub pitch: usize,
}

impl<'a> Panel<'a> {
    /// Steps that follow one another.
    pub fn new(words: &'a [f32]) -> Panel<'a> {
        Panel { words, pitch: STEP }
    }
}

#[cfg(all(test, target_arch = "x86_64", target_os = "linux"))]
mod tests;
