//! `core_matrix`, `core_matrix_backward`: relations and a core → the relations' matrices, and back.
//!
//! A relation's matrix is what its row scores against the rows of the core, so these are the stages
//! that score queries against all entities, `score_all`, `grad_query_all` and
//! `grad_candidates_all`, on what a step has pulled: relations first, the core after them.

use super::grad_candidates_all::grad_candidate_rows;
use super::grad_query_all::{SLICE, grad_query_rows};
use super::params::Params;
use super::recorder::Recorder;
use super::score_all::score_rows;
use super::step::most_slices;
use super::workspace::Workspace;
use crate::device::{DeviceError, Gpu};
use crate::model::Similarity;

const DOT: Similarity = Similarity::Dot;

/// How many relations and core rows have been pulled, and how wide they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Core {
    pub relations: usize,
    pub rows: usize,
    pub width: usize,
}

impl Core {
    /// Makes room for matrices; and for their gradients, where there are some.
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
pub(super) fn core_matrix(
    recorder: &mut Recorder,
    core: Core,
    work: &Workspace,
) -> Result<(), DeviceError> {
    let [rows, matrices] = [&work.relations, &work.matrices].map(|s| s.buffer());
    score_rows(recorder, &core.params(), DOT, [rows, rows, matrices])
}

/// Turns gradients of matrices into those of relations and of the core.
pub(super) fn core_matrix_backward(
    recorder: &mut Recorder,
    gpu: &Gpu,
    core: Core,
    work: &Workspace,
) -> Result<(), DeviceError> {
    let params = &core.params();
    let [rows, d_matrices] = [&work.relations, &work.matrix_gradients].map(|s| s.buffer());
    let [slices, gradients] = [&work.slices, &work.relation_gradients].map(|s| s.buffer());
    let most = (0, core.most_slices(gpu) as u32);
    let buffers = [rows, rows, d_matrices, slices];
    grad_query_rows(recorder, params, DOT, buffers, gradients, most)?;
    let buffers = [rows, rows, d_matrices, gradients];
    grad_candidate_rows(recorder, params, DOT, buffers)
}
