//! A GPU in a build without the feature `gpu`: a type without values, so that the code that chooses
//! between devices is written once.

use std::convert::Infallible;
use std::fmt;
use std::time::Duration;

use super::{AdapterDescription, Counts, DeviceError};

/// Options for opening a GPU, without effect in a build without GPU support.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GpuOptions {
    /// Bytes that one binding may cover.
    pub binding_limit: Option<u64>,
    /// Longest wait for the GPU.
    pub deadline: Duration,
}

/// An open GPU, which this build does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu(Infallible);

impl Gpu {
    /// A value of any type: nothing reaches this.
    pub(crate) fn unreachable(&self) -> ! {
        match self.0 {}
    }

    /// Never called: the type has no values.
    pub fn description(&self) -> &AdapterDescription {
        self.unreachable()
    }

    /// Never called: the type has no values.
    pub fn binding_limit(&self) -> u64 {
        self.unreachable()
    }

    /// Never called: the type has no values.
    pub fn counts(&self) -> Counts {
        self.unreachable()
    }

    /// Never called: the type has no values.
    pub fn check(&self) -> Result<(), DeviceError> {
        self.unreachable()
    }
}

impl fmt::Display for Gpu {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.unreachable()
    }
}

/// A span of time on a device's clock.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The stage.
    pub name: &'static str,
    /// Length of the span.
    pub seconds: f64,
}
