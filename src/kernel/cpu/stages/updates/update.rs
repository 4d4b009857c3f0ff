//! `update`: the optimizer, on some or all rows of a shard, from one gradient or from the average
//! of several. The formulas are those of [`crate::optim`], on registers, rounded alike on every
//! processor.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use crate::kernel::TableSpec;
use crate::kernel::cpu::parallel::{Activity, Helpers};
use crate::kernel::cpu::simd::vector::Vector;
use crate::kernel::cpu::stages::rows::widen::HalfRow;
use crate::kernel::cpu::stages::updates::update_row_adagrad::row_rate;
use crate::kernel::cpu::table::Shard;
use crate::kernel::cpu::table::distinct_rows::{DistinctRows, TableBlock};
use crate::kernel::cpu::table::prefetch::{L2, RowLines, prefetch};
use crate::kernel::cpu::table::shared_rows::SharedRows;
use crate::kernel::merge::Merge;
use crate::optim::{OptimizerKind, OptimizerStep, adagrad, adam, sgd};

/// Values below which an update is not worth waking other threads.
pub const INLINE: usize = 1 << 18;
/// Rows that a thread takes at least: many more than are prefetched ahead.
const BLOCK: usize = 256;

/// Gradients of the rows of an update.
#[derive(Clone, Copy, Debug)]
pub enum Gradients<'a> {
    /// One row each, in the order of the rows.
    Rows(&'a [f32]),
    /// The weighted sum of the rows that were pushed for it.
    Average(Average<'a>),
}

impl Gradients<'_> {
    /// Number of values.
    fn values(&self) -> usize {
        match self {
            Gradients::Rows(rows) => rows.len(),
            Gradients::Average(Average { pushes, .. }) => {
                pushes.iter().map(|push| push.rows.len()).sum()
            }
        }
    }
}

/// Gradient rows that one worker pushed, flat and row-major.
#[derive(Clone, Copy, Debug)]
pub struct WeightedRows<'a> {
    /// A row for each of the push's places.
    pub rows: &'a [f32],
    /// Factor of every value.
    pub weight: f32,
}

/// Weighted sums of pushed rows.
#[derive(Clone, Copy, Debug)]
pub struct Average<'a> {
    /// Pushed rows of every row; none where every push has all rows.
    pub merge: Option<&'a Merge>,
    /// Rows and weight of every push.
    pub pushes: &'a [WeightedRows<'a>],
}

impl Average<'_> {
    /// Prefetches the pushed rows of the row at index `i`.
    #[inline(always)]
    fn prefetch(&self, i: usize, width: usize) {
        let row = |rows: &[f32], row: usize| prefetch::<_, L2>(&rows[row * width..][..width]);
        match self.merge {
            Some(merge) => {
                for source in merge.sources_of(i) {
                    row(self.pushes[source.push as usize].rows, source.row as usize);
                }
            }
            None => self.pushes.iter().for_each(|push| row(push.rows, i)),
        }
    }

    /// The gradient of the row at index `i`.
    #[inline(always)]
    fn sum(&self, i: usize, sum: &mut [f32]) {
        let width = sum.len();
        sum.fill(0.0);
        let mut add = |push: WeightedRows<'_>, row: usize| {
            let row = &push.rows[row * width..][..width];
            for (s, &g) in sum.iter_mut().zip(row) {
                *s += push.weight * g;
            }
        };
        match self.merge {
            Some(merge) => {
                for source in merge.sources_of(i) {
                    add(self.pushes[source.push as usize], source.row as usize);
                }
            }
            None => self.pushes.iter().for_each(|&push| add(push, i)),
        }
    }
}

/// Applies the optimizer to rows of a shard.
pub fn update(
    step: OptimizerStep,
    spec: &TableSpec,
    shard: &mut Shard,
    rows: DistinctRows<'_>,
    gradients: Gradients<'_>,
) {
    let activity = Activity::start();
    let helpers = request_helpers(&activity, gradients.values(), spec.width);
    apply(helpers, step, spec, shard, rows, gradients);
}

/// Calls helpers for an update from `values` values of gradients.
pub fn request_helpers(activity: &Activity, values: usize, width: usize) -> Helpers {
    let blocks = match values >= INLINE {
        true => (values / width).div_ceil(BLOCK),
        false => 0,
    };
    Helpers::request(activity, blocks)
}

pub fn apply(
    helpers: Helpers,
    step: OptimizerStep,
    spec: &TableSpec,
    shard: &mut Shard,
    rows: DistinctRows<'_>,
    gradients: Gradients<'_>,
) {
    let count = rows.count(shard.rows(spec));
    let shared = &SharedRows::new(shard, spec);
    helpers.run(count, BLOCK, |items| {
        // SAFETY: rows are distinct, and every index is handed out once.
        let block = unsafe { TableBlock::new(shared, rows, items) };
        apply_some(step, spec.width, block, gradients);
    });
}

/// Applies the optimizer to some rows.
pub fn apply_some(
    step: OptimizerStep,
    width: usize,
    block: TableBlock<'_>,
    gradients: Gradients<'_>,
) {
    let update = Update {
        step,
        width,
        block,
        gradients,
    };
    match update.block.shared.is_half() {
        true => pulp::Arch::new().dispatch(HalfUpdate(update)),
        false => pulp::Arch::new().dispatch(update),
    }
}

