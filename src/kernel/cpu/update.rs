//! `update`: the optimizer, on some or all rows of a shard, from one gradient or from the average
//! of several.

use std::ops::Range;

use rayon::prelude::*;

use super::BLOCK;
use super::Table;
use super::memory::SharedRows;
use super::simd::simd;
use super::table::Shard;
use crate::kernel::{KernelError, Merge, Places, TableSpec};
use crate::optim::OptimizerStep;

/// Updates of fewer values than this are not worth waking other threads.
const INLINE: usize = 1 << 20;
/// Values of rows that are asked for ahead of their use.
const AHEAD: usize = 16 * 128;

/// The rows that an update is for, each of them once.
#[derive(Clone, Copy, Debug)]
pub(super) struct DistinctRows<'a> {
    places: Places<'a>,
    base: u32,
}

impl<'a> DistinctRows<'a> {
    /// All rows of a shard.
    pub const ALL: DistinctRows<'static> = DistinctRows {
        places: Places::All,
        base: 0,
    };

    /// Ascending rows of the shard that starts with row `base`.
    ///
    /// # Errors
    /// [`KernelError::Repeated`] if they do not ascend.
    pub fn ascending(
        spec: &TableSpec,
        rows: &'a [u32],
        base: usize,
    ) -> Result<DistinctRows<'a>, KernelError> {
        if let Some(pair) = rows.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(KernelError::Repeated {
                table: spec.name,
                row: pair[1],
            });
        }
        Ok(DistinctRows {
            places: Places::Listed(rows),
            base: base as u32,
        })
    }

    /// The places of a merge, or of what [`Merger::distinct`] found distinct.
    fn known(places: &'a [u32]) -> DistinctRows<'a> {
        DistinctRows {
            places: Places::Listed(places),
            base: 0,
        }
    }

    #[inline(always)]
    fn place(&self, i: usize) -> usize {
        match self.places {
            Places::All => i,
            Places::Listed(rows) => (rows[i] - self.base) as usize,
        }
    }
}

/// Where the gradient of every row comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Gradients<'a> {
    /// One row each, in the order of the rows.
    Rows(&'a [f32]),
    /// The weighted sum of what was pushed for it.
    Average {
        /// The lists of what was pushed; where every push has all rows, none.
        merge: Option<&'a Merge>,
        /// Rows and weight of every push.
        pushes: &'a [(&'a [f32], f32)],
    },
}

impl Gradients<'_> {
    /// The gradient of the row at index `i`.
    #[inline(always)]
    fn row<'b>(&'b self, i: usize, width: usize, sum: &'b mut [f32]) -> &'b [f32] {
        match *self {
            Gradients::Rows(rows) => &rows[i * width..][..width],
            Gradients::Average { merge, pushes } => {
                sum.fill(0.0);
                let mut add = |(rows, weight): (&[f32], f32), row: usize| {
                    let row = &rows[row * width..][..width];
                    for (s, &g) in sum.iter_mut().zip(row) {
                        *s += weight * g;
                    }
                };
                match merge {
                    Some(merge) => {
                        for source in merge.sources_of(i) {
                            add(pushes[source.push as usize], source.row as usize);
                        }
                    }
                    None => pushes.iter().for_each(|&push| add(push, i)),
                }
                sum
            }
        }
    }
}

/// Applies the optimizer to rows of a shard.
pub(super) fn update(
    step: OptimizerStep,
    spec: &TableSpec,
    shard: &mut Shard,
    rows: DistinctRows<'_>,
    gradients: Gradients<'_>,
) {
    let width = spec.width;
    let count = rows.places.count(shard.values.len() / width);
    let shared = SharedRows::new(shard, spec);
    let ahead = (AHEAD / width).clamp(1, 16);
    let part = |items: Range<usize>| {
        let mut sum = match gradients {
            Gradients::Rows(_) => Vec::new(),
            Gradients::Average { .. } => vec![0.0; width],
        };
        simd(
            #[inline(always)]
            || {
                for i in items {
                    if i + ahead < count {
                        shared.prefetch(rows.place(i + ahead));
                    }
                    let gradient = gradients.row(i, width, &mut sum);
                    // SAFETY: rows are distinct, and every index is in one part.
                    let [values, first, second] = unsafe { shared.row(rows.place(i)) };
                    step.apply(values, gradient, first, second);
                }
            },
        );
    };
    let values = match gradients {
        Gradients::Rows(rows) => rows.len(),
        Gradients::Average { pushes, .. } => pushes.iter().map(|(rows, _)| rows.len()).sum(),
    };
    if values < INLINE {
        part(0..count);
    } else {
        (0..count.div_ceil(BLOCK))
            .into_par_iter()
            .for_each(|block| part(block * BLOCK..count.min((block + 1) * BLOCK)));
    }
}

/// Applies the optimizer once to every row that was pushed, with the weighted sum of its gradients.
///
/// # Errors
/// [`KernelError::Shape`] unless every push has a gradient row for each of its places;
/// [`KernelError::Row`] for a place beyond the shard. Nothing has changed then.
pub(super) fn push(
    step: OptimizerStep,
    table: &Table,
    shard: usize,
    pushes: &[(Places<'_>, &[f32], f32)],
) -> Result<(), KernelError> {
    let spec = &table.spec;
    let rows = spec.layout.range(shard).len();
    for (places, gradients, _) in pushes {
        let expected = places.count(rows) * spec.width;
        KernelError::check_shape("gradients", expected, gradients.len())?;
    }
    let shard = &mut *table.shard_mut(shard);
    if let [(places, gradients, 1.0)] = *pushes {
        let gradients = Gradients::Rows(gradients);
        match places {
            Places::All => {
                update(step, spec, shard, DistinctRows::ALL, gradients);
                return Ok(());
            }
            Places::Listed(places) if shard.merger.distinct(spec.name, rows, places)? => {
                update(step, spec, shard, DistinctRows::known(places), gradients);
                return Ok(());
            }
            Places::Listed(_) => {}
        }
    }
    let places: Vec<Places<'_>> = pushes.iter().map(|push| push.0).collect();
    let parts: Vec<(&[f32], f32)> = pushes.iter().map(|push| (push.1, push.2)).collect();
    let merge = if places.iter().all(|&places| places == Places::All) {
        None
    } else {
        Some(shard.merger.merge(spec.name, rows, &places)?)
    };
    let rows = match &merge {
        Some(merge) => DistinctRows::known(&merge.places),
        None => DistinctRows::ALL,
    };
    let gradients = Gradients::Average {
        merge: merge.as_ref(),
        pushes: &parts,
    };
    update(step, spec, shard, rows, gradients);
    Ok(())
}
