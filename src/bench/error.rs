//! Errors of measurements.

use std::io;
use std::path::PathBuf;

use indicatif::HumanBytes;

use crate::collective::CollectiveError;
use crate::device::DeviceError;
use crate::kernel::KernelError;
use crate::net::NetError;
use crate::server::ServerError;

/// The reason why something cannot be measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// A size is zero.
    #[error("--{0} must be at least 1")]
    Zero(&'static str),
    /// A list is empty.
    #[error("nothing to measure: --{0} is empty")]
    Nothing(&'static str),
    /// A size is too large.
    #[error("--{what} {found} is too large: at most {most} {why}")]
    TooLarge {
        /// The flag.
        what: &'static str,
        /// The value of the flag.
        found: usize,
        /// The largest value.
        most: usize,
        /// The unit of the largest value, and the reason for it.
        why: &'static str,
    },
    /// A duration is negative, too long or not a number.
    #[error("--seconds {0} is no time to measure for: expected 0 to 3600")]
    Seconds(f64),
    /// The work does not fit into main memory.
    #[error(
        "this takes {} ({what}) and only {} of main memory are free: choose fewer rows or entities, or a smaller --dim",
        HumanBytes(*.needed), HumanBytes(*.free)
    )]
    Memory {
        /// Size of the work in bytes.
        needed: u64,
        /// Size of the free memory in bytes.
        free: u64,
        /// The operation that takes most memory.
        what: &'static str,
    },
    /// A row is larger than a binding of the adapter.
    #[error(
        "a row of {dim} values does not fit a binding of this GPU ({})",
        HumanBytes(*.binding)
    )]
    Binding {
        /// Number of values in a row.
        dim: usize,
        /// The binding limit in bytes.
        binding: u64,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The threads of workers cannot be started.
    #[error("cannot start the workers' runtime: {0}")]
    Runtime(io::Error),
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A kernel failed.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The parameter server refused a call.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// An all-reduce failed.
    #[error(transparent)]
    Collective(#[from] CollectiveError),
    /// Workers cannot be connected.
    #[error(transparent)]
    Net(#[from] NetError),
}