/// An update of rows of `f32`.
struct Update<'a> {
    step: OptimizerStep,
    width: usize,
    block: TableBlock<'a>,
    gradients: Gradients<'a>,
}

impl WithSimd for Update<'_> {
    type Output = ();

    /// Every optimizer has a loop of its own: one for all of them has many more instructions (benches/NOTES.md).
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.step.kind {
            OptimizerKind::Sgd => self.run(simd, OptimizerKind::Sgd),
            OptimizerKind::Adagrad => self.run(simd, OptimizerKind::Adagrad),
            OptimizerKind::RowAdagrad => self.run(simd, OptimizerKind::RowAdagrad),
            OptimizerKind::Adam => self.run(simd, OptimizerKind::Adam),
        }
    }
}

impl Update<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S, kind: OptimizerKind) {
        let step = OptimizerStep { kind, ..self.step };
        self.each(
            #[inline(always)]
            |_, row, gradient| update_row(simd, step, row, gradient),
        );
    }

    /// Hands out the place of every row, the row and its gradient.
    #[inline(always)]
    fn each(self, mut update: impl FnMut(usize, [&mut [f32]; 3], &[f32])) {
        let Update {
            width,
            block,
            gradients,
            ..
        } = self;
        let rows = block.rows;
        match gradients {
            Gradients::Rows(gradients) => {
                let lines = RowLines::new(gradients.as_ptr(), width);
                block.each(
                    width,
                    // Gradients are read in order, but not every processor prefetches them by itself between
                    // rows of a table in any order.
                    #[inline(always)]
                    |i| lines.prefetch(i),
                    #[inline(always)]
                    |i, row| update(rows.place(i), row, &gradients[i * width..][..width]),
                )
            }
            Gradients::Average(average) => {
                let mut sum = vec![0.0; width];
                block.each(
                    width,
                    #[inline(always)]
                    |i| average.prefetch(i, width),
                    #[inline(always)]
                    |i, row| {
                        average.sum(i, &mut sum);
                        update(rows.place(i), row, &sum);
                    },
                );
            }
        }
    }
}

/// An update of rows of halves.
struct HalfUpdate<'a>(Update<'a>);

impl WithSimd for HalfUpdate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let HalfUpdate(update) = self;
        let (step, shared) = (update.step, update.block.shared);
        let mut half = HalfRow::new(update.width);
        update.each(
            #[inline(always)]
            |place, [_, first, second], gradient| {
                let name = shared.name(place);
                // SAFETY: rows are distinct, and no other block has this one.
                let halves = unsafe { shared.halves(place) };
                // Inlined, or the row's loop would be compiled without the vectors of `simd`.
                half.replace(
                    halves,
                    step.salt,
                    name,
                    #[inline(always)]
                    |wide| update_row(simd, step, [wide, first, second], gradient),
                );
            },
        );
    }
}

/// Registers without a branch between them. The fewer instructions and branches a row takes, the more rows
/// a processor sees ahead, and waits for at once: 8 instead of 2 made Adagrad 1.2 times faster.
const REGISTERS: usize = 8;

/// Applies a gradient to a row: values, first and second state, each empty where the optimizer does not
/// keep it. The same formulas as [`OptimizerStep::apply`].
#[inline(always)]
pub fn update_row<S: Simd>(
    simd: S,
    step: OptimizerStep,
    [row, first, second]: [&mut [f32]; 3],
    gradient: &[f32],
) {
    let mut rate = Vector::splat(simd, step.rate);
    match step.kind {
        OptimizerKind::Adagrad => each(
            simd,
            row,
            gradient,
            [first],
            #[inline(always)]
            |p, g, [s]| {
                let (p, s) = adagrad(rate, p, g, s);
                (p, [s])
            },
        ),
        OptimizerKind::Adam => each(
            simd,
            row,
            gradient,
            [first, second],
            #[inline(always)]
            |p, g, moments| {
                let (p, m, v) = adam(rate, p, g, moments);
                (p, [m, v])
            },
        ),
        OptimizerKind::Sgd | OptimizerKind::RowAdagrad => {
            if step.kind == OptimizerKind::RowAdagrad {
                rate = Vector::splat(simd, row_rate(step.rate, gradient, &mut first[0]));
            }
            each(
                simd,
                row,
                gradient,
                [],
                #[inline(always)]
                |p, g, []| (sgd(rate, p, g), []),
            );
        }
    }
}

