//! Gradient rows on their way through the host.

use std::sync::Arc;

use super::{Call, CollectiveError};
use crate::kernel::{GradientRows, KernelError, gpu};

/// The memory of a device that rows have left; none if they were on the host all along.
pub(super) type Home = Option<gpu::GradientRows>;

/// Brings rows to the host.
pub(super) fn depart(rows: GradientRows) -> Result<(Vec<f32>, Home), KernelError> {
    match rows {
        GradientRows::Cpu(values) => Ok((Arc::unwrap_or_clone(values).into(), None)),
        GradientRows::Gpu(rows) => {
            let mut values = Vec::new();
            rows.read(&mut values)?;
            Ok((values, Some(rows)))
        }
    }
}

/// Brings values to the device where rows came from.
pub(super) fn come_back(values: Vec<f32>, home: Home) -> Result<GradientRows, KernelError> {
    match home {
        None => Ok(values.into()),
        Some(rows) => Ok(GradientRows::Gpu(rows.replaced(&values)?)),
    }
}

/// What a call fails with when a device does.
pub(super) fn failed(call: Call, rank: usize, error: &KernelError) -> CollectiveError {
    CollectiveError::Rows {
        sequence: call.sequence,
        rank,
        reason: error.to_string(),
    }
}
