//! Gradients on their way to a shard.

use super::{KernelError, gpu};

/// The rows of a shard that gradient rows are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Places<'a> {
    /// All rows of the shard, in order.
    All,
    /// These, by their places in the shard: in any order, and more than once where gradients of
    /// one row are to be added up.
    Listed(&'a [u32]),
}

impl Places<'_> {
    /// How many they are, of a shard with `rows` rows.
    pub fn count(&self, rows: usize) -> usize {
        match self {
            Places::All => rows,
            Places::Listed(places) => places.len(),
        }
    }
}

/// Gradient rows in the memory of a device, flat and row-major. Clones of those in an adapter's
/// memory share it.
#[derive(Clone, Debug)]
pub enum GradientRows {
    /// In main memory.
    Cpu(Vec<f32>),
    /// In an adapter's memory.
    Gpu(gpu::GradientRows),
}

impl GradientRows {
    /// How many values they are.
    pub fn len(&self) -> usize {
        match self {
            GradientRows::Cpu(values) => values.len(),
            GradientRows::Gpu(rows) => rows.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies the values to the host, in place of what `out` holds. Waits for the device.
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

/// What one worker pushes to a shard.
#[derive(Clone, Copy, Debug)]
pub struct Push<'a> {
    /// Which rows.
    pub places: Places<'a>,
    /// A gradient for each.
    pub gradients: &'a GradientRows,
    /// What the gradients are multiplied by before they are added up.
    pub weight: f32,
}
