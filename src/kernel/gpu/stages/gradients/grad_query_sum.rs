//! `grad_query_sum`: adds up the slices of `grad_query_all`.

use crate::device::{Buffer, DeviceError};
use crate::kernel::gpu::params::Params;
use crate::kernel::gpu::recorder::{Recorder, workgroups};
use crate::kernel::gpu::shape::Values;
use crate::kernel::gpu::source::{GROUP, Stage};

/// Adds `count` slices to `d_queries`, in order; overwrites it if `summed` is 0.
pub fn grad_query_sum(
    recorder: &mut Recorder,
    params: &Params,
    slices: &Buffer,
    d_queries: &Buffer,
    summed: u32,
    count: u32,
) -> Result<(), DeviceError> {
    let width = params.width as usize;
    let values = Values::of(width);
    let params = Params {
        cells: values.count(width),
        item_first: summed,
        extra: count,
        ..*params
    };
    let invocations = u64::from(params.count) * u64::from(params.cells);
    recorder.dispatch(
        Stage::GradQuerySum(values),
        &params,
        &[slices, d_queries],
        workgroups(invocations, GROUP),
    )
}
