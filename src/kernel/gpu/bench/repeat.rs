//! Copies, gathers and updates that are recorded many times and submitted once.

use std::ops::Range;

use crate::device::{Buffer, DeviceError, Gpu};
use crate::kernel::gpu::params::Params;
use crate::kernel::gpu::recorder::ValuesAt;
use crate::kernel::gpu::source::Pushed;
use crate::kernel::gpu::stages::rows::pull_stretch;
use crate::kernel::gpu::stages::updates::{Pushes, update};
use crate::kernel::gpu::{Engine, Recorder, Table};
use crate::kernel::{KernelError, TableSpec};
use crate::optim::OptimizerStep;

/// Commands of one submission: recorded commands take memory until they have run.
const SUBMITTED: usize = 1024;

/// Rows of a table and a gradient for each, in the device's memory.
#[derive(Debug)]
pub struct RowBatch {
    /// For each shard, its rows among the rows of the batch.
    stretches: Vec<Range<usize>>,
    words: Buffer,
    gradients: Buffer,
    gathered: Buffer,
}

/// Two buffers of one size.
#[derive(Debug)]
pub struct CopyPair {
    from: Buffer,
    to: Buffer,
}

impl RowBatch {
    /// Rows that the last gather wrote.
    #[cfg(test)]
    pub(crate) fn read_gathered(&self, gpu: &Gpu) -> Result<Vec<f32>, KernelError> {
        Ok(gpu.read(&self.gathered, 0, self.gathered.size() as usize / 4)?)
    }
}

impl CopyPair {
    /// Two buffers of `bytes` bytes, or of as many as one binding may have.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn new(gpu: &Gpu, bytes: u64) -> Result<CopyPair, KernelError> {
        let bytes = bytes.min(gpu.binding_limit());
        Ok(CopyPair {
            from: gpu.storage("copied from", bytes)?,
            to: gpu.storage("copied to", bytes)?,
        })
    }

    /// Bytes of each buffer.
    pub fn bytes(&self) -> u64 {
        self.from.size()
    }
}

impl Engine {
    /// Uploads `rows`, which are in the order of shards, and a gradient row for each. `stretches` has the
    /// range of every shard among them.
    pub(crate) fn row_batch(
        &self,
        spec: &TableSpec,
        rows: &[u32],
        stretches: Vec<Range<usize>>,
        gradients: &[f32],
    ) -> Result<RowBatch, KernelError> {
        let values = rows.len() * spec.width;
        let buffer = |label, values: usize| self.gpu.storage(label, (values * 4).max(4) as u64);
        let batch = RowBatch {
            words: buffer("rows", rows.len())?,
            gradients: buffer("gradients", values)?,
            gathered: buffer("gathered rows", values)?,
            stretches,
        };
        self.gpu.write(&batch.words, 0, rows)?;
        self.gpu.write(&batch.gradients, 0, gradients)?;
        Ok(batch)
    }

    /// Applies the optimizer to `times` batches, taken in turn, and waits. Returns the seconds that
    /// it took by the device's clock, if it has one.
    pub(crate) fn repeat_update(
        &self,
        step: OptimizerStep,
        table: &Table,
        batches: &[&RowBatch],
        times: usize,
    ) -> Result<Option<f64>, KernelError> {
        let spec = &table.spec;
        self.repeat(times, |recorder, i| {
            let Some(batch) = batches.get(i % batches.len().max(1)) else {
                return Ok(());
            };
            for (s, stretch) in batch.stretches.iter().enumerate() {
                let params = Params {
                    base: spec.layout.range(s).start as u32,
                    item_first: stretch.start as u32,
                    items: stretch.len() as u32,
                    ..Params::default()
                };
                let pushes = Pushes {
                    plan: &batch.words,
                    gradients: &batch.gradients,
                    pushed: Pushed::Rows,
                };
                let shard = &table.shards[s];
                update(recorder, params, step, spec.width, shard, pushes)?;
            }
            Ok(())
        })
    }

    /// Gathers `times` batches, taken in turn, and waits. Returns seconds as
    /// [`Engine::repeat_update`] does.
    pub(crate) fn repeat_gather(
        &self,
        table: &Table,
        batches: &[&RowBatch],
        times: usize,
    ) -> Result<Option<f64>, KernelError> {
        let params = &Params::default();
        self.repeat(times, |recorder, i| {
            let Some(batch) = batches.get(i % batches.len().max(1)) else {
                return Ok(());
            };
            for (s, stretch) in batch.stretches.iter().enumerate() {
                let (stretch, words) = (stretch.clone(), &batch.words);
                pull_stretch(recorder, params, table, s, stretch, words, &batch.gathered)?;
            }
            Ok(())
        })
    }

    /// Copies one buffer to the other `times` times, and waits. Returns the seconds that it took
    /// by the device's clock, if it has one for copies.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn repeat_copy(&self, pair: &CopyPair, times: usize) -> Result<Option<f64>, KernelError> {
        let values = (pair.bytes() / 4) as usize;
        self.repeat(times, |recorder, _| {
            let all = |buffer| ValuesAt { buffer, first: 0 };
            recorder.copy(all(&pair.from), all(&pair.to), values)
        })
    }

    fn repeat(
        &self,
        times: usize,
        mut record: impl FnMut(&mut Recorder, usize) -> Result<(), DeviceError>,
    ) -> Result<Option<f64>, KernelError> {
        self.timed(|recorder| {
            (0..times).try_for_each(|i| {
                record(recorder, i)?;
                match (i + 1) % SUBMITTED {
                    0 => recorder.submit(),
                    _ => Ok(()),
                }
            })
        })
    }
}
