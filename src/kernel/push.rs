//! Gradients on their way to a shard.

use std::sync::Arc;

use super::engine::GradientEngine;
use super::{Backend, KernelError, cpu, gpu};

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

/// Gradient rows in the memory of a device, flat and row-major. Clones share that memory: they cost
/// nothing, and nothing is written to it until only one of them is left.
#[derive(Clone, Debug)]
pub enum GradientRows {
    /// In main memory.
    Cpu(Arc<cpu::AlignedVec>),
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

    /// Whether clones share the memory.
    pub fn is_shared(&self) -> bool {
        match self {
            GradientRows::Cpu(values) => Arc::strong_count(values) > 1,
            GradientRows::Gpu(rows) => rows.is_shared(),
        }
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

impl From<cpu::AlignedVec> for GradientRows {
    fn from(values: cpu::AlignedVec) -> GradientRows {
        GradientRows::Cpu(Arc::new(values))
    }
}

/// Rows in main memory, where they are.
impl From<Vec<f32>> for GradientRows {
    fn from(values: Vec<f32>) -> GradientRows {
        cpu::AlignedVec::from(values).into()
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

impl Backend {
    /// Copies gradient rows to the device, for [`Backend::push`]. What `old` had is used again.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn upload(
        &self,
        gradients: &[f32],
        old: Option<GradientRows>,
    ) -> Result<GradientRows, KernelError> {
        Ok(match self {
            Backend::Cpu(_) => {
                let mut values = on_cpu(old);
                values.replace(gradients);
                GradientRows::from(values)
            }
            Backend::Gpu(engine) => GradientRows::Gpu(engine.upload(gradients, on_gpu(old))?),
        })
    }

    /// Copies gradient rows to the host, in place of what `out` holds. Waits for the device.
    ///
    /// # Errors
    /// [`KernelError::ForeignRows`] if they lie on another device; if the device is lost.
    pub fn download(&self, rows: &GradientRows, out: &mut Vec<f32>) -> Result<(), KernelError> {
        self.check_rows(rows)?;
        rows.read(out)
    }

    /// Σ wᵢ·xᵢ / `divisor` over gradient rows of one length, added up in the order given, on the
    /// device; none of no parts. What `old` had is used again.
    ///
    /// The same parts give the same bits every time on the same kind of device. Devices may differ
    /// in the last bits: a GPU may fuse a product with its sum, and divide less exactly.
    ///
    /// # Errors
    /// [`KernelError::Shape`] if lengths differ; [`KernelError::ForeignRows`] if a part lies on
    /// another device; if the device is lost or full.
    pub fn average(
        &self,
        parts: &[(&GradientRows, f32)],
        divisor: f32,
        old: Option<GradientRows>,
    ) -> Result<GradientRows, KernelError> {
        Ok(match self {
            Backend::Cpu(engine) => {
                let mut sums = on_cpu(old);
                engine.average(parts, divisor, &mut sums)?;
                GradientRows::from(sums)
            }
            Backend::Gpu(engine) => {
                GradientRows::Gpu(engine.average(parts, divisor, on_gpu(old))?)
            }
        })
    }

    /// Σ g² over gradient rows, not finite if one of them is not. Waits for the device.
    ///
    /// # Errors
    /// [`KernelError::ForeignRows`] if they lie on another device; if the device is lost or full.
    pub fn square_sum(&self, rows: &GradientRows) -> Result<f64, KernelError> {
        match (self, rows) {
            (Backend::Cpu(_), GradientRows::Cpu(values)) => Ok(cpu::square_sum(values)),
            (Backend::Gpu(engine), rows) => engine.square_sum(rows),
            (Backend::Cpu(_), _) => Err(self.foreign_rows()),
        }
    }

    /// Whether gradient rows lie on this engine's device. Two openings of one adapter are two
    /// devices; [`Backend::another`] is on the same.
    ///
    /// # Errors
    /// [`KernelError::ForeignRows`] if they do not.
    pub fn check_rows(&self, rows: &GradientRows) -> Result<(), KernelError> {
        match (self, rows) {
            (Backend::Cpu(_), GradientRows::Cpu(_)) => Ok(()),
            (Backend::Gpu(engine), GradientRows::Gpu(rows)) if rows.are_on(engine.gpu()) => Ok(()),
            _ => Err(self.foreign_rows()),
        }
    }

    fn foreign_rows(&self) -> KernelError {
        let engine = match self {
            Backend::Cpu(_) => "CPU",
            Backend::Gpu(_) => "GPU",
        };
        KernelError::ForeignRows { engine }
    }
}

/// The memory of gradient rows that are no longer needed, unless clones of them are.
pub(super) fn on_cpu(old: Option<GradientRows>) -> cpu::AlignedVec {
    match old {
        Some(GradientRows::Cpu(values)) => Arc::into_inner(values).unwrap_or_default(),
        _ => cpu::AlignedVec::default(),
    }
}

pub(super) fn on_gpu(old: Option<GradientRows>) -> Option<gpu::GradientRows> {
    match old {
        Some(GradientRows::Gpu(rows)) => Some(rows),
        _ => None,
    }
}
