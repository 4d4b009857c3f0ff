//! `candidate_dropout_backward`: the mask of candidates on their gradients.

use rayon::prelude::*;

use crate::kernel::ShardLayout;
use crate::kernel::cpu::BLOCK;
use crate::kernel::cpu::dropout::Dropout;
use crate::kernel::cpu::table::AlignedVec;

/// Masks gradients of the rows `ids`.
pub fn pulled_candidate_dropout_backward(dropout: &Dropout, ids: &[u32], gradients: &mut [f32]) {
    let width = (gradients.len() / ids.len().max(1)).max(1);
    let blocks = gradients.par_chunks_mut(BLOCK * width);
    blocks.zip(ids.par_chunks(BLOCK)).for_each(|(rows, ids)| {
        dropout.drop_candidates(ids.iter().copied(), width, rows);
    });
}

/// Masks the gradients of all rows, one slice a shard. `names` holds the row that names each row's mask; none if
/// each row names its own.
pub fn candidate_dropout_backward(
    dropout: &Dropout,
    layout: &ShardLayout,
    names: Option<&[u32]>,
    width: usize,
    gradients: &mut [AlignedVec],
) {
    for (s, gradient) in gradients.iter_mut().enumerate() {
        let first = layout.range(s).start;
        let blocks = gradient.par_chunks_mut(BLOCK * width).enumerate();
        blocks.for_each(|(b, rows)| {
            dropout.drop_rows(first + b * BLOCK, names, width, rows);
        });
    }
}
