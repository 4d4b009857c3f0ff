//! Tiles of matrix products, in registers.
//!
//! A product's right side lies in *panels*: a few columns, row after row, as many as fill the
//! registers. A tile is a few rows of the left side times one panel. With 24 sums of 16 values each
//! and 10 loads for 24 fused multiply-adds, the arithmetic units are what limits it. What surrounds
//! the tiles (the softmax between them, factors, sums over strips) is why they are our own: a general
//! product writes the scores out, and packs the entities once for every few queries.
//!
//! Arrays of registers are filled by plain loops here. `array::from_fn` and `map` are functions that
//! the compiler may or may not take in; where it does not, a tile lies in memory, at a third of the
//! speed.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::memory::{Values, prefetch_line};

/// Rows of a tile, at most.
pub(super) const MOST_ROWS: usize = 6;
/// Columns of a panel, at most.
pub(super) const MOST_COLUMNS: usize = 64;

/// Values of rows that are multiplied before the next ones: so much of a panel stays in the
/// second-level cache.
const DEPTH: usize = 512;

/// Rows that are asked for ahead of their use.
const AHEAD: usize = 8;

/// A computation in tiles of `ROWS` × `VECTORS` registers.
pub(super) trait Tiled {
    type Output;
    fn run<S: Simd, const ROWS: usize, const VECTORS: usize>(self, simd: S) -> Self::Output;
}

struct Dispatch<T>(T);

impl<T: Tiled> WithSimd for Dispatch<T> {
    type Output = T::Output;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> T::Output {
        // Sums, a row of the panel and a value of the left side: 29 registers, or 16.
        match S::REGISTER_COUNT {
            32.. => self.0.run::<S, 6, 4>(simd),
            _ => self.0.run::<S, 4, 3>(simd),
        }
    }
}

/// Runs a computation with the widest registers and the largest tiles of this processor.
pub(super) fn tiled<T: Tiled>(task: T) -> T::Output {
    pulp::Arch::new().dispatch(Dispatch(task))
}

/// Columns of a panel on this processor.
pub(super) fn panel() -> usize {
    struct Width;

    impl Tiled for Width {
        type Output = usize;

        #[inline(always)]
        fn run<S: Simd, const ROWS: usize, const VECTORS: usize>(self, _: S) -> usize {
            VECTORS * S::F32_LANES
        }
    }
    tiled(Width)
}

/// The sums of a tile.
pub(super) type Tile<S, const ROWS: usize, const VECTORS: usize> =
    [[<S as Simd>::f32s; VECTORS]; ROWS];

/// A tile of zeros.
#[inline(always)]
pub(super) fn zeros<S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
) -> Tile<S, ROWS, VECTORS> {
    [[simd.splat_f32s(0.0); VECTORS]; ROWS]
}

/// Adds the product of rows, whose values follow one another, and rows of a panel.
#[inline(always)]
pub(super) fn add_rows<S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    mut tile: Tile<S, ROWS, VECTORS>,
    left: [&[f32]; ROWS],
    right: &[f32],
) -> Tile<S, ROWS, VECTORS> {
    let right = S::as_simd_f32s(right).0.as_chunks::<VECTORS>().0;
    let mut left = left;
    for row in &mut left {
        *row = &row[..right.len()];
    }
    for (k, right) in right.iter().enumerate() {
        for i in 0..ROWS {
            let factor = simd.splat_f32s(left[i][k]);
            for v in 0..VECTORS {
                tile[i][v] = simd.mul_add_e_f32s(factor, right[v], tile[i][v]);
            }
        }
    }
    tile
}

/// Overwrites `scores` (rows × the panel's columns) with the products of rows, of `width` values, and
/// a panel of queries, and shows every tile of them to `seen`, rows beyond the last being the last
/// again. Each score is a sum over the values in order, whatever its neighbours.
#[inline(always)]
pub(super) fn score_rows<S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    (rows, width): (&[f32], usize),
    queries: &[f32],
    scores: &mut [f32],
    mut seen: impl FnMut(&Tile<S, ROWS, VECTORS>),
) {
    let (count, columns) = (rows.len() / width, VECTORS * S::F32_LANES);
    for depth in (0..width).step_by(DEPTH) {
        let end = width.min(depth + DEPTH);
        let right = &queries[depth * columns..end * columns];
        for i in (0..count).step_by(ROWS) {
            let row = |k: usize| (i + k).min(count - 1);
            let mut left: [&[f32]; ROWS] = [&[]; ROWS];
            for k in 0..ROWS {
                left[k] = &rows[row(k) * width..][depth..end];
            }
            let mut tile = zeros::<S, ROWS, VECTORS>(simd);
            if depth > 0 {
                for k in 0..ROWS {
                    tile[k] = load::<S, VECTORS>(&scores[row(k) * columns..]);
                }
            }
            let tile = add_rows::<S, ROWS, VECTORS>(simd, tile, left, right);
            if end == width {
                seen(&tile);
            }
            for k in 0..ROWS {
                if i + k < count {
                    store::<S, VECTORS>(tile[k], &mut scores[(i + k) * columns..]);
                }
            }
        }
    }
}

/// Turns queries of `width` values into panels: panels × width × columns, filled up with zeros.
pub(super) fn pack_panels(queries: &[f32], width: usize, packed: &mut Values) {
    let columns = panel();
    let panels = (queries.len() / width).div_ceil(columns);
    let packed = packed.room(panels * width * columns);
    let panels = packed.par_chunks_mut(width * columns);
    let queries = queries.par_chunks(columns * width);
    panels.zip(queries).for_each(|(panel, queries)| {
        for (k, out) in panel.chunks_exact_mut(columns).enumerate() {
            out.fill(0.0);
            for (out, query) in out.iter_mut().zip(queries.chunks_exact(width)) {
                *out = query[k];
            }
        }
    });
}

/// Adds the product of columns and rows of a panel: of every row of `left`, of so many `width`
/// values, those from `column` on.
#[inline(always)]
pub(super) fn add_columns<S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    mut tile: Tile<S, ROWS, VECTORS>,
    (left, width, column): (&[f32], usize, usize),
    right: &[f32],
) -> Tile<S, ROWS, VECTORS> {
    let right = S::as_simd_f32s(right).0.as_chunks::<VECTORS>().0;
    for (row, right) in left.chunks_exact(width).zip(right) {
        let left = &row[column..column + ROWS];
        // Rows lie too far apart for the processor to see them coming.
        prefetch_line(left.as_ptr().wrapping_add(AHEAD * width));
        for v in 0..VECTORS {
            prefetch_line(right.as_ptr().wrapping_add(AHEAD * VECTORS + v));
        }
        for i in 0..ROWS {
            let factor = simd.splat_f32s(left[i]);
            for v in 0..VECTORS {
                tile[i][v] = simd.mul_add_e_f32s(factor, right[v], tile[i][v]);
            }
        }
    }
    tile
}

/// Writes a row of a tile to a panel's row.
#[inline(always)]
pub(super) fn store<S: Simd, const VECTORS: usize>(sums: [S::f32s; VECTORS], out: &mut [f32]) {
    let out = S::as_mut_simd_f32s(out).0;
    out[..VECTORS].copy_from_slice(&sums);
}

/// Reads a row of a tile from a panel's row.
#[inline(always)]
pub(super) fn load<S: Simd, const VECTORS: usize>(from: &[f32]) -> [S::f32s; VECTORS] {
    let (from, _) = S::as_simd_f32s(from).0.as_chunks::<VECTORS>();
    from[0]
}
