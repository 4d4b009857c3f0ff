//! Pushed gradients.

use std::sync::{Mutex, PoisonError};

use crate::kernel::cpu::engine::Engine;
use crate::kernel::cpu::gradients::values;
use crate::kernel::cpu::parallel::{Activity, Helpers};
use crate::kernel::cpu::stages::updates::update::{
    Average, Gradients, INLINE, WeightedRows, apply, apply_some, request_helpers,
};
use crate::kernel::cpu::table::distinct_rows::{DistinctRows, TableBlock};
use crate::kernel::cpu::table::shared_rows::SharedRows;
use crate::kernel::cpu::table::{Part, Shard, Table};
use crate::kernel::engine::PushEngine;
use crate::kernel::merge;
use crate::kernel::{KernelError, Places, Push, TableSpec};
use crate::optim::OptimizerStep;

/// Number of parts that a shard has for a large push: enough to share evenly.
const PARTS: usize = 8;

/// A push of one worker to a shard, in main memory.
#[derive(Clone, Copy)]
struct PushedRows<'a> {
    places: Places<'a>,
    gradients: WeightedRows<'a>,
}

impl PushEngine for Engine {
    fn push(
        &self,
        step: OptimizerStep,
        table: &Table,
        shard: usize,
        pushes: &[Push<'_>],
    ) -> Result<(), KernelError> {
        let pushes = pushes.iter().map(|push| {
            Ok(PushedRows {
                places: push.places,
                gradients: WeightedRows {
                    rows: values(push.gradients)?,
                    weight: push.weight,
                },
            })
        });
        let pushes = pushes.collect::<Result<Vec<_>, KernelError>>()?;
        push_rows(step, table, shard, &pushes)
    }

    fn push_rows(
        &self,
        step: OptimizerStep,
        table: &Table,
        shard: usize,
        places: Places<'_>,
        gradients: &[f32],
    ) -> Result<(), KernelError> {
        let gradients = WeightedRows {
            rows: gradients,
            weight: 1.0,
        };
        push_rows(step, table, shard, &[PushedRows { places, gradients }])
    }
}

/// Applies the optimizer once to every row that was pushed, with the weighted sum of its gradients.
///
/// # Errors
/// [`KernelError::Shape`] unless every push has a gradient row for each of its places;
/// [`KernelError::Row`] for a place beyond the shard. Nothing has changed then.
fn push_rows(
    step: OptimizerStep,
    table: &Table,
    shard: usize,
    pushes: &[PushedRows<'_>],
) -> Result<(), KernelError> {
    let spec = &table.spec;
    let rows = spec.layout.range(shard).len();
    for push in pushes {
        let expected = push.places.count(rows) * spec.width;
        KernelError::check_shape("gradients", expected, push.gradients.rows.len())?;
    }
    if pushes.is_empty() {
        return Ok(());
    }
    let shard = &mut *table.shard_mut(shard);
    let activity = Activity::start();
    let values = pushes.iter().map(|push| push.gradients.rows.len()).sum();
    // Other threads wake up while this one checks the rows.
    let helpers = request_helpers(&activity, values, spec.width);
    if let [push] = *pushes
        && push.gradients.weight == 1.0
    {
        let gradients = Gradients::Rows(push.gradients.rows);
        match push.places {
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
    let places: Vec<Places<'_>> = pushes.iter().map(|push| push.places).collect();
    let parts: Vec<WeightedRows<'_>> = pushes.iter().map(|push| push.gradients).collect();
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
    pushes: &[WeightedRows<'_>],
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
        helpers.run(parts.len(), 1, |indices| {
            for p in indices {
                // Uncontended: every part is one thread's.
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