/// Replaces values, and what states they have, by what `formula` makes of them and their gradient.
#[inline(always)]
fn each<S: Simd, const STATES: usize>(
    simd: S,
    row: &mut [f32],
    gradient: &[f32],
    mut states: [&mut [f32]; STATES],
    formula: impl Fn(Vector<S>, Vector<S>, [Vector<S>; STATES]) -> (Vector<S>, [Vector<S>; STATES]),
) {
    let width = row.len();
    assert!(gradient.len() == width && states.iter().all(|state| state.len() == width));
    let mut at = 0;
    while at + REGISTERS * S::F32_LANES <= width {
        let place = at..at + REGISTERS * S::F32_LANES;
        at = place.end;
        registers::<S, STATES, REGISTERS>(simd, row, gradient, &mut states, place, &formula);
    }
    while at + S::F32_LANES <= width {
        let place = at..at + S::F32_LANES;
        at = place.end;
        registers::<S, STATES, 1>(simd, row, gradient, &mut states, place, &formula);
    }
    if at < width {
        let (p, g) = (rest(simd, &row[at..]), rest(simd, &gradient[at..]));
        let mut own = [p; STATES];
        for k in 0..STATES {
            own[k] = rest(simd, &states[k][at..]);
        }
        let (p, own) = formula(p, g, own);
        simd.partial_store_f32s(&mut row[at..], p.values);
        for k in 0..STATES {
            simd.partial_store_f32s(&mut states[k][at..], own[k].values);
        }
    }
}

/// The same for the values at a place that fills `N` registers.
#[inline(always)]
fn registers<S: Simd, const STATES: usize, const N: usize>(
    simd: S,
    row: &mut [f32],
    gradient: &[f32],
    states: &mut [&mut [f32]; STATES],
    place: Range<usize>,
    formula: &impl Fn(Vector<S>, Vector<S>, [Vector<S>; STATES]) -> (Vector<S>, [Vector<S>; STATES]),
) {
    for r in 0..N {
        let p = register(simd, &row[place.clone()], r);
        let g = register(simd, &gradient[place.clone()], r);
        let mut own = [p; STATES];
        for k in 0..STATES {
            own[k] = register(simd, &states[k][place.clone()], r);
        }
        let (p, own) = formula(p, g, own);
        S::as_mut_simd_f32s(&mut row[place.clone()]).0[r] = p.values;
        for k in 0..STATES {
            S::as_mut_simd_f32s(&mut states[k][place.clone()]).0[r] = own[k].values;
        }
    }
}

/// The register at this place of some values.
#[inline(always)]
fn register<S: Simd>(simd: S, values: &[f32], r: usize) -> Vector<S> {
    Vector::new(simd, S::as_simd_f32s(values).0[r])
}

/// Values that need not fill a register, and zeros.
#[inline(always)]
fn rest<S: Simd>(simd: S, values: &[f32]) -> Vector<S> {
    Vector::new(simd, simd.partial_load_f32s(values))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use pulp::WithSimd;

    struct Once<'a>(OptimizerStep, [&'a mut [f32]; 3], &'a [f32]);

    impl WithSimd for Once<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let Once(step, row, gradient) = self;
            update_row(simd, step, row, gradient);
        }
    }

    proptest! {
        /// Rows of any width, in the middle of others that stay as they are.
        #[test]
        fn rows_become_what_the_formulas_say(
            width in 1usize..200, kind in 0usize..4, seed in 0u64..1000,
        ) {
            let kind = [
                OptimizerKind::Sgd, OptimizerKind::Adagrad, OptimizerKind::RowAdagrad, OptimizerKind::Adam,
            ][kind];
            let step = OptimizerStep::new(kind, 0.1, 1 + seed % 7);
            let value = |i: usize| (seed as f32 + i as f32 * 0.618).sin();
            let mut states = kind.state_widths(width);
            states.resize(2, 0);
            let column = |len: usize, from: usize| -> Vec<f32> {
                (0..len + 6).map(|i| value(i + from).abs()).collect()
            };
            let gradient: Vec<f32> = (0..width).map(|i| value(i + 50)).collect();
            let given = [column(width, 0), column(states[0], 300), column(states[1], 600)];
            let mut wanted = given.clone();
            let widths = [width, states[0], states[1]];
            let row = |columns: &mut [Vec<f32>; 3], f: &mut dyn FnMut([&mut [f32]; 3])| {
                let [a, b, c] = columns;
                f([&mut a[3..3 + widths[0]], &mut b[3..3 + widths[1]], &mut c[3..3 + widths[2]]]);
            };
            row(&mut wanted, &mut |[row, first, second]| step.apply(row, &gradient, first, second));
            let on = |arch: pulp::Arch| {
                let mut found = given.clone();
                row(&mut found, &mut |columns| arch.dispatch(Once(step, columns, &gradient)));
                found
            };
            let found = on(pulp::Arch::new());
            prop_assert_eq!(&found, &on(pulp::Arch::Scalar));
            #[cfg(target_arch = "x86_64")]
            if let Some(v3) = pulp::x86::V3::try_new() {
                prop_assert_eq!(&found, &on(pulp::Arch::V3(v3)));
            }
            if kind == OptimizerKind::RowAdagrad {
                // Its sum has another order.
                let pairs = found.iter().flatten().zip(wanted.iter().flatten());
                for (x, y) in pairs {
                    prop_assert!((x - y).abs() < 1e-6, "{} {}", x, y);
                }
            } else {
                prop_assert_eq!(&found, &wanted);
            }
            // Not trivially so.
            prop_assert_ne!(&given, &wanted);
        }
    }
}
