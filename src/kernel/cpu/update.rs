//! `update`: the optimizer, on some or all rows of a shard, from one gradient or from the average
//! of several.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::Table;
use super::memory::{SharedRows, prefetch_row};
use super::share::{Busy, share};
use super::simd::simd;
use super::table::{Part, Shard};
use super::widen::HalfRow;
use crate::kernel::merge::{self, Merge};
use crate::kernel::{KernelError, Places, TableSpec};
use crate::optim::OptimizerStep;

/// Updates of fewer values than this are not worth waking other threads.
pub(super) const INLINE: usize = 1 << 18;
/// Rows that a thread takes at a time: many more than are asked for ahead.
const BLOCK: usize = 256;
/// Parts of a shard that large pushes are cut into: enough to share evenly.
const PARTS: usize = 8;
/// Values of rows that are asked for ahead of their use.
const AHEAD: usize = 32 * 128;

/// How many rows of so many values are asked for ahead of their use.
pub(super) fn ahead(width: usize) -> usize {
    (AHEAD / width).clamp(1, 32)
}

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

    /// The place of the row at index `i`.
    #[inline(always)]
    pub fn place(&self, i: usize) -> usize {
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
    /// How many values there are.
    fn values(&self) -> usize {
        match self {
            Gradients::Rows(rows) => rows.len(),
            Gradients::Average { pushes, .. } => pushes.iter().map(|(rows, _)| rows.len()).sum(),
        }
    }

    /// Asks for what the gradient of the row at index `i` is made of, where the hardware does not
    /// see it coming.
    #[inline(always)]
    fn prefetch(&self, i: usize, width: usize) {
        match *self {
            Gradients::Rows(_) => {}
            Gradients::Average { merge, pushes } => match merge {
                Some(merge) => {
                    for source in merge.sources_of(i) {
                        let rows = pushes[source.push as usize].0;
                        prefetch_row(&rows[source.row as usize * width..][..width]);
                    }
                }
                None => {
                    for (rows, _) in pushes {
                        prefetch_row(&rows[i * width..][..width]);
                    }
                }
            },
        }
    }

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
    apply(&Busy::enter(), step, spec, shard, rows, gradients);
}

fn apply(
    busy: &Busy,
    step: OptimizerStep,
    spec: &TableSpec,
    shard: &mut Shard,
    rows: DistinctRows<'_>,
    gradients: Gradients<'_>,
) {
    let count = rows.places.count(shard.rows(spec));
    let shared = SharedRows::new(shard, spec);
    share(busy, count, BLOCK, gradients.values() >= INLINE, |items| {
        // SAFETY: rows are distinct, and every index is in one part.
        unsafe { apply_some(step, spec.width, &shared, rows, gradients, items) }
    });
}

