//! The unit in plain Rust: the same panels and, but for the order of sums, the same products. Tests of
//! what surrounds the unit run on it where the processor has none.

use std::ops::Range;

use half::bf16;

use super::{Panel, SIDE, STEP, Side, TILE};
use crate::kernel::cpu::matmul::microkernel::Rows;

/// Words of the high, and of the low, halves of a tile.
const HALF: usize = TILE * TILE;

/// Place of a word in a step: of the first or second sixteen rows (or columns), of the high (0) or low
/// (1) halves.
fn place(sixteen: usize, half: usize, row: usize, word: usize) -> usize {
    (2 * sixteen + half) * HALF + row * TILE + word
}

/// A value in two halves of bf16, high and low.
fn halves(x: f32) -> [bf16; 2] {
    let high = bf16::from_f32(x);
    [high, bf16::from_f32(x - high.to_f32())]
}

/// Two values along the sum as words of high and of low halves.
fn words(first: f32, second: f32) -> [f32; 2] {
    let (first, second) = (halves(first), halves(second));
    [0, 1].map(|half| {
        let (low, high) = (first[half].to_bits(), second[half].to_bits());
        f32::from_bits(u32::from(high) << 16 | u32::from(low))
    })
}

/// The two values of a word.
fn pair(word: f32) -> [f32; 2] {
    let bits = word.to_bits();
    [bits as u16, (bits >> 16) as u16].map(|bits| bf16::from_bits(bits).to_f32())
}

/// Fills a step from the values at (row or column, place along the sum).
fn fill(step: &mut [f32], side: Side, value: impl Fn(usize, usize) -> f32) {
    for i in 0..SIDE {
        for word in 0..TILE {
            let found = words(value(i, 2 * word), value(i, 2 * word + 1));
            for (half, found) in found.into_iter().enumerate() {
                let (row, column) = match side {
                    Side::Left => (i % TILE, word),
                    Side::Right => (word, i % TILE),
                };
                step[place(i / TILE, half, row, column)] = found;
            }
        }
    }
}

pub fn along_rows(rows: Rows<'_>, steps: Range<usize>, side: Side, panels: &mut [f32]) {
    let panel = steps.len() * STEP;
    assert_eq!(panels.len(), rows.count().div_ceil(SIDE) * panel);
    for (p, panel) in panels.chunks_exact_mut(panel).enumerate() {
        for (k, step) in steps.clone().zip(panel.chunks_exact_mut(STEP)) {
            fill(step, side, |i, s| {
                let (row, column) = (p * SIDE + i, k * SIDE + s);
                match row < rows.count() && column < rows.width {
                    true => rows.values[row * rows.width + column],
                    false => 0.0,
                }
            });
        }
    }
}

pub fn across_rows(
    rows: Rows<'_>,
    columns: Range<usize>,
    factors: Option<&[f32]>,
    side: Side,
    panel: &mut [f32],
) {
    assert_eq!(panel.len(), rows.count().div_ceil(SIDE) * STEP);
    for (k, step) in panel.chunks_exact_mut(STEP).enumerate() {
        fill(step, side, |i, s| {
            let row = k * SIDE + s;
            if row >= rows.count() || i >= columns.len() {
                return 0.0;
            }
            let value = rows.values[row * rows.width + columns.start + i];
            factors.map_or(value, |factors| value * factors[row])
        });
    }
}

pub fn split(values: &[[f32; SIDE]; TILE], out: &mut [f32]) {
    for (i, values) in values.iter().enumerate() {
        for word in 0..TILE {
            let found = words(values[2 * word], values[2 * word + 1]);
            for (half, found) in found.into_iter().enumerate() {
                out[place(0, half, i, word)] = found;
            }
        }
    }
}

pub fn rows_to_columns(left: &[f32], right: &mut [f32]) {
    assert_eq!(left.len(), right.len());
    for (left, right) in left.chunks_exact(STEP).zip(right.chunks_exact_mut(STEP)) {
        for half in 0..2 {
            let value = |row: usize, column: usize| {
                let word = left[place(row / TILE, half, row % TILE, column / 2)];
                word.to_bits() >> (16 * (column % 2)) & 0xffff
            };
            for column in 0..SIDE {
                for word in 0..TILE {
                    let [first, second] = [2 * word, 2 * word + 1].map(|row| value(row, column));
                    right[place(column / TILE, half, word, column % TILE)] =
                        f32::from_bits(second << 16 | first);
                }
            }
        }
    }
}

pub fn block(left: Panel<'_>, right: Panel<'_>, steps: usize, sums: &mut [f32], add: bool) {
    if !add {
        sums[..SIDE * SIDE].fill(0.0);
    }
    for k in 0..steps {
        let (left, right) = (
            &left.words[k * left.pitch..][..STEP],
            &right.words[k * right.pitch..][..STEP],
        );
        for (i, sums) in sums
            .as_chunks_mut::<SIDE>()
            .0
            .iter_mut()
            .take(SIDE)
            .enumerate()
        {
            for (j, sum) in sums.iter_mut().enumerate() {
                // High · low, high · high, low · high.
                for [own, other] in [[0, 1], [0, 0], [1, 0]] {
                    for word in 0..TILE {
                        let a = pair(left[place(i / TILE, own, i % TILE, word)]);
                        let b = pair(right[place(j / TILE, other, word, j % TILE)]);
                        *sum += a[0] * b[0] + a[1] * b[1];
                    }
                }
            }
        }
    }
}
