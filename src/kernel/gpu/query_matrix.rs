//! `query_matrix`, `query_matrix_backward` and `grad_matrix`: the operator, and its derivatives,
//! where relations are matrices.

use super::params::Params;
use super::recorder::{Recorder, workgroups};
use super::source::Stage;
use super::workspace::Workspace;
use crate::device::DeviceError;
use crate::model::Model;

/// Values of a query that a workgroup makes, and rows and columns of a tile of a matrix: see the
/// shaders.
const OUTPUTS: u32 = 64;
const TILE: u32 = 64;

/// Makes the step's query vectors from pulled rows and matrices.
pub(super) fn query_matrix(
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

/// Turns ∂loss/∂query into ∂loss/∂entity, beside it.
pub(super) fn query_matrix_backward(
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

fn products(params: &Params) -> u32 {
    let blocks = params.width.div_ceil(OUTPUTS);
    workgroups(u64::from(params.queries) * u64::from(blocks), 1)
}

/// Adds up the gradients of unique relations, which `params` lists.
pub(super) fn grad_matrix(
    recorder: &mut Recorder,
    params: &Params,
    model: Model,
    work: &Workspace,
) -> Result<(), DeviceError> {
    let blocks = u64::from(params.width.div_ceil(TILE));
    recorder.dispatch(
        Stage::GradMatrix,
        params,
        &[
            work.plan.buffer(),
            work.entities.buffer(),
            work.d_queries.buffer(),
            work.operand_gradients(model),
        ],
        workgroups(u64::from(params.items) * blocks * blocks, 1),
    )
}