/// Applies the optimizer to the rows at these indices.
///
/// # Safety
/// Nobody else may use these rows at the same time.
unsafe fn apply_some(
    step: OptimizerStep,
    width: usize,
    shared: &SharedRows<'_>,
    rows: DistinctRows<'_>,
    gradients: Gradients<'_>,
    items: Range<usize>,
) {
    let ahead = ahead(width);
    let mut sum = match gradients {
        Gradients::Rows(_) => Vec::new(),
        Gradients::Average { .. } => vec![0.0; width],
    };
    let mut half = shared.is_half().then(|| HalfRow::new(width));
    let ask = |i: usize| {
        shared.prefetch(rows.place(i));
        gradients.prefetch(i, width);
    };
    simd(
        #[inline(always)]
        || {
            let end = items.end;
            (items.start..end.min(items.start + ahead)).for_each(ask);
            for i in items {
                if i + ahead < end {
                    ask(i + ahead);
                }
                let gradient = gradients.row(i, width, &mut sum);
                // SAFETY: rows are distinct, and the caller keeps others away.
                let [values, first, second] = unsafe { shared.row(rows.place(i)) };
                match &mut half {
                    None => step.apply(values, gradient, first, second),
                    Some(half) => {
                        let name = shared.name(rows.place(i));
                        // SAFETY: as above.
                        let halves = unsafe { shared.halves(rows.place(i)) };
                        half.apply(step, halves, name, gradient, [first, second]);
                    }
                }
            }
        },
    );
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
    if pushes.is_empty() {
        return Ok(());
    }
    let shard = &mut *table.shard_mut(shard);
    let busy = Busy::enter();
    if let [(places, gradients, 1.0)] = *pushes {
        let gradients = Gradients::Rows(gradients);
        match places {
            Places::All => {
                apply(&busy, step, spec, shard, DistinctRows::ALL, gradients);
                return Ok(());
            }
            Places::Listed(places) if shard.merger.distinct(spec.name, rows, places)? => {
                apply(
                    &busy,
                    step,
                    spec,
                    shard,
                    DistinctRows::known(places),
                    gradients,
                );
                return Ok(());
            }
            Places::Listed(_) => {}
        }
    }
    let places: Vec<Places<'_>> = pushes.iter().map(|push| push.0).collect();
    let parts: Vec<(&[f32], f32)> = pushes.iter().map(|push| (push.1, push.2)).collect();
    let pushes = &parts[..];
    if places.iter().all(|&places| places == Places::All) {
        let gradients = Gradients::Average {
            merge: None,
            pushes,
        };
        apply(&busy, step, spec, shard, DistinctRows::ALL, gradients);
        return Ok(());
    }
    merge::check(spec.name, rows, &places)?;
    if pushes.iter().map(|(rows, _)| rows.len()).sum::<usize>() >= INLINE {
        apply_parts(&busy, step, spec, shard, &places, pushes);
        return Ok(());
    }
    // Out of the shard while the shard's rows are written.
    let mut merger = std::mem::take(&mut shard.merger);
    let merge = merger.merge_sources(0..rows as u32, merge::sources(&places, rows));
    let known = DistinctRows::known(&merge.places);
    let gradients = Gradients::Average {
        merge: Some(merge),
        pushes,
    };
    apply(&busy, step, spec, shard, known, gradients);
    shard.merger = merger;
    Ok(())
}

/// Brings large pushes together and applies them, part by part of the shard.
fn apply_parts(
    busy: &Busy,
    step: OptimizerStep,
    spec: &TableSpec,
    shard: &mut Shard,
    places: &[Places<'_>],
    pushes: &[(&[f32], f32)],
) {
    let rows = shard.rows(spec);
    // A power of two, as every pushed row is divided by it.
    let shift = rows.div_ceil(PARTS).next_power_of_two().trailing_zeros();
    // Out of the shard while the shard's rows are written.
    let mut parts = std::mem::take(&mut shard.parts);
    parts.resize_with(rows.div_ceil(1 << shift), Part::default);
    parts.iter_mut().for_each(|part| part.sources.clear());
    merge::sources(places, rows).for_each(|(place, source)| {
        parts[(place >> shift) as usize]
            .sources
            .push((place, source));
    });
    {
        let shared = SharedRows::new(shard, spec);
        let parts: Vec<Mutex<&mut Part>> = parts.iter_mut().map(Mutex::new).collect();
        share(busy, parts.len(), 1, true, |indices| {
            for p in indices {
                // Nobody else has this part.
                let mut part = parts[p].lock().unwrap_or_else(PoisonError::into_inner);
                let Part { sources, merger } = &mut **part;
                let range = p << shift..rows.min((p + 1) << shift);
                let range = range.start as u32..range.end as u32;
                let merge = merger.merge_sources(range, sources.iter().copied());
                let known = DistinctRows::known(&merge.places);
                let gradients = Gradients::Average {
                    merge: Some(merge),
                    pushes,
                };
                let all = 0..merge.places.len();
                // SAFETY: rows of different parts are different, and each part is taken once.
                unsafe { apply_some(step, spec.width, &shared, known, gradients, all) }
            }
        });
    }
    shard.parts = parts;
}
