//! `update`: the optimizer, on the touched rows or on all rows of a table.

use super::Table;
use super::params::{NONE, Params};
use super::recorder::{Recorder, workgroups};
use super::shape::Values;
use super::source::{GROUP, Pushed, Stage};
use super::table::Shard;
use crate::device::{Buffer, DeviceError};
use crate::optim::{OptimizerKind, OptimizerStep};

/// Applies one gradient row for each of the ascending rows `ids`, which lie in `plan` where `params`
/// says.
pub(super) fn update_sparse(
    recorder: &mut Recorder,
    params: &Params,
    step: OptimizerStep,
    table: &Table,
    ids: &[u32],
    [plan, gradients]: [&Buffer; 2],
) -> Result<(), DeviceError> {
    for (s, shard) in table.shards.iter().enumerate() {
        let stretch = table.spec.layout.stretch(s, ids);
        let params = Params {
            base: table.spec.layout.range(s).start as u32,
            item_first: stretch.start as u32,
            items: stretch.len() as u32,
            ..*params
        };
        update(
            recorder,
            params,
            step,
            table.spec.width,
            shard,
            ([plan, gradients], Pushed::Rows),
        )?;
    }
    Ok(())
}

/// Applies a gradient row to every row of a shard.
pub(super) fn update_dense(
    recorder: &mut Recorder,
    params: &Params,
    step: OptimizerStep,
    table: &Table,
    shard: usize,
    [plan, gradients]: [&Buffer; 2],
) -> Result<(), DeviceError> {
    let params = Params {
        at_ids: NONE,
        item_first: 0,
        items: table.spec.layout.range(shard).len() as u32,
        ..*params
    };
    let gradients = ([plan, gradients], Pushed::Rows);
    update(
        recorder,
        params,
        step,
        table.spec.width,
        &table.shards[shard],
        gradients,
    )
}

/// Applies the optimizer to rows of a shard; `params` says which, and `pushed` what `gradients` are.
pub(super) fn update(
    recorder: &mut Recorder,
    params: Params,
    step: OptimizerStep,
    width: usize,
    shard: &Shard,
    ([plan, gradients], pushed): ([&Buffer; 2], Pushed),
) -> Result<(), DeviceError> {
    let values = Values::of(width);
    let cells = values.count(width);
    let params = Params {
        width: width as u32,
        cells,
        rate: step.rate,
        salt: step.salt,
        ..params
    };
    let mut buffers = vec![plan, gradients, &shard.values];
    buffers.extend(&shard.states);
    buffers.extend(&shard.names);
    let group = group(step.kind, cells);
    let workgroups = match step.kind {
        // One workgroup a row.
        OptimizerKind::RowAdagrad => params.items,
        _ => {
            let owners = values.owners(cells, shard.dtype);
            let invocations = u64::from(params.items) * u64::from(owners);
            workgroups(invocations, group)
        }
    };
    let stage = Stage::Update(step.kind, values, group, pushed, shard.dtype);
    recorder.dispatch(stage, &params, &buffers, workgroups)
}

/// The invocations of a workgroup where rows have `cells` cells.
pub(super) fn group(kind: OptimizerKind, cells: u32) -> u32 {
    match kind {
        // No larger than the row keeps busy.
        OptimizerKind::RowAdagrad => cells.next_power_of_two().clamp(32, GROUP),
        _ => GROUP,
    }
}
