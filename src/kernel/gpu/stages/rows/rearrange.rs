//! `rearrange`: copies rows of one shard to places in another.

use std::ops::Range;

use crate::device::{Buffer, DeviceError};
use crate::kernel::gpu::params::Params;
use crate::kernel::gpu::recorder::{Recorder, workgroups};
use crate::kernel::gpu::shape::Values;
use crate::kernel::gpu::source::{GROUP, Stage};

/// Copies rows of `words` words. `places` has pairs of places, from and to; the dispatch takes the
/// pairs `moves`.
pub fn rearrange(
    recorder: &mut Recorder,
    places: &Buffer,
    moves: Range<usize>,
    words: usize,
    from: &Buffer,
    to: &Buffer,
) -> Result<(), DeviceError> {
    let values = Values::of(words);
    let params = Params {
        cells: values.count(words),
        item_first: moves.start as u32,
        items: moves.len() as u32,
        ..Params::default()
    };
    let invocations = moves.len() as u64 * u64::from(params.cells);
    recorder.dispatch(
        Stage::Rearrange(values),
        &params,
        &[places, from, to],
        workgroups(invocations, GROUP),
    )
}
