//! `candidate_dropout`: rows as candidates, with dropout.

use rayon::prelude::*;

use crate::kernel::cpu::AlignedVec;
use crate::kernel::cpu::BLOCK;
use crate::kernel::cpu::dropout::Dropout;
use crate::kernel::cpu::stages::scores::candidate_dropout_backward::pulled_candidate_dropout_backward;
use crate::kernel::cpu::table::{Table, TableReadGuard};
use crate::kernel::{Dtype, TableSpec};
use crate::optim::OptimizerKind;

/// A copy of all rows with their masks as candidates, in the memory of the last one if it fits. `names` holds the
/// row that names each row's mask; none if each row names its own.
pub fn candidate_dropout(
    dropout: &Dropout,
    table: &TableReadGuard<'_>,
    names: Option<&[u32]>,
    old: Option<Table>,
) -> Table {
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
            dropout.drop_rows(first + at, names, spec.width, out);
        });
    }
    masked
}

/// The rows `ids`, which have been pulled, with their masks as candidates.
pub fn pulled_candidate_dropout(
    dropout: &Dropout,
    ids: &[u32],
    pulled: &[f32],
    out: &mut AlignedVec,
) {
    let out = out.resize_for_overwrite(pulled.len());
    out.copy_from_slice(pulled);
    pulled_candidate_dropout_backward(dropout, ids, out);
}
