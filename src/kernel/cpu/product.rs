//! Tiles of matrix products, in registers.
//!
//! A product's right side lies in *panels*: a few columns, row after row, as many as fill the
//! registers. A tile is a few rows of the left side times one panel. With 24 sums of 16 values each
//! and 10 loads for 24 fused multiply-adds, the arithmetic units are what limits it. What surrounds
//! the tiles (the softmax between them, factors, sums over strips) is why they are our own: a general
//! product writes the scores out, and packs the entities once for every few queries.

use pulp::{Simd, WithSimd};

/// Rows of a tile, at most.
pub(super) const MOST_ROWS: usize = 6;
/// Columns of a panel, at most.
pub(super) const MOST_COLUMNS: usize = 64;

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
    let left = left.map(|row| &row[..right.len()]);
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
    let from = &S::as_simd_f32s(from).0[..VECTORS];
    std::array::from_fn(|v| from[v])
}
