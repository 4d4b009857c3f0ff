//! Tiles of matrix products, in registers.
//!
//! The right side of a product lies in *panels*: a few columns, step after step, as many as fill the
//! registers. A tile is [`ROWS`] rows of the left side times one panel. Sums, a step of the panel and a
//! value of the left side take 29 of 32 registers (6 × 4) or 15 of 16 (6 × 2); with all 16 (4 × 3) the
//! compiler moves sums to memory and back in every step, which halves the speed.
//!
//! The left side is packed, too: tile after tile, step after step. Rows a power of two apart would share
//! a few places of the caches, and six rows need six registers for their addresses. Products are
//! made some steps at a time, so that values that are read again stay in a near cache.
//!
//! The work between the products (softmax, factors, sums over blocks) is why the tiles are our own: a
//! general product writes the scores out, and packs the entities once for every few queries.
//!
//! On a core with AVX2 (Zen 4, 92 GFLOP/s of FMA) scores reach 95 % of the peak at rank 100 and 83 % at rank
//! 1000, with exponentials 80 and 87 %, and gradients of entities 82 and 86 %.
//!
//! Arrays of registers are filled by plain loops here. `array::from_fn` and `map` are functions that
//! the compiler may or may not take in; where it does not, a tile lies in memory, at a third of the
//! speed.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::kernel::cpu::simd::simd;
use crate::kernel::cpu::table::AlignedVec;

/// Rows of a tile.
pub const ROWS: usize = 6;
/// Columns of a panel, at most.
pub const MOST_COLUMNS: usize = 64;

/// Values of rows that are multiplied before the next ones: this part of a panel stays in the first cache
/// where a panel has 16 columns, in the second where it has 64, and this part of a block's rows in the
/// second.
const DEPTH: usize = 256;

/// Rows that lie one after the other.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    /// Rows × width.
    pub values: &'a [f32],
    /// Values of a row.
    pub width: usize,
}

impl Rows<'_> {
    /// Number of rows.
    pub fn count(&self) -> usize {
        self.values.len() / self.width
    }
}

/// A computation in tiles of `ROWS` × `VECTORS` registers.
pub trait Tiled {
    type Output;
    fn run<S: Simd, const VECTORS: usize>(self, simd: S) -> Self::Output;
}

struct Dispatch<T>(T);

impl<T: Tiled> WithSimd for Dispatch<T> {
    type Output = T::Output;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> T::Output {
        match S::REGISTER_COUNT {
            32.. => self.0.run::<S, 4>(simd),
            _ => self.0.run::<S, 2>(simd),
        }
    }
}

/// Runs a computation with the widest registers and the largest tiles of this processor.
pub fn tiled<T: Tiled>(task: T) -> T::Output {
    pulp::Arch::new().dispatch(Dispatch(task))
}

/// Columns of a panel on this processor.
pub fn panel() -> usize {
    struct Width;

    impl Tiled for Width {
        type Output = usize;

        #[inline(always)]
        fn run<S: Simd, const VECTORS: usize>(self, _: S) -> usize {
            VECTORS * S::F32_LANES
        }
    }
    tiled(Width)
}

/// Ranges of a product's steps, of at most `most` steps each, as even as can be: multiples of `of`.
pub fn depths(steps: usize, most: usize, of: usize) -> impl Iterator<Item = Range<usize>> {
    let times = steps.div_ceil((most / of * of).max(of)).max(1);
    let some = steps.div_ceil(times).next_multiple_of(of).max(of);
    let firsts = (0..steps).step_by(some);
    firsts.map(move |first| first..steps.min(first + some))
}

/// Rows of the tiles that hold `rows` rows.
pub fn whole_tiles(rows: usize) -> usize {
    rows.next_multiple_of(ROWS)
}

/// The sums of a tile.
pub type Tile<S, const VECTORS: usize> = [[<S as Simd>::f32s; VECTORS]; ROWS];

/// A tile of zeros.
#[inline(always)]
pub fn zeros<S: Simd, const VECTORS: usize>(simd: S) -> Tile<S, VECTORS> {
    [[simd.splat_f32s(0.0); VECTORS]; ROWS]
}

/// Adds the product of a packed tile and a panel, as many steps of it as the panel has.
#[inline(always)]
pub fn multiply<S: Simd, const VECTORS: usize>(
    simd: S,
    mut tile: Tile<S, VECTORS>,
    left: &[f32],
    right: &[f32],
) -> Tile<S, VECTORS> {
    let right = S::as_simd_f32s(right).0.as_chunks::<VECTORS>().0;
    let left = left.as_chunks::<ROWS>().0;
    for (left, right) in left.iter().zip(right) {
        for i in 0..ROWS {
            let factor = simd.splat_f32s(left[i]);
            for v in 0..VECTORS {
                tile[i][v] = simd.mul_add_e_f32s(factor, right[v], tile[i][v]);
            }
        }
    }
    tile
}

