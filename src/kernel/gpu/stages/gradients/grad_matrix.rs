//! `grad_matrix`: every unique relation that is a matrix adds up the outer products of its queries.

use crate::device::DeviceError;
use crate::kernel::gpu::params::Params;
use crate::kernel::gpu::recorder::{Recorder, workgroups};
use crate::kernel::gpu::source::Stage;
use crate::kernel::gpu::workspace::Workspace;
use crate::model::Model;

/// Rows and columns of a tile of a matrix, the same as in the shader.
const TILE: u32 = 64;

/// Adds up the gradients of unique relations, which `params` lists.
pub fn grad_matrix(
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
