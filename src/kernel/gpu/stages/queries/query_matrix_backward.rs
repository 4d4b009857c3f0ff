//! `query_matrix_backward`: ∂loss/∂query → contributions to entity rows, where relations are matrices.

use super::query_matrix::products;
use crate::device::DeviceError;
use crate::kernel::gpu::params::Params;
use crate::kernel::gpu::recorder::Recorder;
use crate::kernel::gpu::source::Stage;
use crate::kernel::gpu::workspace::Workspace;
use crate::model::Model;

/// Writes ∂loss/∂entity of every query to `work.d_inputs`.
pub fn query_matrix_backward(
    recorder: &mut Recorder,
    params: &Params,
    model: Model,
    work: &Workspace,
) -> Result<(), DeviceError> {
    recorder.dispatch(
        Stage::QueryMatrixBackward,
        params,
        &[
            work.plan.buffer(),
            work.operands(model),
            work.d_queries.buffer(),
            work.d_inputs.buffer(),
        ],
        products(params),
    )
}
