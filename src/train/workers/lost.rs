//! Errors of a worker, as failures that end it or as work that is not wanted any more.

use crate::coordinator::{Failure, Vote};
use crate::kernel::KernelError;
use crate::server::ServerError;

/// Text of a panic.
pub(super) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a word".to_owned())
}

/// Drops work for an earlier generation or step; any other error ends the worker.
pub(super) fn superseded(error: ServerError) -> Result<(Option<Vote>, f64), Failure> {
    match error {
        ServerError::Generation { .. }
        | ServerError::UnknownWorker { .. }
        | ServerError::Reconfigured { .. }
        | ServerError::Stale { .. }
        | ServerError::Late { .. } => Ok((None, 0.0)),
        error => Err(lost(error)),
    }
}

pub(super) fn lost(error: ServerError) -> Failure {
    match error {
        ServerError::Kernel(error) => Failure::DeviceLost {
            message: error.to_string(),
        },
        error => Failure::Other {
            message: error.to_string(),
        },
    }
}

pub(super) fn lost_kernel(error: KernelError) -> Failure {
    lost(error.into())
}