/// The same where the left side is a tile of results: [`ROWS`] rows of `steps` values, one behind the
/// other. `steps` should be a constant to the compiler.
#[inline(always)]
pub fn multiply_rows<S: Simd, const VECTORS: usize>(
    simd: S,
    mut tile: Tile<S, VECTORS>,
    left: &[f32],
    steps: usize,
    right: &[f32],
) -> Tile<S, VECTORS> {
    let left = &left[..ROWS * steps];
    let right = &S::as_simd_f32s(right).0.as_chunks::<VECTORS>().0[..steps];
    for k in 0..steps {
        for i in 0..ROWS {
            let factor = simd.splat_f32s(left[i * steps + k]);
            for v in 0..VECTORS {
                tile[i][v] = simd.mul_add_e_f32s(factor, right[k][v], tile[i][v]);
            }
        }
    }
    tile
}

/// Packs some values of rows of `width` into tiles, to be multiplied along the rows' values. The last
/// row fills the last tile up.
fn pack_rows(rows: Rows<'_>, values: Range<usize>, packed: &mut [f32]) {
    let (count, width) = (rows.count(), rows.width);
    simd(
        #[inline(always)]
        || {
            let tiles = packed.chunks_exact_mut(ROWS * values.len()).enumerate();
            for (tile, packed) in tiles {
                let mut left: [&[f32]; ROWS] = [&[]; ROWS];
                for (i, left) in left.iter_mut().enumerate() {
                    let row = (tile * ROWS + i).min(count - 1);
                    *left = &rows.values[row * width..][values.clone()];
                }
                for (k, step) in packed.as_chunks_mut::<ROWS>().0.iter_mut().enumerate() {
                    for i in 0..ROWS {
                        step[i] = left[i][k];
                    }
                }
            }
        },
    );
}

/// Packs some values of rows of `width` into tiles of [`ROWS`] values, to be multiplied along the rows.
/// Zeros fill the last tile up.
pub fn pack_columns(rows: Rows<'_>, values: Range<usize>, packed: &mut [f32]) {
    let tile = ROWS * rows.count();
    for (k, row) in rows.values.chunks_exact(rows.width).enumerate() {
        let (parts, rest) = row[values.clone()].as_chunks::<ROWS>();
        // Rows are read once, and a line of each tile stays in the nearest cache.
        for (t, part) in parts.iter().enumerate() {
            packed[t * tile + k * ROWS..][..ROWS].copy_from_slice(part);
        }
        if !rest.is_empty() {
            let step = &mut packed[parts.len() * tile + k * ROWS..][..ROWS];
            step.fill(0.0);
            step[..rest.len()].copy_from_slice(rest);
        }
    }
}

/// Overwrites `scores` (panels × [`whole_tiles`] × columns) with the products of rows and all panels of queries, and shows each panel to `seen` when it is complete. Rows beyond the
/// last are the last again. Each score is a sum over the values in order, whatever its neighbours.
#[inline(always)]
pub fn score_rows<S: Simd, const VECTORS: usize>(
    simd: S,
    rows: Rows<'_>,
    queries: &[f32],
    scores: &mut [f32],
    packed: &mut AlignedVec,
    mut seen: impl FnMut(usize, &mut [f32]),
) {
    let (count, width) = (whole_tiles(rows.count()), rows.width);
    let columns = VECTORS * S::F32_LANES;
    for depth in depths(width, DEPTH, 1) {
        let packed = packed.resize_for_overwrite(count * depth.len());
        pack_rows(rows, depth.clone(), packed);
        let panels = scores.chunks_exact_mut(count * columns);
        let queries = queries.chunks_exact(width * columns);
        for (p, (scores, queries)) in panels.zip(queries).enumerate() {
            let right = &queries[depth.start * columns..depth.end * columns];
            let left = packed.chunks_exact(ROWS * depth.len());
            for (left, scores) in left.zip(scores.chunks_exact_mut(ROWS * columns)) {
                let mut tile = zeros::<S, VECTORS>(simd);
                if depth.start > 0 {
                    for i in 0..ROWS {
                        tile[i] = load::<S, VECTORS>(&scores[i * columns..]);
                    }
                }
                let tile = multiply::<S, VECTORS>(simd, tile, left, right);
                for i in 0..ROWS {
                    store::<S, VECTORS>(tile[i], &mut scores[i * columns..]);
                }
            }
            if depth.end == width {
                seen(p, scores);
            }
        }
    }
}

/// Turns queries of `width` values into panels: panels × width × columns, filled up with zeros.
pub fn pack_panels(queries: &[f32], width: usize, packed: &mut AlignedVec) {
    let columns = panel();
    let panels = (queries.len() / width).div_ceil(columns);
    let packed = packed.resize_for_overwrite(panels * width * columns);
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

/// Writes a row of a tile to a panel's row.
#[inline(always)]
pub fn store<S: Simd, const VECTORS: usize>(sums: [S::f32s; VECTORS], out: &mut [f32]) {
    let out = S::as_mut_simd_f32s(out).0;
    out[..VECTORS].copy_from_slice(&sums);
}

/// Reads a row of a tile from a panel's row.
#[inline(always)]
pub fn load<S: Simd, const VECTORS: usize>(from: &[f32]) -> [S::f32s; VECTORS] {
    let (from, _) = S::as_simd_f32s(from).0.as_chunks::<VECTORS>();
    from[0]
}
