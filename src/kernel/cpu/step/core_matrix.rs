//! `core_matrix`, `core_matrix_backward`: relations and a core → the relations' matrices, and back.

use rayon::prelude::*;

use crate::kernel::cpu::AlignedVec;
use crate::kernel::cpu::matmul::{Matrix, Out};
use crate::kernel::cpu::stages::rows::pull::pull;
use crate::kernel::cpu::table::TableReadGuard;

/// Rows of the core, and the fewest relations, that one task works on. No sum depends on how many.
const ROWS: usize = 512;
const RELATIONS: usize = 16;

/// Buffers of models with a core.
#[derive(Debug, Default)]
pub struct Core {
    /// Pulled rows: relations, then the core.
    pub rows: AlignedVec,
    /// ∂loss/∂matrix of every relation.
    pub gradients: AlignedVec,
}

impl Core {
    /// Pulls relations and core rows, `ids`, and makes the relations' matrices.
    pub fn matrices(
        &mut self,
        table: &TableReadGuard<'_>,
        ids: &[u32],
        core_rows: usize,
        matrices: &mut AlignedVec,
    ) {
        let width = table.spec.width;
        pull(
            table,
            ids,
            self.rows.resize_for_overwrite(ids.len() * width),
        );
        self.multiply(width, core_rows, matrices);
    }

    /// Makes the matrices of the relations in [`Core::rows`].
    pub fn multiply(&self, width: usize, core_rows: usize, matrices: &mut AlignedVec) {
        let own = self.rows.len() / width - core_rows;
        let (relations, core) = self.rows.split_at(own * width);
        core_matrix(
            relations,
            core,
            width,
            matrices.resize_for_overwrite(own * core_rows),
        );
    }
}

/// Overwrites `matrices`, relations × rows of the core, with their dot products.
pub fn core_matrix(relations: &[f32], core: &[f32], width: usize, matrices: &mut [f32]) {
    let cells = core.len() / width;
    let core = Matrix::new(core, width).transposed();
    // As few tasks as there are threads, since each packs the core.
    let some = relations.len() / width;
    let some = some.div_ceil(rayon::current_num_threads()).max(RELATIONS);
    matrices
        .par_chunks_mut(some * cells)
        .zip(relations.par_chunks(some * width))
        .for_each(|(out, relations)| {
            Out::new(out, cells).product(Matrix::new(relations, width), core);
        });
}

/// Overwrites `gradients`, of relations and then the core as `rows` are, given ∂loss/∂matrix.
pub fn core_matrix_backward(
    rows: &[f32],
    d_matrices: &[f32],
    width: usize,
    core_rows: usize,
    gradients: &mut [f32],
) {
    let own = rows.len() / width - core_rows;
    let (relations, core) = rows.split_at(own * width);
    let (d_relations, d_core) = gradients.split_at_mut(own * width);
    let whole = Matrix::new(core, width);
    let blocks = d_relations.par_chunks_mut(RELATIONS * width);
    blocks
        .zip(d_matrices.par_chunks(RELATIONS * core_rows))
        .for_each(|(out, d_matrices)| {
            Out::new(out, width).product(Matrix::new(d_matrices, core_rows), whole);
        });
    let d_matrices = Matrix::new(d_matrices, core_rows);
    let relations = Matrix::new(relations, width);
    let blocks = d_core.par_chunks_mut(ROWS * width).enumerate();
    blocks.for_each(|(b, out)| {
        let block = b * ROWS..b * ROWS + out.len() / width;
        Out::new(out, width).product(d_matrices.columns(block).transposed(), relations);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model;

    #[test]
    fn products_are_those_of_the_oracle() {
        // Whole numbers, so that sums are exact in any order; blocks of all kinds.
        for (n, width, cells) in [(1, 1, 1), (3, 7, 25), (17, 5, 1030), (33, 2, 2500)] {
            let number = |i: usize| (i * 7 % 11) as f32 - 5.0;
            let rows: Vec<f32> = (0..(n + cells) * width).map(number).collect();
            let d_matrices: Vec<f32> = (3..n * cells + 3).map(number).collect();
            let (relations, core) = rows.split_at(n * width);
            let mut matrices = vec![f32::NAN; n * cells];
            core_matrix(relations, core, width, &mut matrices);
            let mut gradients = vec![f32::NAN; rows.len()];
            core_matrix_backward(&rows, &d_matrices, width, cells, &mut gradients);

            let mut wanted = vec![0.0; rows.len()];
            let (d_relations, d_core) = wanted.split_at_mut(n * width);
            let each = relations.chunks(width).zip(d_relations.chunks_mut(width));
            for (i, (relation, d_relation)) in each.enumerate() {
                let range = i * cells..(i + 1) * cells;
                let mut matrix = vec![f32::NAN; cells];
                model::core_matrix(relation, core, &mut matrix);
                assert_eq!(matrices[range.clone()], matrix);
                let d_matrix = &d_matrices[range];
                model::core_matrix_backward(relation, core, d_matrix, d_relation, d_core);
            }
            assert_eq!(gradients, wanted, "{n} {width} {cells}");
        }
    }
}
