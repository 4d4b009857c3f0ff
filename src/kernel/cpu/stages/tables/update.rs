//! `update`: the optimizer, on some or all rows of a shard, from one gradient or from the average
//! of several.

use std::sync::{Mutex, PoisonError};

use pulp::{Simd, WithSimd};

use crate::kernel::cpu::Table;
use crate::kernel::cpu::parallel::{Busy, Helpers};
use crate::kernel::cpu::stages::tables::optimize::optimize;
use crate::kernel::cpu::stages::tables::widen::HalfRow;
use crate::kernel::cpu::table::distinct_rows::{DistinctRows, TableBlock};
use crate::kernel::cpu::table::memory::SharedRows;
use crate::kernel::cpu::table::prefetch::{RowLines, prefetch_later};
use crate::kernel::cpu::table::{Part, Shard};
use crate::kernel::merge::{self, Merge};
use crate::kernel::{KernelError, Places, TableSpec};
use crate::optim::{OptimizerKind, OptimizerStep};

/// Updates of fewer values than this are not worth waking other threads.
pub const INLINE: usize = 1 << 18;
/// Fewer rows than this no thread takes: many more than are asked for ahead.
const BLOCK: usize = 256;
/// Parts of a shard that large pushes are cut into: enough to share evenly.
const PARTS: usize = 8;

/// Where the gradient of every row comes from.
#[derive(Clone, Copy, Debug)]
pub enum Gradients<'a> {
    /// One row each, in the order of the rows.
    Rows(&'a [f32]),
    /// The weighted sum of what was pushed for it.
    Average(Average<'a>),
}

impl Gradients<'_> {
    /// How many values there are.
    fn values(&self) -> usize {
        match self {
            Gradients::Rows(rows) => rows.len(),
            Gradients::Average(Average { pushes, .. }) => {
                pushes.iter().map(|(rows, _)| rows.len()).sum()
            }
        }
    }
}

/// Weighted sums of what was pushed.
#[derive(Clone, Copy, Debug)]
pub struct Average<'a> {
    /// The lists of what was pushed; where every push has all rows, none.
    merge: Option<&'a Merge>,
    /// Rows and weight of every push.
    pushes: &'a [(&'a [f32], f32)],
}

impl Average<'_> {
    /// Asks for what the gradient of the row at index `i` is made of.
    #[inline(always)]
    fn prefetch(&self, i: usize, width: usize) {
        let row = |rows: &[f32], row: usize| prefetch_later(&rows[row * width..][..width]);
        match self.merge {
            Some(merge) => {
                for source in merge.sources_of(i) {
                    row(self.pushes[source.push as usize].0, source.row as usize);
                }
            }
            None => self.pushes.iter().for_each(|(rows, _)| row(rows, i)),
        }
    }

    /// The gradient of the row at index `i`.
    #[inline(always)]
    fn sum(&self, i: usize, sum: &mut [f32]) {
        let width = sum.len();
        sum.fill(0.0);
        let mut add = |(rows, weight): (&[f32], f32), row: usize| {
            let row = &rows[row * width..][..width];
            for (s, &g) in sum.iter_mut().zip(row) {
                *s += weight * g;
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
    let busy = Busy::enter();
    let helpers = call(&busy, gradients.values(), spec.width);
    apply(helpers, step, spec, shard, rows, gradients);
}

/// Calls helpers for an update from so many values of gradients.
fn call(busy: &Busy, values: usize, width: usize) -> Helpers {
    let blocks = match values >= INLINE {
        true => (values / width).div_ceil(BLOCK),
        false => 0,
    };
    Helpers::call(busy, blocks)
}

fn apply(
    helpers: Helpers,
    step: OptimizerStep,
    spec: &TableSpec,
    shard: &mut Shard,
    rows: DistinctRows<'_>,
    gradients: Gradients<'_>,
) {
    let count = rows.count(shard.rows(spec));
    let shared = &SharedRows::new(shard, spec);
    helpers.share(count, BLOCK, |items| {
        // SAFETY: rows are distinct, and every index is handed out once.
        let block = unsafe { TableBlock::new(shared, rows, items) };
        apply_some(step, spec.width, block, gradients);
    });
}

/// Applies the optimizer to some rows.
fn apply_some(step: OptimizerStep, width: usize, block: TableBlock<'_>, gradients: Gradients<'_>) {
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
            |_, row, gradient| optimize(simd, step, row, gradient),
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
                    // They are read in order, but between rows of a table in any order not every processor
                    // sees them coming.
                    #[inline(always)]
                    |i| lines.ask(i),
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
                half.apply(simd, step, halves, name, gradient, [first, second]);
            },
        );
    }
}

/// Applies the optimizer once to every row that was pushed, with the weighted sum of its gradients.
///
/// # Errors
/// [`KernelError::Shape`] unless every push has a gradient row for each of its places;
/// [`KernelError::Row`] for a place beyond the shard. Nothing has changed then.
pub fn push(
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
    let values = pushes.iter().map(|(_, gradients, _)| gradients.len()).sum();
    // They wake up while the rows are looked at.
    let helpers = call(&busy, values, spec.width);
    if let [(places, gradients, 1.0)] = *pushes {
        let gradients = Gradients::Rows(gradients);
        match places {
            Places::All => {
                apply(helpers, step, spec, shard, DistinctRows::ALL, gradients);
                return Ok(());
            }
            Places::Listed(places) if shard.merger.distinct(spec.name, rows, places)? => {
                apply(
                    helpers,
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
        let gradients = Gradients::Average(Average {
            merge: None,
            pushes,
        });
        apply(helpers, step, spec, shard, DistinctRows::ALL, gradients);
        return Ok(());
    }
    merge::check(spec.name, rows, &places)?;
    if values >= INLINE {
        apply_parts(helpers, step, spec, shard, &places, pushes);
        return Ok(());
    }
    // Out of the shard while the shard's rows are written.
    let mut merger = std::mem::take(&mut shard.merger);
    let merge = merger.merge_sources(0..rows as u32, merge::sources(&places, rows));
    let known = DistinctRows::known(&merge.places);
    let gradients = Gradients::Average(Average {
        merge: Some(merge),
        pushes,
    });
    apply(helpers, step, spec, shard, known, gradients);
    shard.merger = merger;
    Ok(())
}

/// Brings large pushes together and applies them, part by part of the shard.
fn apply_parts(
    helpers: Helpers,
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
        let shared = &SharedRows::new(shard, spec);
        let parts: Vec<Mutex<&mut Part>> = parts.iter_mut().map(Mutex::new).collect();
        helpers.share(parts.len(), 1, |indices| {
            for p in indices {
                // Nobody else has this part.
                let mut part = parts[p].lock().unwrap_or_else(PoisonError::into_inner);
                let Part { sources, merger } = &mut **part;
                let range = p << shift..rows.min((p + 1) << shift);
                let range = range.start as u32..range.end as u32;
                let merge = merger.merge_sources(range, sources.iter().copied());
                let known = DistinctRows::known(&merge.places);
                let gradients = Gradients::Average(Average {
                    merge: Some(merge),
                    pushes,
                });
                let all = 0..merge.places.len();
                // SAFETY: rows of different parts are different, and each part is taken once.
                let block = unsafe { TableBlock::new(shared, known, all) };
                apply_some(step, spec.width, block, gradients);
            }
        });
    }
    shard.parts = parts;
}
