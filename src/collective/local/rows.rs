//! Reductions of gradient rows: on the device where all of them lie on one, else on the host.

use super::sum::{Recipe, reduce};
use super::travelled;
use crate::collective::Wire;
use crate::collective::rows::{come_back, depart};
use crate::kernel::{Backend, GradientRows, KernelError};

/// What every rank takes away: rows on the device where its own were. `engine` is that of the rank
/// that does the work. Rows on the host have been rounded for the wire already.
pub(super) fn reduce_rows(
    engine: &Backend,
    ranks: Vec<GradientRows>,
    recipe: &Recipe<f32>,
) -> Result<Vec<GradientRows>, KernelError> {
    // Rows of the CPU are on the host, where sums are made in place.
    let resident = matches!(engine, Backend::Gpu(_))
        && recipe.wire == Wire::Exact
        && ranks.iter().all(|rows| engine.check_rows(rows).is_ok());
    if resident {
        on_device(engine, &ranks, recipe)
    } else {
        on_host(ranks, recipe)
    }
}

/// One result, in memory that the ranks share.
fn on_device(
    engine: &Backend,
    ranks: &[GradientRows],
    recipe: &Recipe<f32>,
) -> Result<Vec<GradientRows>, KernelError> {
    let weight = |rank: usize| recipe.weights.as_ref().map_or(1.0, |weights| weights[rank]);
    let parts = ranks.iter().enumerate();
    let parts: Vec<_> = parts.map(|(rank, rows)| (rows, weight(rank))).collect();
    let shared = engine.average(&parts, recipe.divisor.unwrap_or(1.0), None)?;
    Ok(vec![shared; ranks.len()])
}

/// A copy for every rank, in the memory that its own rows had.
fn on_host(
    ranks: Vec<GradientRows>,
    recipe: &Recipe<f32>,
) -> Result<Vec<GradientRows>, KernelError> {
    let ranks = ranks.into_iter().map(|rows| {
        let (values, home) = depart(rows)?;
        let values = match home {
            None => values,
            Some(_) => travelled(values, recipe.wire),
        };
        Ok((values, home))
    });
    let ranks: Vec<_> = ranks.collect::<Result<_, KernelError>>()?;
    let (mut values, homes): (Vec<_>, Vec<_>) = ranks.into_iter().unzip();
    reduce(&mut values, recipe);
    let back = values.into_iter().zip(homes);
    back.map(|(values, home)| come_back(values, home)).collect()
}
