//! `pull`: gathers rows from the shards of a table.

use std::ops::Range;

use crate::device::{Buffer, DeviceError};
use crate::kernel::gpu::Table;
use crate::kernel::gpu::params::Params;
use crate::kernel::gpu::recorder::{Recorder, workgroups};
use crate::kernel::gpu::shape::Values;
use crate::kernel::gpu::source::{GROUP, Stage};

/// Gathers the rows `ids` into `gathered`, in their order. `params.at_ids` is their place in `plan`.
pub fn pull(
    recorder: &mut Recorder,
    params: &Params,
    table: &Table,
    ids: &[u32],
    plan: &Buffer,
    gathered: &Buffer,
) -> Result<(), DeviceError> {
    let ascending = ids.is_sorted();
    for s in 0..table.shards.len() {
        let stretch = if ascending {
            table.spec.layout.stretch(s, ids)
        } else {
            0..ids.len()
        };
        if !table.spec.layout.range(s).is_empty() {
            pull_stretch(recorder, params, table, s, stretch, plan, gathered)?;
        }
    }
    Ok(())
}

/// Gathers the rows of one shard among a stretch of the list of ids.
pub fn pull_stretch(
    recorder: &mut Recorder,
    params: &Params,
    table: &Table,
    shard: usize,
    stretch: Range<usize>,
    plan: &Buffer,
    gathered: &Buffer,
) -> Result<(), DeviceError> {
    let values = Values::of(table.spec.width);
    let cells = values.count(table.spec.width);
    let range = table.spec.layout.range(shard);
    let params = Params {
        cells,
        base: range.start as u32,
        rows: range.len() as u32,
        item_first: stretch.start as u32,
        items: stretch.len() as u32,
        ..*params
    };
    let invocations = stretch.len() as u64 * u64::from(cells);
    recorder.dispatch(
        Stage::Pull(values, table.spec.dtype.nearest()),
        &params,
        &[plan, &table.shards[shard].values, gathered],
        workgroups(invocations, GROUP),
    )
}
