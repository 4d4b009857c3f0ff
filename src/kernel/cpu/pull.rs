//! `pull`: gathers rows from the shards.

use rayon::prelude::*;

use super::memory::prefetch_row;
use super::table::View;

/// Rows that are asked for ahead of their use.
const AHEAD: usize = 16;

/// Copies the rows `ids` of a table, one after another, into `out` (`ids.len()` × width).
pub(super) fn pull(table: &View<'_>, ids: &[u32], out: &mut [f32]) {
    let width = table.spec.width;
    out.par_chunks_mut(width * super::BLOCK)
        .zip(ids.par_chunks(super::BLOCK))
        .for_each(|(out, ids)| {
            for (i, (row, &id)) in out.chunks_exact_mut(width).zip(ids).enumerate() {
                if let Some(&next) = ids.get(i + AHEAD) {
                    prefetch_row(table.row(next));
                }
                row.copy_from_slice(table.row(id));
            }
        });
}
