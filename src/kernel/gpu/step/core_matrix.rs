//! `core_matrix`, `core_matrix_backward`: relations and a core → the relations' matrices, and back.
//!
//! A relation's matrix has the scores of its row against the rows of the core. So the stages are those
//! that score queries against all entities: `score_all`, `grad_query_all` and `grad_candidates_all`,
//! on the rows that a step has pulled, relations first and the core after them.

use super::most_slices;
use crate::device::{DeviceError, Gpu};
use crate::kernel::gpu::params::Params;
use crate::kernel::gpu::recorder::Recorder;
use crate::kernel::gpu::stages::gradients::{
    CandidateGradientBuffers, QueryGradientBuffers, SLICE, Slices, grad_candidate_rows,
    grad_query_rows,
};
use crate::kernel::gpu::stages::scores::{ScoreBuffers, score_rows};
use crate::kernel::gpu::workspace::Workspace;
use crate::model::Similarity;

const DOT: Similarity = Similarity::Dot;

/// Pulled rows of relations and of a core.
#[derive(Clone, Copy, Debug)]
pub struct Core {
    /// Number of relations.
    pub relations: usize,
    /// Number of rows of the core.
    pub rows: usize,
    /// Values of a row.
    pub width: usize,
}

impl Core {
    /// Makes room for matrices and, if `gradients`, for their gradients.
    pub fn make_room(
        self,
        work: &mut Workspace,
        gpu: &Gpu,
        gradients: bool,
    ) -> Result<(), DeviceError> {
        let values = self.relations * self.rows;
        work.matrices.room(gpu, values)?;
        if gradients {
            work.matrix_gradients.room(gpu, values)?;
            let slices = self
                .most_slices(gpu)
                .min(self.rows.div_ceil(SLICE as usize));
            work.slices
                .room(gpu, slices * self.relations * self.width)?;
        }
        Ok(())
    }

    fn most_slices(self, gpu: &Gpu) -> usize {
        most_slices(gpu, self.relations, self.width)
    }

    /// Relations are the queries here, and rows of the core the candidates.
    fn params(self) -> Params {
        Params {
            width: self.width as u32,
            cells: self.width as u32,
            count: self.relations as u32,
            candidates: self.rows as u32,
            rows: self.rows as u32,
            at_rows: self.relations as u32,
            ..Params::default()
        }
    }
}

/// Makes the matrices of pulled relations.
pub fn core_matrix(
    recorder: &mut Recorder,
    core: Core,
    work: &Workspace,
) -> Result<(), DeviceError> {
    let [rows, matrices] = [&work.relations, &work.matrices].map(|s| s.buffer());
    let buffers = ScoreBuffers {
        queries: rows,
        rows,
        scores: matrices,
    };
    score_rows(recorder, &core.params(), DOT, buffers)
}

/// Turns gradients of matrices into those of relations and of the core.
pub fn core_matrix_backward(
    recorder: &mut Recorder,
    gpu: &Gpu,
    core: Core,
    work: &Workspace,
) -> Result<(), DeviceError> {
    let params = &core.params();
    let [rows, d_matrices] = [&work.relations, &work.matrix_gradients].map(|s| s.buffer());
    let gradients = work.relation_gradients.buffer();
    let buffers = QueryGradientBuffers {
        queries: rows,
        rows,
        coefficients: d_matrices,
        slices: work.slices.buffer(),
        d_queries: gradients,
    };
    let slices = Slices {
        summed: 0,
        most: core.most_slices(gpu) as u32,
    };
    grad_query_rows(recorder, params, DOT, buffers, slices)?;
    let buffers = CandidateGradientBuffers {
        queries: rows,
        rows,
        coefficients: d_matrices,
        gradients,
    };
    grad_candidate_rows(recorder, params, DOT, buffers)
}
