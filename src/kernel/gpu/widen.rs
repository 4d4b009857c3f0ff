//! `widen`: a shard that is stored as binary16, as `f32`, for the stages that want all its rows.

use super::Table;
use super::params::Params;
use super::recorder::{Recorder, workgroups};
use super::shape::Values;
use super::source::{GROUP, Stage};
use super::workspace::Workspace;
use crate::device::{Buffer, DeviceError, Gpu};

/// Makes room for the largest shard of a table of binary16. One shard is widened at a time.
pub(super) fn make_room(work: &mut Workspace, gpu: &Gpu, table: &Table) -> Result<(), DeviceError> {
    match table.spec.dtype.is_half() {
        true => {
            let values = table.spec.layout.most_rows() * table.spec.width;
            work.widened.room(gpu, values)
        }
        false => Ok(()),
    }
}

/// All rows of a shard as `f32`: where they are, or widened until the next call.
pub(super) fn widen<'a>(
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
    let stage = Stage::Widen(read);
    recorder.dispatch(
        stage,
        &params,
        &[values, wide],
        workgroups(invocations, GROUP),
    )?;
    Ok(wide)
}

/// All rows of a shard as candidates: with dropout if there is any, which is made once a step.
pub(super) fn candidate_rows<'a>(
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
