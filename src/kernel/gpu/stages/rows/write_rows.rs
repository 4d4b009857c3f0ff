//! `write_rows`: replaces rows of a table.

use crate::device::{Buffer, DeviceError};
use crate::kernel::gpu::Table;
use crate::kernel::gpu::params::Params;
use crate::kernel::gpu::recorder::{Recorder, workgroups};
use crate::kernel::gpu::shape::Values;
use crate::kernel::gpu::source::{GROUP, Stage};

/// Replaces the rows of the first `items` ids in `plan` by the rows in `rows`.
pub fn write_rows(
    recorder: &mut Recorder,
    table: &Table,
    items: usize,
    plan: &Buffer,
    rows: &Buffer,
) -> Result<(), DeviceError> {
    let values = Values::of(table.spec.width);
    let cells = values.count(table.spec.width);
    for (s, shard) in table.shards.iter().enumerate() {
        let range = table.spec.layout.range(s);
        let params = Params {
            cells,
            base: range.start as u32,
            rows: range.len() as u32,
            items: items as u32,
            ..Params::default()
        };
        let dtype = table.spec.dtype.nearest();
        let invocations = items as u64 * u64::from(values.owners(cells, dtype));
        let count = if range.is_empty() {
            0
        } else {
            workgroups(invocations, GROUP)
        };
        let buffers = [plan, rows, &shard.values];
        recorder.dispatch(Stage::WriteRows(values, dtype), &params, &buffers, count)?;
    }
    Ok(())
}
