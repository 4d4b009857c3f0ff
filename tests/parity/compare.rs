//! What a backend made of a table, against what the oracle did.

use shardloom::kernel::Dtype;
use shardloom::optim::{OptimizerKind, OptimizerStep};

use crate::halves;
use crate::oracle::{Gradients, Table, largest};

/// A table's columns as a backend has them.
pub struct Columns<'a> {
    pub values: &'a [f32],
    pub first: &'a [f32],
    pub second: &'a [f32],
}

/// Compares a backend's table after an update with the oracle's. `gradients` are what was applied
/// and `roundings` how many roundings of each gradient's size are forgiven. States must have been
/// 0.1 or more before the update, so that no root of them amplifies.
///
/// Returns the largest number of roundings that was needed, or what is wrong.
pub fn compare(
    name: &str,
    found: &Columns,
    wanted: &Table,
    before: &Table,
    step: OptimizerStep,
    gradients: &Gradients,
    roundings: f64,
) -> Result<f64, String> {
    let epsilon = f64::from(f32::EPSILON);
    let rate = f64::from(step.rate);
    let mut worst = 0.0f64;
    let mut check = |what: &str,
                     i: usize,
                     width: usize,
                     found: f32,
                     wanted: f64,
                     own: f64,
                     reach: f64| {
        let size = gradients.sizes[i / width];
        // What the last operations round, and what the gradient brings along.
        let allowed = epsilon * (4.0 * own + reach * size * roundings);
        if what == "values" && before.dtype != Dtype::F32 {
            return halves::check(before.dtype, found, wanted, allowed).map_err(|why| {
                format!("{name} {what} row {} value {}: {why}", i / width, i % width)
            });
        }
        let off = (f64::from(found) - wanted).abs();
        if size > 0.0 && reach > 0.0 {
            worst = worst.max((off - epsilon * 4.0 * own) / (epsilon * reach * size));
        }
        if off <= allowed {
            return Ok(());
        }
        Err(format!(
            "{name} {what} row {} value {}: {found} instead of {wanted}, off by {off:.3e}, allowed {allowed:.3e}",
            i / width,
            i % width,
        ))
    };
    let largest_gradient = |i: usize, width: usize| {
        let row = &gradients.values[i / width * gradients.width..][..gradients.width];
        largest(row)
    };
    let width = wanted.width;
    if found.values.len() != wanted.values.len() {
        return Err(format!(
            "{name}: {} values instead of {}",
            found.values.len(),
            wanted.values.len()
        ));
    }
    for (i, (&f, &w)) in found.values.iter().zip(&wanted.values).enumerate() {
        let reach = match step.kind {
            OptimizerKind::Sgd => rate,
            // d/dg of g/√(s + g²) is below 1/√s; with s ≥ 0.1 below 4; the rest is room for the
            // steps' own roundings.
            OptimizerKind::Adagrad | OptimizerKind::RowAdagrad => 8.0 * rate,
            OptimizerKind::Adam => 2.0 * rate,
        };
        // Adam's step is made of a mean of which the gradient is a tenth: it rounds for itself, which
        // shows where a value comes out close to zero.
        let own = match step.kind {
            OptimizerKind::Adam => w.abs() + (w - before.values[i]).abs(),
            _ => w.abs(),
        };
        check("values", i, width, f, w, own, reach)?;
        if w == before.values[i]
            && gradients.sizes[i / width] == 0.0
            && step.kind != OptimizerKind::Adam
            && f64::from(f) != w
        {
            return Err(format!("{name}: untouched row {} changed", i / width));
        }
    }
    let states = [
        ("first", found.first, &wanted.first),
        ("second", found.second, &wanted.second),
    ];
    for (column, (what, found, wanted)) in states.into_iter().enumerate() {
        let Some(&width) = step.kind.state_widths(width).get(column) else {
            continue;
        };
        if found.len() != wanted.len() {
            return Err(format!(
                "{name} {what}: {} values instead of {}",
                found.len(),
                wanted.len()
            ));
        }
        for (i, (&f, &w)) in found.iter().zip(wanted).enumerate() {
            let reach = match (step.kind, column) {
                (OptimizerKind::Adam, 0) => 0.2,
                (OptimizerKind::Adam, _) => 0.002 * largest_gradient(i, width),
                _ => 2.0 * largest_gradient(i, width),
            };
            check(what, i, width, f, w, w.abs(), reach)?;
        }
    }
    Ok(worst)
}
