//! Failures of training.

use crate::config::ConfigError;
use crate::kernel::KernelError;
use crate::sampler::PlanError;
use crate::server::ServerError;

/// A failure of training.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A configuration that makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The device failed.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The parameter server failed.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The source of plans failed.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Workers failed.
    #[error("{0}")]
    Workers(String),
    /// Another process leads the run by now, as a sentence.
    #[error("{0}")]
    OtherLeader(String),
    /// The loss left the finite numbers.
    #[error("the loss is {loss} in epoch {epoch}: training diverged; lower lr or init_scale")]
    Diverged {
        /// The epoch.
        epoch: u32,
        /// The loss, infinite or NaN.
        loss: f64,
    },
    /// Writing to the run directory failed.
    #[error("cannot save the run: {0}")]
    Save(String),
}
