//! `scatter`: adds unique rows' gradients into the gradients of whole shards.

use crate::kernel::ShardLayout;
use crate::kernel::cpu::AlignedVec;

/// Adds `rows[i]` to the gradient of table row `ids[i]`; ids are distinct.
pub fn scatter(
    layout: &ShardLayout,
    width: usize,
    ids: &[u32],
    rows: &[f32],
    gradients: &mut [AlignedVec],
) {
    for (&id, row) in ids.iter().zip(rows.chunks_exact(width)) {
        let (shard, place) = layout.locate(id);
        for (g, x) in gradients[shard][place * width..][..width]
            .iter_mut()
            .zip(row)
        {
            *g += x;
        }
    }
}
