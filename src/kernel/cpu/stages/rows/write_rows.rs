//! `write_rows`: replaces rows of a table.

use crate::kernel::cpu::Table;

/// Replaces the rows `ids` by `values`.
pub fn write_rows(table: &Table, ids: &[u32], values: &[f32]) {
    let (layout, width) = (&table.spec.layout, table.spec.width);
    for (&id, values) in ids.iter().zip(values.chunks_exact(width)) {
        let (shard, place) = layout.locate(id);
        table.shard_mut(shard).write_row(place, values);
    }
}
