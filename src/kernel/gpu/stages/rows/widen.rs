//! `widen`: a shard that is stored as binary16, as `f32`, for the stages that read all its rows.

use crate::device::{Buffer, DeviceError, Gpu};
use crate::kernel::gpu::Table;
use crate::kernel::gpu::params::Params;
use crate::kernel::gpu::recorder::{Recorder, workgroups};
use crate::kernel::gpu::shape::Values;
use crate::kernel::gpu::source::{GROUP, Stage};
use crate::kernel::gpu::workspace::Workspace;

/// Makes room for the largest shard of a table of binary16. One shard is widened at a time.
pub fn make_widened_room(
    work: &mut Workspace,
    gpu: &Gpu,
    table: &Table,
) -> Result<(), DeviceError> {
    match table.spec.dtype.is_half() {
        true => {
            let values = table.spec.layout.most_rows() * table.spec.width;
            work.widened.room(gpu, values)
        }
        false => Ok(()),
    }
}

/// All rows of a shard as `f32`: the shard's own buffer, or `work.widened`, which the next call
/// overwrites.
pub fn widen<'a>(
    recorder: &mut Recorder,
    table: &'a Table,
    shard: usize,
    work: &'a Workspace,
) -> Result<&'a Buffer, DeviceError> {
    let (spec, values) = (&table.spec, &table.shards[shard].values);
    if !spec.dtype.is_half() {
        return Ok(values);
    }
    let wide = work.widened.buffer();
    let read = Values::of(spec.width);
    let params = Params {
        cells: read.count(spec.width),
        rows: spec.layout.range(shard).len() as u32,
        ..Params::default()
    };
    let invocations = u64::from(params.rows) * u64::from(params.cells);
    recorder.dispatch(
        Stage::Widen(read),
        &params,
        &[values, wide],
        workgroups(invocations, GROUP),
    )?;
    Ok(wide)
}

/// All rows of a shard as candidates: with dropout if there is any, which is applied once a step.
pub fn candidate_rows<'a>(
    recorder: &mut Recorder,
    params: &Params,
    table: &'a Table,
    shard: usize,
    work: &'a Workspace,
) -> Result<&'a Buffer, DeviceError> {
    match params.candidate_threshold {
        0 => widen(recorder, table, shard, work),
        _ => Ok(work.masked[shard].buffer()),
    }
}
