//! `rearrange`: the rows of a table, states included, in another order and other shards.

use std::sync::{Arc, RwLock};

use rayon::prelude::*;

use crate::kernel::cpu::BLOCK;
use crate::kernel::cpu::table::prefetch::{L1, prefetch};
use crate::kernel::cpu::table::{Shard, Table, TableReadGuard};
use crate::kernel::{Column, ShardLayout, TableSpec};

/// Rows that are prefetched ahead of their use.
const PREFETCH_ROWS: usize = 16;

/// A table whose row `i` is row `from[i]` of another. Shards that stay as they are are shared.
pub fn rearrange(table: &Table, layout: &ShardLayout, from: &[u32]) -> Table {
    let spec = TableSpec {
        layout: layout.clone(),
        ..table.spec.clone()
    };
    let rows = table.read();
    let shards = (0..layout.shards()).map(|s| {
        let from = &from[layout.range(s)];
        if let Some(kept) = table.spec.layout.shard_of_all(from) {
            return Arc::clone(&table.shards[kept]);
        }
        let mut shard = Shard::new(&spec, s);
        for column in [Column::Values, Column::First, Column::Second] {
            let out = shard.column_mut(column);
            let width = if out.is_empty() {
                0
            } else {
                column.width(&spec)
            };
            gather(&rows, width, |shard| shard.column(column), from, out);
        }
        if spec.dtype.is_half() {
            let out = &mut shard.halves;
            gather(&rows, spec.width, |shard| &shard.halves, from, out);
        }
        if spec.dtype.is_stochastic() {
            let mut names = vec![0; from.len()];
            gather(&rows, 1, |shard| &shard.names, from, &mut names);
            shard.names = names.into();
        }
        Arc::new(RwLock::new(shard))
    });
    Table {
        shards: shards.collect(),
        spec,
    }
}

/// Copies rows of `width` elements of the column that `of` returns of each shard.
fn gather<T: Copy + Send + Sync>(
    table: &TableReadGuard<'_>,
    width: usize,
    of: impl Fn(&Shard) -> &[T] + Sync,
    from: &[u32],
    out: &mut [T],
) {
    if width == 0 {
        return;
    }
    let row = |row: u32| {
        let (shard, place) = table.spec.layout.locate(row);
        &of(&table.shards[shard])[place * width..][..width]
    };
    out.par_chunks_mut(width * BLOCK)
        .zip(from.par_chunks(BLOCK))
        .for_each(|(out, from)| {
            for (i, (out, &id)) in out.chunks_exact_mut(width).zip(from).enumerate() {
                if let Some(&next) = from.get(i + PREFETCH_ROWS) {
                    prefetch::<_, L1>(row(next));
                }
                out.copy_from_slice(row(id));
            }
        });
}
