//! `pull`: gathers rows from the shards.

use std::sync::{Mutex, PoisonError};

use crate::kernel::cpu::parallel::{Busy, share};
use crate::kernel::cpu::stages::tables::update::INLINE;
use crate::kernel::cpu::table::View;

/// Rows that are asked for ahead of their use.
const AHEAD: usize = 16;
/// Rows that a thread takes at a time: many more than are asked for ahead.
const BLOCK: usize = 256;

/// Copies the rows `ids` of a table, one after another, into `out` (`ids.len()` × width).
pub fn pull(table: &View<'_>, ids: &[u32], out: &mut [f32]) {
    let width = table.spec.width;
    let worth = out.len() >= INLINE;
    let blocks = out.chunks_mut(width * BLOCK).zip(ids.chunks(BLOCK));
    let blocks: Vec<_> = blocks.map(Mutex::new).collect();
    share(&Busy::enter(), blocks.len(), 1, worth, |range| {
        for block in &blocks[range] {
            // Nobody else has this block.
            let (out, ids) = &mut *block.lock().unwrap_or_else(PoisonError::into_inner);
            let ask = |id: &u32| table.prefetch(*id);
            ids.iter().take(AHEAD).for_each(ask);
            for (i, (row, &id)) in out.chunks_exact_mut(width).zip(ids.iter()).enumerate() {
                ids.get(i + AHEAD).into_iter().for_each(ask);
                table.copy_row(id, row);
            }
        }
    });
}
