//! Panels: halves of values, in the order in which the unit takes them.

use std::arch::x86_64::*;
use std::ops::Range;

use super::hardware::Leave;
use super::{SIDE, STEP, Side, TILE};
use crate::kernel::cpu::matmul::microkernel::Rows;

/// Words of the high, and of the low, halves of a tile.
const HALF: usize = TILE * TILE;

impl Leave {
    /// Does the work of [`MatrixUnit::along_rows`](super::MatrixUnit::along_rows).
    pub fn along_rows(self, rows: Rows<'_>, steps: Range<usize>, side: Side, panels: &mut [f32]) {
        // SAFETY: processors that have a unit have these vectors.
        unsafe { along_rows(rows, steps, side, panels) }
    }

    /// Does the work of [`MatrixUnit::across_rows`](super::MatrixUnit::across_rows).
    pub fn across_rows(
        self,
        rows: Rows<'_>,
        columns: Range<usize>,
        factors: Option<&[f32]>,
        side: Side,
        panel: &mut [f32],
    ) {
        // SAFETY: processors that have a unit have these vectors.
        unsafe { across_rows(rows, columns, factors, side, panel) }
    }

    /// Does the work of [`MatrixUnit::split`](super::MatrixUnit::split).
    pub fn split(self, values: &[[f32; SIDE]; TILE], out: &mut [f32]) {
        // SAFETY: processors that have a unit have these vectors.
        unsafe { split(values, out) }
    }

    /// Does the work of [`MatrixUnit::rows_to_columns`](super::MatrixUnit::rows_to_columns).
    pub fn rows_to_columns(self, left: &[f32], right: &mut [f32]) {
        // SAFETY: processors that have a unit have these vectors.
        unsafe { rows_to_columns(left, right) }
    }
}

/// Sixteen values of a slice, from `from` on; zero beyond its end.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn load(values: &[f32], from: usize) -> __m512 {
    let left = values.len().saturating_sub(from).min(TILE);
    let mask = ((1u32 << left) - 1) as __mmask16;
    // SAFETY: only values that the slice has are read.
    unsafe { _mm512_maskz_loadu_ps(mask, values.as_ptr().wrapping_add(from)) }
}

/// 32 values as bf16, and what they lack to themselves as bf16.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn halves(first: __m512, second: __m512) -> [__m512i; 2] {
    let bits = |x: __m512bh| -> __m512i {
        // SAFETY: both are 64 bytes.
        unsafe { std::mem::transmute(x) }
    };
    let high = bits(_mm512_cvtne2ps_pbh(second, first));
    let widened =
        |half: __m256i| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(half)));
    let first = _mm512_sub_ps(first, widened(_mm512_castsi512_si256(high)));
    let second = _mm512_sub_ps(second, widened(_mm512_extracti64x4_epi64::<1>(high)));
    [high, bits(_mm512_cvtne2ps_pbh(second, first))]
}

/// The first 16 and the second 16 values of 32 in turn.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn in_turn(values: __m512i) -> __m512i {
    _mm512_permutexvar_epi16(turns(0, 16), values)
}

/// Indices `first`, `second`, `first` + 1, `second` + 1 …
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn turns(first: i16, second: i16) -> __m512i {
    let mut indices = [0i16; SIDE];
    for i in 0..TILE {
        indices[2 * i] = first + i as i16;
        indices[2 * i + 1] = second + i as i16;
    }
    // SAFETY: both are 64 bytes.
    unsafe { std::mem::transmute(indices) }
}

/// Writes a row of half a tile.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn put(row: __m512i, out: &mut [f32]) {
    let out: &mut [f32; TILE] = (&mut out[..TILE]).try_into().expect("a row of words");
    // SAFETY: a row is 16 words.
    unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), row) };
}

/// Writes a tile, high and low words of each of its rows in turn: row by row, or by column.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn put_tile(rows: &[[__m512i; 2]; TILE], turned: bool, out: &mut [f32]) {
    for (half, out) in out.chunks_exact_mut(HALF).take(2).enumerate() {
        let mut words = [_mm512_setzero_si512(); TILE];
        for i in 0..TILE {
            words[i] = rows[i][half];
        }
        if turned {
            words = transposed(words);
        }
        for i in 0..TILE {
            put(words[i], &mut out[i * TILE..]);
        }
    }
}

