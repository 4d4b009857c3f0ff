//! The right of an owner of shards to serve.

use std::fmt;

use crate::ids::{Generation, WorkerId};
use crate::server::ServerError;

/// Decides whether a request may be served.
pub trait Fence: fmt::Debug + Send + Sync {
    /// Checks the leadership epoch of a request.
    ///
    /// # Errors
    /// [`ServerError::OldEpoch`], [`ServerError::NewEpoch`]; [`ServerError::Unled`] if the server has not heard
    /// from its leader in time.
    fn check(&self, epoch: u32) -> Result<(), ServerError>;

    /// Checks the generation of a pull or a push before anything waits for it. Requests for a generation that has not
    /// come yet may wait later.
    ///
    /// # Errors
    /// [`ServerError::Generation`] for a generation that the server has left.
    fn check_generation(
        &self,
        worker: WorkerId,
        generation: Generation,
    ) -> Result<(), ServerError> {
        let _ = (worker, generation);
        Ok(())
    }
}

/// Fence of a process that has no leader: serves every epoch.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFence;

impl Fence for NoFence {
    fn check(&self, _epoch: u32) -> Result<(), ServerError> {
        Ok(())
    }
}
