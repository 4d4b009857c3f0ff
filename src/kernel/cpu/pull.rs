//! `pull`: gathers unique rows from the shards.

use rayon::prelude::*;

use super::Table;

/// Copies the rows `ids` of a table, one after another, into `out` (`ids.len()` × width).
pub fn pull(table: &Table, ids: &[u32], out: &mut [f32]) {
    let width = table.spec.width;
    out.par_chunks_mut(width * super::BLOCK)
        .zip(ids.par_chunks(super::BLOCK))
        .for_each(|(out, ids)| {
            for (row, &id) in out.chunks_exact_mut(width).zip(ids) {
                row.copy_from_slice(table.row(id));
            }
        });
}
