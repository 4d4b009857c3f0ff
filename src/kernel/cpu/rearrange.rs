//! `rearrange`: the rows of a table, states included, in another order and other shards.

use std::sync::{Arc, RwLock};

use rayon::prelude::*;

use super::BLOCK;
use super::memory::prefetch_row;
use super::table::{Shard, Table, View};
use crate::kernel::{Column, ShardLayout, TableSpec};

/// Rows that are asked for ahead of their use.
const AHEAD: usize = 16;

/// A table whose row `i` is row `from[i]` of another. Shards that stay as they are are shared.
pub(super) fn rearrange(table: &Table, layout: &ShardLayout, from: &[u32]) -> Table {
    let spec = TableSpec {
        layout: layout.clone(),
        ..table.spec.clone()
    };
    let view = table.view();
    let shards = (0..layout.shards()).map(|s| {
        let from = &from[layout.range(s)];
        if let Some(kept) = table.spec.layout.shard_of_all(from) {
            return Arc::clone(&table.shards[kept]);
        }
        let mut shard = Shard::new(&spec, s);
        for column in [Column::Values, Column::First, Column::Second] {
            gather(&view, column, from, shard.column_mut(column));
        }
        Arc::new(RwLock::new(shard))
    });
    Table {
        shards: shards.collect(),
        spec,
    }
}

fn gather(table: &View<'_>, column: Column, from: &[u32], out: &mut [f32]) {
    let width = column.width(table.spec);
    if width == 0 {
        return;
    }
    let row = |row: u32| {
        let (shard, place) = table.spec.layout.locate(row);
        &table.shards[shard].column(column)[place * width..][..width]
    };
    out.par_chunks_mut(width * BLOCK)
        .zip(from.par_chunks(BLOCK))
        .for_each(|(out, from)| {
            for (i, (out, &id)) in out.chunks_exact_mut(width).zip(from).enumerate() {
                if let Some(&next) = from.get(i + AHEAD) {
                    prefetch_row(row(next));
                }
                out.copy_from_slice(row(id));
            }
        });
}
