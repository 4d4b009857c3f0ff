//! `update`: the optimizer, on the touched rows or on all rows of a table.

use super::update_row_adagrad;
use crate::device::{Buffer, DeviceError};
use crate::kernel::gpu::Table;
use crate::kernel::gpu::params::{NONE, Params};
use crate::kernel::gpu::recorder::{Recorder, workgroups};
use crate::kernel::gpu::shape::Values;
use crate::kernel::gpu::source::{GROUP, Pushed, Stage};
use crate::kernel::gpu::table::Shard;
use crate::optim::{OptimizerKind, OptimizerStep};

/// Gradient rows, and the words that say which rows they belong to.
#[derive(Clone, Copy)]
pub struct Pushes<'a> {
    pub plan: &'a Buffer,
    pub gradients: &'a Buffer,
    pub pushed: Pushed,
}

/// Applies one gradient row to each of the ascending rows `ids`; `params.at_ids` is their place in the
/// plan.
pub fn update_sparse(
    recorder: &mut Recorder,
    params: &Params,
    step: OptimizerStep,
    table: &Table,
    ids: &[u32],
    pushes: Pushes<'_>,
) -> Result<(), DeviceError> {
    for (s, shard) in table.shards.iter().enumerate() {
        let stretch = table.spec.layout.stretch(s, ids);
        let params = Params {
            base: table.spec.layout.range(s).start as u32,
            item_first: stretch.start as u32,
            items: stretch.len() as u32,
            ..*params
        };
        update(recorder, params, step, table.spec.width, shard, pushes)?;
    }
    Ok(())
}

/// Applies a gradient row to every row of a shard.
pub fn update_dense(
    recorder: &mut Recorder,
    params: &Params,
    step: OptimizerStep,
    table: &Table,
    shard: usize,
    pushes: Pushes<'_>,
) -> Result<(), DeviceError> {
    let params = Params {
        at_ids: NONE,
        item_first: 0,
        items: table.spec.layout.range(shard).len() as u32,
        ..*params
    };
    let (width, shard) = (table.spec.width, &table.shards[shard]);
    update(recorder, params, step, width, shard, pushes)
}

/// Applies the optimizer to the rows of a shard in `params`.
pub fn update(
    recorder: &mut Recorder,
    params: Params,
    step: OptimizerStep,
    width: usize,
    shard: &Shard,
    pushes: Pushes<'_>,
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
    let mut buffers = vec![pushes.plan, pushes.gradients, &shard.values];
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
    let stage = Stage::Update(step.kind, values, group, pushes.pushed, shard.dtype);
    recorder.dispatch(stage, &params, &buffers, workgroups)
}

/// Invocations of a workgroup where rows have `cells` cells.
pub fn group(kind: OptimizerKind, cells: u32) -> u32 {
    match kind {
        OptimizerKind::RowAdagrad => update_row_adagrad::group(cells),
        _ => GROUP,
    }
}
