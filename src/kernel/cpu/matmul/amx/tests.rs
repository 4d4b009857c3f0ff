//! Products of the unit, and of its emulation, compared with those in f64.

use rand::RngExt;

use super::*;
use crate::device::testing::skip;
use crate::kernel::cpu::table::AlignedVec;
use crate::rng::{Purpose, stream};

/// Relative error of a term: two second halves rounded to 2⁻⁸ of themselves, and the product left out.
const TERM: f64 = 3.0 / (1 << 16) as f64;

/// Random values of many sizes.
fn values(seed: u64, count: usize) -> Vec<f32> {
    let mut rng = stream(seed, Purpose::Init, [0, 0]);
    (0..count)
        .map(|_| rng.random_range(-1.0f32..1.0) * 2f32.powi(rng.random_range(-12..12)))
        .collect()
}

/// The emulated unit, and the processor's. SHARDLOOM_REQUIRE_AMX=1 demands that there is one.
fn units() -> Vec<MatrixUnit> {
    let mut units = vec![MatrixUnit::emulated()];
    match MatrixUnit::get() {
        Some(unit) => units.push(unit),
        None => skip("on the processor: no matrix unit", "SHARDLOOM_REQUIRE_AMX"),
    }
    units
}

fn rows(values: &[f32], width: usize) -> Rows<'_> {
    Rows { values, width }
}

/// Compares Σ left(i, k) · right(k, j) with what lies in a block.
fn check(
    found: &[f32],
    (rows, columns, depth): (usize, usize, usize),
    left: impl Fn(usize, usize) -> f32,
    right: impl Fn(usize, usize) -> f32,
) {
    for i in 0..SIDE {
        for j in 0..SIDE {
            let inside = i < rows && j < columns;
            let terms = (0..depth * usize::from(inside))
                .map(|k| f64::from(left(i, k)) * f64::from(right(k, j)));
            let (sum, size) = terms.fold((0.0, 0.0), |(s, a), t| (s + t, a + t.abs()));
            // Sums in f32 round as well, once a pair of terms of each of the three products.
            let sums = depth as f64 * 1.5 * f64::from(f32::EPSILON);
            let off = (f64::from(found[i * SIDE + j]) - sum).abs();
            assert!(
                off <= size * (TERM + sums),
                "{i} {j}: off by {off} of {size}"
            );
        }
    }
}

#[test]
fn products_along_rows_are_those_of_f64() {
    for unit in units() {
        check_along_rows(unit);
    }
}

fn check_along_rows(unit: MatrixUnit) {
    for (seed, (count, columns, depth)) in [(32, 32, 64), (1, 31, 7), (17, 16, 33), (32, 1, 200)]
        .into_iter()
        .enumerate()
    {
        let (a, b) = (
            values(seed as u64, count * depth),
            values(100 + seed as u64, columns * depth),
        );
        let steps = depth.div_ceil(SIDE);
        let mut panels = [
            AlignedVec::zeros(steps * STEP),
            AlignedVec::zeros(steps * STEP),
        ];
        panels.iter_mut().for_each(|panel| panel.fill(f32::NAN));
        let mut sums = vec![f32::NAN; SIDE * SIDE];
        let [left, right] = &mut panels;
        unit.along_rows(rows(&a, depth), 0..steps, Side::Left, left);
        unit.along_rows(rows(&b, depth), 0..steps, Side::Right, right);
        let panels = (Panel::new(left), Panel::new(right));
        let tiles = unit.tiles();
        tiles.block(panels.0, panels.1, steps, &mut sums, false);
        let (left, right) = (
            |i: usize, k: usize| a[i * depth + k],
            |k: usize, j: usize| b[j * depth + k],
        );
        check(&sums, (count, columns, depth), left, right);
        // What was there is added to, and the same again gives the same.
        let once = sums.clone();
        tiles.block(panels.0, panels.1, steps, &mut sums, true);
        check(
            &sums,
            (count, columns, 2 * depth),
            |i, k| left(i, k % depth),
            |k, j| right(k % depth, j),
        );
        tiles.block(panels.0, panels.1, steps, &mut sums, false);
        assert_eq!(sums, once);
    }
}

