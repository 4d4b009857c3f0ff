//! Gradient rows, and the rows of a shard that they are for.

use std::sync::Arc;

use super::layout::Places;
use super::{KernelError, cpu, gpu};

/// Gradient rows in the memory of a device, flat and row-major. Clones share that memory and cost
/// nothing. An engine writes to the memory again when only one clone is left.
#[derive(Clone, Debug)]
pub enum GradientRows {
    /// In main memory.
    Cpu(Arc<cpu::AlignedVec>),
    /// In a GPU's memory.
    Gpu(gpu::GradientRows),
}

impl GradientRows {
    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            GradientRows::Cpu(values) => values.len(),
            GradientRows::Gpu(rows) => rows.len(),
        }
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether clones share the memory.
    pub fn is_shared(&self) -> bool {
        match self {
            GradientRows::Cpu(values) => Arc::strong_count(values) > 1,
            GradientRows::Gpu(rows) => rows.is_shared(),
        }
    }

    /// The values, if they lie in main memory.
    pub fn as_host(&self) -> Option<&[f32]> {
        match self {
            GradientRows::Cpu(values) => Some(values),
            GradientRows::Gpu(_) => None,
        }
    }

    /// Copies the values to the host, in place of the contents of `out`. Waits for the device.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn read(&self, out: &mut Vec<f32>) -> Result<(), KernelError> {
        match self {
            GradientRows::Cpu(values) => {
                out.clear();
                out.extend_from_slice(values);
                Ok(())
            }
            GradientRows::Gpu(rows) => Ok(rows.read(out)?),
        }
    }
}

impl From<gpu::GradientRows> for GradientRows {
    fn from(rows: gpu::GradientRows) -> GradientRows {
        GradientRows::Gpu(rows)
    }
}

impl From<cpu::AlignedVec> for GradientRows {
    fn from(values: cpu::AlignedVec) -> GradientRows {
        GradientRows::Cpu(Arc::new(values))
    }
}

/// Rows in main memory, not copied.
impl From<Vec<f32>> for GradientRows {
    fn from(values: Vec<f32>) -> GradientRows {
        cpu::AlignedVec::from(values).into()
    }
}

/// Gradient rows that one worker pushes to a shard.
#[derive(Clone, Copy, Debug)]
pub struct Push<'a> {
    /// Rows of the shard.
    pub places: Places<'a>,
    /// A gradient row for each of the places.
    pub gradients: &'a GradientRows,
    /// Factor of the gradients in the sum over all pushes.
    pub weight: f32,
}

/// Memory that an engine may use again: of rows of its kind of device that have no clones.
pub(super) fn reuse<G: TryFrom<GradientRows>>(old: Option<GradientRows>) -> Option<G> {
    old?.try_into().ok()
}

impl TryFrom<GradientRows> for cpu::AlignedVec {
    type Error = GradientRows;

    fn try_from(rows: GradientRows) -> Result<cpu::AlignedVec, GradientRows> {
        match rows {
            GradientRows::Cpu(values) => Arc::try_unwrap(values).map_err(GradientRows::Cpu),
            other => Err(other),
        }
    }
}

impl TryFrom<GradientRows> for gpu::GradientRows {
    type Error = GradientRows;

    fn try_from(rows: GradientRows) -> Result<gpu::GradientRows, GradientRows> {
        match rows {
            GradientRows::Gpu(rows) => Ok(rows),
            other => Err(other),
        }
    }
}
