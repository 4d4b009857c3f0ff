//! Reductions of gradient rows: on the device where all of them lie on one, else on the host.

use crate::collective::Wire;
use crate::collective::reduction::{Reduction, reduce};
use crate::collective::rows::{download, upload};
use crate::collective::terms::rounded;
use crate::kernel::{Backend, GradientRows, KernelError};

/// Reduces the rows of all ranks. Every rank receives rows on the device where its own were. `engine`
/// is the engine of the rank that does the work. Rows on the host have been rounded to the wire
/// format already.
pub(super) fn reduce_rows(
    engine: &Backend,
    ranks: Vec<GradientRows>,
    reduction: &Reduction<f32>,
) -> Result<Vec<GradientRows>, KernelError> {
    // Rows of the CPU are on the host, where sums are made in place.
    let resident = matches!(engine, Backend::Gpu(_))
        && reduction.wire == Wire::Exact
        && ranks.iter().all(|rows| engine.check_rows(rows).is_ok());
    if resident {
        on_device(engine, &ranks, reduction)
    } else {
        on_host(ranks, reduction)
    }
}

/// Reduces rows on their device. The ranks share the memory of the result.
fn on_device(
    engine: &Backend,
    ranks: &[GradientRows],
    reduction: &Reduction<f32>,
) -> Result<Vec<GradientRows>, KernelError> {
    let weight = |rank: usize| {
        reduction
            .weights
            .as_ref()
            .map_or(1.0, |weights| weights[rank])
    };
    let parts = ranks.iter().enumerate();
    let parts: Vec<_> = parts.map(|(rank, rows)| (rows, weight(rank))).collect();
    let shared = engine.average(&parts, reduction.divisor.unwrap_or(1.0), None)?;
    Ok(vec![shared; ranks.len()])
}

/// Reduces rows on the host. Every rank receives a copy in the memory that its own rows had.
fn on_host(
    ranks: Vec<GradientRows>,
    reduction: &Reduction<f32>,
) -> Result<Vec<GradientRows>, KernelError> {
    let ranks = ranks.into_iter().map(|rows| {
        let (values, device) = download(rows)?;
        let values = match device {
            None => values,
            Some(_) => rounded(values, reduction.wire),
        };
        Ok((values, device))
    });
    let ranks: Vec<_> = ranks.collect::<Result<_, KernelError>>()?;
    let (mut values, devices): (Vec<_>, Vec<_>) = ranks.into_iter().unzip();
    reduce(&mut values, reduction);
    let results = values.into_iter().zip(devices);
    results
        .map(|(values, device)| upload(values, device))
        .collect()
}