#[test]
fn products_across_rows_are_those_of_f64() {
    for unit in units() {
        check_across_rows(unit);
    }
}

fn check_across_rows(unit: MatrixUnit) {
    for (seed, (width, columns, depth)) in [(32, 0..32, 64), (50, 32..50, 33), (9, 3..9, 5)]
        .into_iter()
        .enumerate()
    {
        let (a, b) = (
            values(seed as u64, width * depth),
            values(100 + seed as u64, width * depth),
        );
        let factors = values(200 + seed as u64, depth);
        let steps = depth.div_ceil(SIDE);
        let mut panels = [
            AlignedVec::zeros(steps * STEP),
            AlignedVec::zeros(steps * STEP),
        ];
        panels.iter_mut().for_each(|panel| panel.fill(f32::NAN));
        let mut sums = vec![f32::NAN; SIDE * SIDE];
        let [left, right] = &mut panels;
        unit.across_rows(rows(&a, width), columns.clone(), None, Side::Left, left);
        let factors_of_rows = Some(&factors[..]);
        unit.across_rows(
            rows(&b, width),
            columns.clone(),
            factors_of_rows,
            Side::Right,
            right,
        );
        let panels = (Panel::new(left), Panel::new(right));
        unit.tiles()
            .block(panels.0, panels.1, steps, &mut sums, false);
        let own = |i: usize, k: usize| a[k * width + columns.start + i];
        let other = |k: usize, j: usize| factors[k] * b[k * width + columns.start + j];
        check(&sums, (columns.len(), columns.len(), depth), own, other);
    }
}

#[test]
fn split_rows_turn_into_columns() {
    for unit in units() {
        check_split_rows(unit);
    }
}

fn check_split_rows(unit: MatrixUnit) {
    let (a, b) = (values(0, SIDE * SIDE), values(1, SIDE * SIDE));
    // Rows of `a`, split, as a left panel are the same as packed ones.
    let mut packed = AlignedVec::zeros(STEP);
    unit.along_rows(rows(&a, SIDE), 0..1, Side::Left, &mut packed);
    let mut split_rows = AlignedVec::zeros(STEP);
    for (half, out) in a
        .as_chunks::<SIDE>()
        .0
        .as_chunks::<TILE>()
        .0
        .iter()
        .zip(split_rows.chunks_exact_mut(STEP / 2))
    {
        unit.split(half, out);
    }
    let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&packed), bits(&split_rows));
    let (mut left, mut right) = (AlignedVec::zeros(STEP), AlignedVec::zeros(STEP));
    unit.across_rows(rows(&b, SIDE), 0..SIDE, None, Side::Left, &mut left);
    unit.rows_to_columns(&packed, &mut right);
    let mut sums = vec![f32::NAN; SIDE * SIDE];
    unit.tiles()
        .block(Panel::new(&left), Panel::new(&right), 1, &mut sums, false);
    check(
        &sums,
        (SIDE, SIDE, SIDE),
        |i, k| b[k * SIDE + i],
        |k, j| a[k * SIDE + j],
    );
}

#[test]
fn what_is_not_a_number_stays_so() {
    for unit in units() {
        check_what_is_not_a_number(unit);
    }
}

fn check_what_is_not_a_number(unit: MatrixUnit) {
    let mut a = vec![1.0; SIDE * SIDE];
    (a[5], a[SIDE + 3]) = (f32::from_bits(0x7fff_ffff), f32::INFINITY);
    let mut panels = [AlignedVec::zeros(STEP), AlignedVec::zeros(STEP)];
    let [left, right] = &mut panels;
    unit.along_rows(rows(&a, SIDE), 0..1, Side::Left, left);
    unit.along_rows(rows(&[1.0; SIDE * SIDE], SIDE), 0..1, Side::Right, right);
    let mut sums = vec![0.0; SIDE * SIDE];
    unit.tiles()
        .block(Panel::new(left), Panel::new(right), 1, &mut sums, false);
    assert!(sums[..2 * SIDE].iter().all(|x| !x.is_finite()));
    assert!(sums[2 * SIDE..].iter().all(|&x| x == 32.0));
}