/// Columns of 16 rows of 16 words.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn transposed(rows: [__m512i; TILE]) -> [__m512i; TILE] {
    let (mut a, mut b) = (rows, rows);
    for i in 0..8 {
        b[2 * i] = _mm512_unpacklo_epi32(a[2 * i], a[2 * i + 1]);
        b[2 * i + 1] = _mm512_unpackhi_epi32(a[2 * i], a[2 * i + 1]);
    }
    for i in 0..4 {
        for j in 0..2 {
            let (x, y) = (b[4 * i + j], b[4 * i + 2 + j]);
            a[4 * i + 2 * j] = _mm512_unpacklo_epi64(x, y);
            a[4 * i + 2 * j + 1] = _mm512_unpackhi_epi64(x, y);
        }
    }
    // Lane l of register 4·i + c holds column 4·l + c of rows 4·i to 4·i + 3.
    for c in 0..4 {
        let [x, y, z, w] = [a[c], a[4 + c], a[8 + c], a[12 + c]];
        let (even, odd) = (
            _mm512_shuffle_i32x4::<0x88>(x, y),
            _mm512_shuffle_i32x4::<0xdd>(x, y),
        );
        let (even_too, odd_too) = (
            _mm512_shuffle_i32x4::<0x88>(z, w),
            _mm512_shuffle_i32x4::<0xdd>(z, w),
        );
        b[c] = _mm512_shuffle_i32x4::<0x88>(even, even_too);
        b[8 + c] = _mm512_shuffle_i32x4::<0xdd>(even, even_too);
        b[4 + c] = _mm512_shuffle_i32x4::<0x88>(odd, odd_too);
        b[12 + c] = _mm512_shuffle_i32x4::<0xdd>(odd, odd_too);
    }
    b
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn along_rows(rows: Rows<'_>, steps: Range<usize>, side: Side, panels: &mut [f32]) {
    let (count, turned) = (rows.count(), side == Side::Right);
    let (rows, width) = (rows.values, rows.width);
    let panel = steps.len() * STEP;
    assert_eq!(
        panels.len(),
        count.div_ceil(SIDE) * panel,
        "panels of other rows"
    );
    for (p, panel) in panels.chunks_exact_mut(panel).enumerate() {
        for (k, out) in steps.clone().zip(panel.chunks_exact_mut(STEP)) {
            for t in 0..2 {
                let mut tile = [[_mm512_setzero_si512(); 2]; TILE];
                for (i, tile) in tile.iter_mut().enumerate() {
                    let row = p * SIDE + t * TILE + i;
                    if row < count {
                        let values = &rows[row * width..(row + 1) * width];
                        let first = load(values, k * SIDE);
                        *tile = halves(first, load(values, k * SIDE + TILE));
                    }
                }
                put_tile(&tile, turned, &mut out[t * 2 * HALF..]);
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn across_rows(
    rows: Rows<'_>,
    columns: Range<usize>,
    factors: Option<&[f32]>,
    side: Side,
    panel: &mut [f32],
) {
    let (count, turned) = (rows.count(), side == Side::Left);
    let (rows, width) = (rows.values, rows.width);
    assert_eq!(
        panel.len(),
        count.div_ceil(SIDE) * STEP,
        "a panel of other rows"
    );
    assert!(
        factors.is_none_or(|factors| factors.len() >= count),
        "factors of other rows"
    );
    for (k, out) in panel.chunks_exact_mut(STEP).enumerate() {
        for t in 0..2 {
            let mut tile = [[_mm512_setzero_si512(); 2]; TILE];
            for (i, tile) in tile.iter_mut().enumerate() {
                let row = k * SIDE + 2 * i;
                let mut values = [_mm512_setzero_ps(); 2];
                for (row, values) in (row..count).zip(&mut values) {
                    *values = load(&rows[row * width..][columns.clone()], t * TILE);
                    if let Some(factors) = factors {
                        *values = _mm512_mul_ps(*values, _mm512_set1_ps(factors[row]));
                    }
                }
                let [high, low] = halves(values[0], values[1]);
                *tile = [in_turn(high), in_turn(low)];
            }
            put_tile(&tile, turned, &mut out[t * 2 * HALF..]);
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn split(values: &[[f32; SIDE]; TILE], out: &mut [f32]) {
    let (high, low) = out[..2 * HALF].split_at_mut(HALF);
    for (i, values) in values.iter().enumerate() {
        let words = halves(load(values, 0), load(values, TILE));
        put(words[0], &mut high[i * TILE..]);
        put(words[1], &mut low[i * TILE..]);
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn rows_to_columns(left: &[f32], right: &mut [f32]) {
    assert_eq!(left.len(), right.len());
    let [first, second] = [turns(0, 32), turns(16, 48)];
    for (left, right) in left.chunks_exact(STEP).zip(right.chunks_exact_mut(STEP)) {
        for half in 0..2 {
            for pair in 0..TILE {
                // Rows 2·pair and 2·pair + 1, each 16 words of two values.
                let at = (2 * pair / TILE) * 2 * HALF + half * HALF + (2 * pair % TILE) * TILE;
                let rows = &left[at..at + 2 * TILE];
                // SAFETY: both rows are there.
                unsafe {
                    let even = _mm512_loadu_si512(rows.as_ptr().cast());
                    let odd = _mm512_loadu_si512(rows.as_ptr().wrapping_add(TILE).cast());
                    for (t, indices) in [first, second].into_iter().enumerate() {
                        let columns = _mm512_permutex2var_epi16(even, indices, odd);
                        put(
                            columns,
                            &mut right[t * 2 * HALF + half * HALF + pair * TILE..],
                        );
                    }
                }
            }
        }
    }
}
