//! `scatter`: adds unique rows' gradients into the gradients of whole shards.

use super::Table;
use super::params::Params;
use super::recorder::{Recorder, workgroups};
use super::shape::Values;
use super::source::{GROUP, Stage};
use super::workspace::Workspace;
use crate::device::DeviceError;

/// Adds the gradients of the ascending rows `ids`, which lie in the plan where `params` says.
pub(super) fn scatter(
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
