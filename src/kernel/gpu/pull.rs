//! `pull`: gathers rows from the shards of a table.

use std::ops::Range;

use super::Table;
use super::params::Params;
use super::recorder::{Recorder, workgroups};
use super::shape::Values;
use super::source::{GROUP, Stage};
use crate::device::{Buffer, DeviceError};

/// Gathers the rows of `ids`, which lie in `plan` where `params` says, into `gathered`, in their
/// order.
pub(super) fn pull(
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
            pull_stretch(recorder, params, table, s, stretch, [plan, gathered])?;
        }
    }
    Ok(())
}

/// Gathers those rows of one stretch of the list that lie in one shard.
pub(super) fn pull_stretch(
    recorder: &mut Recorder,
    params: &Params,
    table: &Table,
    s: usize,
    stretch: Range<usize>,
    [plan, gathered]: [&Buffer; 2],
) -> Result<(), DeviceError> {
    let values = Values::of(table.spec.width);
    let cells = values.count(table.spec.width);
    let range = table.spec.layout.range(s);
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
        &[plan, &table.shards[s].values, gathered],
        workgroups(invocations, GROUP),
    )
}
