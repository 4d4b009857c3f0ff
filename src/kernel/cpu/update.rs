//! `update`: the optimizer, on the touched rows or on all rows of a table.

use rayon::prelude::*;

use super::simd::simd;
use super::{BLOCK, Table};
use crate::kernel::Column;
use crate::optim::OptimizerStep;

/// Rows of a shard that a block of ascending ids falls on, and their optimizer states.
struct Part<'a> {
    /// The table row that `values` starts with.
    base: usize,
    ids: &'a [u32],
    gradients: &'a [f32],
    columns: [&'a mut [f32]; 3],
}

/// Applies one gradient row for each of the ascending rows `ids`.
pub(super) fn update_sparse(
    step: OptimizerStep,
    table: &mut Table,
    ids: &[u32],
    gradients: &[f32],
) {
    let spec = &table.spec;
    let widths = [Column::Values, Column::First, Column::Second].map(|c| c.width(spec));
    let width = spec.width;
    let mut parts = Vec::with_capacity(ids.len() / BLOCK + table.shards.len());
    for (s, shard) in table.shards.iter_mut().enumerate() {
        let stretch = spec.layout.stretch(s, ids);
        let mut rest: [&mut [f32]; 3] = [&mut shard.values, &mut shard.first, &mut shard.second];
        let mut base = spec.layout.range(s).start;
        let blocks = ids[stretch.clone()].chunks(BLOCK);
        let blocks =
            blocks.zip(gradients[stretch.start * width..stretch.end * width].chunks(BLOCK * width));
        for (ids, gradients) in blocks {
            // Ids ascend, so a block's rows end before the next block's begin.
            let end = ids[ids.len() - 1] as usize + 1;
            let mut column = 0;
            let columns = rest.map(|slice| {
                let (part, left) = slice.split_at_mut((end - base) * widths[column]);
                column += 1;
                (part, left)
            });
            let [a, b, c] = columns;
            rest = [a.1, b.1, c.1];
            parts.push(Part {
                base,
                ids,
                gradients,
                columns: [a.0, b.0, c.0],
            });
            base = end;
        }
    }
    parts.into_par_iter().for_each(|part| {
        simd(
            #[inline(always)]
            || {
                let [values, first, second] = part.columns;
                for (&id, gradient) in part.ids.iter().zip(part.gradients.chunks_exact(width)) {
                    let at = id as usize - part.base;
                    step.apply(
                        &mut values[at * widths[0]..][..widths[0]],
                        gradient,
                        &mut first[at * widths[1]..][..widths[1]],
                        &mut second[at * widths[2]..][..widths[2]],
                    );
                }
            },
        );
    });
}

/// Applies a gradient row to every row of a table; `gradients` has a slice for every shard.
pub(super) fn update_dense(step: OptimizerStep, table: &mut Table, gradients: &[Vec<f32>]) {
    let spec = &table.spec;
    let [values, first, second] =
        [Column::Values, Column::First, Column::Second].map(|c| c.width(spec));
    for (shard, gradient) in table.shards.iter_mut().zip(gradients) {
        // Optimizers without a state get empty slices; `max(1)` keeps the chunk size legal.
        let rows = gradient.len() / values;
        let mut blocks: Vec<_> = Vec::with_capacity(rows.div_ceil(BLOCK));
        let (mut v, mut f, mut s) = (
            &mut shard.values[..],
            &mut shard.first[..],
            &mut shard.second[..],
        );
        for gradient in gradient.chunks(BLOCK * values) {
            let n = gradient.len() / values;
            let (v0, v1) = v.split_at_mut(n * values);
            let (f0, f1) = f.split_at_mut(n * first);
            let (s0, s1) = s.split_at_mut(n * second);
            (v, f, s) = (v1, f1, s1);
            blocks.push((gradient, v0, f0, s0));
        }
        blocks.into_par_iter().for_each(|(gradient, v, f, s)| {
            simd(
                #[inline(always)]
                || {
                    for (i, gradient) in gradient.chunks_exact(values).enumerate() {
                        step.apply(
                            &mut v[i * values..][..values],
                            gradient,
                            &mut f[i * first..][..first],
                            &mut s[i * second..][..second],
                        );
                    }
                },
            );
        });
    }
}
