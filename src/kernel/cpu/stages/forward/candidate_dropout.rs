//! `candidate_dropout`: rows as candidates, with dropout; `candidate_dropout_backward`: the same mask
//! on the gradients of candidates.

use rayon::prelude::*;

use crate::kernel::cpu::BLOCK;
use crate::kernel::cpu::Values;
use crate::kernel::cpu::dropout::Dropout;
use crate::kernel::cpu::table::{Table, View};
use crate::kernel::{Dtype, ShardLayout, TableSpec};
use crate::optim::OptimizerKind;

/// A copy of all rows with their masks as candidates, in the memory of the last one if it fits.
pub fn candidate_dropout(dropout: &Dropout, table: &View<'_>, old: Option<Table>) -> Table {
    let spec = TableSpec {
        dtype: Dtype::F32,
        // A copy is never updated: it needs no optimizer's state.
        optimizer: OptimizerKind::Sgd,
        ..table.spec.clone()
    };
    let fits = |old: &Table| old.spec.layout == spec.layout && old.spec.width == spec.width;
    let masked = match old.filter(fits) {
        Some(old) => old,
        None => Table::new(&spec, &mut |_, _| {}),
    };
    for s in 0..table.shards.len() {
        let first = spec.layout.range(s).start;
        let shard = &mut *masked.shard_mut(s);
        let blocks = shard.values.par_chunks_mut(BLOCK * spec.width).enumerate();
        blocks.for_each(|(b, out)| {
            let (at, mut wide) = (b * BLOCK, Vec::new());
            let rows = at..at + out.len() / spec.width;
            out.copy_from_slice(table.rows(s, rows, &mut wide));
            drop_rows(dropout, spec.width, (first + at) as u32.., out);
        });
    }
    masked
}

/// The rows `ids`, which have been pulled, with their masks as candidates.
pub fn pulled_candidate_dropout(dropout: &Dropout, ids: &[u32], pulled: &[f32], out: &mut Values) {
    let out = out.room(pulled.len());
    out.copy_from_slice(pulled);
    pulled_candidate_dropout_backward(dropout, ids, out);
}

/// Masks gradients of the rows `ids`.
pub fn pulled_candidate_dropout_backward(dropout: &Dropout, ids: &[u32], gradients: &mut [f32]) {
    let width = (gradients.len() / ids.len().max(1)).max(1);
    let blocks = gradients.par_chunks_mut(BLOCK * width);
    blocks.zip(ids.par_chunks(BLOCK)).for_each(|(rows, ids)| {
        drop_rows(dropout, width, ids.iter().copied(), rows);
    });
}

/// Masks the gradients of all rows, one slice a shard.
pub fn candidate_dropout_backward(
    dropout: &Dropout,
    layout: &ShardLayout,
    width: usize,
    gradients: &mut [Values],
) {
    for (s, gradient) in gradients.iter_mut().enumerate() {
        let first = layout.range(s).start;
        let blocks = gradient.par_chunks_mut(BLOCK * width).enumerate();
        blocks.for_each(|(b, rows)| {
            drop_rows(dropout, width, (first + b * BLOCK) as u32.., rows);
        });
    }
}

fn drop_rows(
    dropout: &Dropout,
    width: usize,
    ids: impl IntoIterator<Item = u32>,
    rows: &mut [f32],
) {
    for (row, values) in ids.into_iter().zip(rows.chunks_exact_mut(width)) {
        dropout.drop_candidate(row, values);
    }
}
