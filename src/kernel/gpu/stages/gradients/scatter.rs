//! `scatter`: adds unique rows' gradients into the gradients of whole shards.

use crate::device::DeviceError;
use crate::kernel::gpu::Table;
use crate::kernel::gpu::params::Params;
use crate::kernel::gpu::recorder::{Recorder, workgroups};
use crate::kernel::gpu::shape::Values;
use crate::kernel::gpu::source::{GROUP, Stage};
use crate::kernel::gpu::workspace::Workspace;

/// Adds the gradients of the ascending rows `ids`; `params.at_ids` is their place in the plan.
pub fn scatter(
    recorder: &mut Recorder,
    params: &Params,
    table: &Table,
    ids: &[u32],
    work: &Workspace,
) -> Result<(), DeviceError> {
    let values = Values::of(table.spec.width);
    let cells = values.count(table.spec.width);
    for (s, gradients) in work
        .shard_gradients
        .iter()
        .enumerate()
        .take(table.shards.len())
    {
        let stretch = table.spec.layout.stretch(s, ids);
        let params = Params {
            cells,
            base: table.spec.layout.range(s).start as u32,
            item_first: stretch.start as u32,
            items: stretch.len() as u32,
            ..*params
        };
        let invocations = u64::from(params.items) * u64::from(cells);
        recorder.dispatch(
            Stage::Scatter(values),
            &params,
            &[
                work.plan.buffer(),
                work.entity_gradients.buffer(),
                gradients.buffer(),
            ],
            workgroups(invocations, GROUP),
        )?;
    }
    Ok(())
}
