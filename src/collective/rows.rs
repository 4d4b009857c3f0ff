//! Gradient rows that are reduced on the host.

use std::sync::Arc;

use super::{Call, CollectiveError};
use crate::kernel::{GradientRows, KernelError, gpu};

/// The device memory that rows were downloaded from; none if they were on the host already.
pub(crate) type DeviceMemory = Option<gpu::GradientRows>;

/// Brings rows to the host.
pub(crate) fn download(rows: GradientRows) -> Result<(Vec<f32>, DeviceMemory), KernelError> {
    match rows {
        GradientRows::Cpu(values) => Ok((Arc::unwrap_or_clone(values).into(), None)),
        GradientRows::Gpu(rows) => {
            let mut values = Vec::new();
            rows.read(&mut values)?;
            Ok((values, Some(rows)))
        }
    }
}

/// Brings values to the device that [`download`] took the rows from.
pub(crate) fn upload(values: Vec<f32>, device: DeviceMemory) -> Result<GradientRows, KernelError> {
    match device {
        None => Ok(values.into()),
        Some(rows) => Ok(GradientRows::Gpu(rows.replaced(&values)?)),
    }
}

/// The error of a call for a device's error.
pub(crate) fn failed(call: Call, rank: usize, error: &KernelError) -> CollectiveError {
    CollectiveError::Rows {
        sequence: call.sequence,
        rank,
        reason: error.to_string(),
    }
}
