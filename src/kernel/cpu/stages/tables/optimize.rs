//! The optimizer, on a row in registers. The formulas are those of [`crate::optim`], rounded alike on
//! every processor.

use std::ops::Range;

use pulp::Simd;

use crate::kernel::cpu::simd::vector::Vector;
use crate::kernel::cpu::simd::{LANES, square_sum};
use crate::optim::{OptimizerKind, OptimizerStep, adagrad, adam, row_adagrad_rate, sgd};

/// Registers without a branch between them. The fewer instructions and branches a row takes, the more rows
/// a processor sees ahead, and waits for at once: 8 instead of 2 made Adagrad 1.2 times faster.
const REGISTERS: usize = 8;

/// Applies a gradient to a row, of which states that the optimizer has not are empty: what
/// [`OptimizerStep::apply`] does.
#[inline(always)]
pub fn optimize<S: Simd>(
    simd: S,
    step: OptimizerStep,
    [row, first, second]: [&mut [f32]; 3],
    gradient: &[f32],
) {
    let mut rate = Vector::splat(simd, step.rate);
    match step.kind {
        OptimizerKind::Adagrad => each(
            simd,
            (row, gradient, [first]),
            #[inline(always)]
            |p, g, [s]| {
                let (p, s) = adagrad(rate, p, g, s);
                (p, [s])
            },
        ),
        OptimizerKind::Adam => each(
            simd,
            (row, gradient, [first, second]),
            #[inline(always)]
            |p, g, moments| {
                let (p, m, v) = adam(rate, p, g, moments);
                (p, [m, v])
            },
        ),
        OptimizerKind::Sgd | OptimizerKind::RowAdagrad => {
            if step.kind == OptimizerKind::RowAdagrad {
                let squares = square_sum::<LANES>(gradient);
                let own = row_adagrad_rate(step.rate, squares, gradient.len(), &mut first[0]);
                rate = Vector::splat(simd, own);
            }
            each(
                simd,
                (row, gradient, []),
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
    (row, gradient, mut states): (&mut [f32], &[f32], [&mut [f32]; STATES]),
    formula: impl Fn(Vector<S>, Vector<S>, [Vector<S>; STATES]) -> (Vector<S>, [Vector<S>; STATES]),
) {
    let width = row.len();
    assert!(gradient.len() == width && states.iter().all(|state| state.len() == width));
    let mut at = 0;
    while at + REGISTERS * S::F32_LANES <= width {
        let place = at..at + REGISTERS * S::F32_LANES;
        at = place.end;
        registers::<S, STATES, REGISTERS>(simd, (row, gradient, &mut states), place, &formula);
    }
    while at + S::F32_LANES <= width {
        let place = at..at + S::F32_LANES;
        at = place.end;
        registers::<S, STATES, 1>(simd, (row, gradient, &mut states), place, &formula);
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
    (row, gradient, states): (&mut [f32], &[f32], &mut [&mut [f32]; STATES]),
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
            optimize(simd, step, row, gradient);
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
