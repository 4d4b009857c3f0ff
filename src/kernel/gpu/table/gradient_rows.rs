//! Gradient rows in a GPU's memory.

use std::sync::Arc;

use crate::device::{Buffer, DeviceError, Gpu};

/// Gradient rows in the memory of one open GPU. Clones share that memory and are cheap; nothing is
/// written to it until only one of them is left.
#[derive(Clone, Debug)]
pub struct GradientRows {
    gpu: Gpu,
    buffer: Arc<Buffer>,
    values: usize,
}

impl GradientRows {
    /// Number of values.
    pub(crate) fn len(&self) -> usize {
        self.values
    }

    /// Whether they lie in the memory of this open GPU.
    pub fn are_on(&self, gpu: &Gpu) -> bool {
        self.gpu == *gpu
    }

    /// Whether clones share the memory.
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.buffer) > 1
    }

    /// Whether both are the same memory.
    pub fn share_memory(&self, other: &GradientRows) -> bool {
        Arc::ptr_eq(&self.buffer, &other.buffer)
    }

    pub(in crate::kernel::gpu) fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// Room for `values` values: the memory of `old` if it is large enough, on this GPU and not shared;
    /// otherwise new memory.
    pub(in crate::kernel::gpu) fn room(
        gpu: &Gpu,
        values: usize,
        old: Option<GradientRows>,
    ) -> Result<Self, DeviceError> {
        let bytes = (values * size_of::<f32>()) as u64;
        let reused = old.and_then(|mut old| {
            let fits = old.are_on(gpu) && old.buffer.size() >= bytes;
            let alone = Arc::get_mut(&mut old.buffer).is_some();
            (fits && alone).then_some(old.buffer)
        });
        let buffer = match reused {
            Some(buffer) => buffer,
            None => Arc::new(gpu.storage("gradient rows", bytes.max(4))?),
        };
        let gpu = gpu.clone();
        Ok(GradientRows {
            gpu,
            buffer,
            values,
        })
    }

    /// Copies the values to the host, in place of what `out` holds. Waits for the device.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn read(&self, out: &mut Vec<f32>) -> Result<(), DeviceError> {
        out.resize(self.values, 0.0);
        self.gpu.read_into(&self.buffer, 0, out)
    }

    /// Rows of these values on the same GPU; the memory is used again if no clone shares it.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn replaced(self, values: &[f32]) -> Result<GradientRows, DeviceError> {
        let gpu = self.gpu.clone();
        let rows = GradientRows::room(&gpu, values.len(), Some(self))?;
        gpu.write(&rows.buffer, 0, values)?;
        Ok(rows)
    }
}
