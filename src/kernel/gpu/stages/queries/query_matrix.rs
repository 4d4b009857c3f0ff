//! `query_matrix`: the operator where relations are matrices.

use crate::device::DeviceError;
use crate::kernel::gpu::params::Params;
use crate::kernel::gpu::recorder::{Recorder, workgroups};
use crate::kernel::gpu::source::Stage;
use crate::kernel::gpu::workspace::Workspace;
use crate::model::Model;

/// Values of a query that a workgroup computes, the same as in `shaders/shared/matrix_product.wgsl`.
const OUTPUTS: u32 = 64;

/// Makes the step's query vectors from pulled rows and matrices.
pub fn query_matrix(
    recorder: &mut Recorder,
    params: &Params,
    model: Model,
    work: &Workspace,
) -> Result<(), DeviceError> {
    recorder.dispatch(
        Stage::QueryMatrix,
        params,
        &[
            work.plan.buffer(),
            work.operands(model),
            work.entities.buffer(),
            work.queries.buffer(),
        ],
        products(params),
    )
}

/// Workgroups of a product for every query.
pub(super) fn products(params: &Params) -> u32 {
    let blocks = params.width.div_ceil(OUTPUTS);
    workgroups(u64::from(params.queries) * u64::from(blocks), 1)
}
