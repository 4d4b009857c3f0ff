//! `pull`: gathers rows from the shards.

use std::sync::{Mutex, PoisonError};

use crate::kernel::cpu::parallel::for_each_block;
use crate::kernel::cpu::stages::updates::update::INLINE;
use crate::kernel::cpu::table::TableReadGuard;

/// Rows that are prefetched ahead of their use.
const PREFETCH_ROWS: usize = 16;
/// Rows that a thread takes at a time: many more than are prefetched ahead.
const BLOCK: usize = 256;

/// Copies the rows `ids` of a table, one after another, into `out` (`ids.len()` × width).
pub fn pull(table: &TableReadGuard<'_>, ids: &[u32], out: &mut [f32]) {
    let width = table.spec.width;
    let worth = out.len() >= INLINE;
    let blocks = out.chunks_mut(width * BLOCK).zip(ids.chunks(BLOCK));
    let blocks: Vec<_> = blocks.map(Mutex::new).collect();
    for_each_block(blocks.len(), 1, worth, |range| {
        for block in &blocks[range] {
            // Uncontended: every block is one thread's.
            let (out, ids) = &mut *block.lock().unwrap_or_else(PoisonError::into_inner);
            let prefetch = |id: &u32| table.prefetch(*id);
            ids.iter().take(PREFETCH_ROWS).for_each(prefetch);
            for (i, (row, &id)) in out.chunks_exact_mut(width).zip(ids.iter()).enumerate() {
                ids.get(i + PREFETCH_ROWS).into_iter().for_each(prefetch);
                table.copy_row(id, row);
            }
        }
    });
}
