//! Why something cannot be measured.

use std::io;
use std::path::PathBuf;

use indicatif::HumanBytes;

use crate::collective::CollectiveError;
use crate::config::ConfigError;
use crate::dataset::DatasetError;
use crate::device::DeviceError;
use crate::kernel::KernelError;
use crate::server::ServerError;
use crate::train::TrainError;

/// A benchmark that makes no sense, does not fit, or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// A size of zero.
    #[error("--{0} must be at least 1")]
    Zero(&'static str),
    /// A list with nothing in it.
    #[error("nothing to measure: --{0} is empty")]
    Nothing(&'static str),
    /// More than can be.
    #[error("--{what} {found} is too large: at most {most} {why}")]
    TooLarge {
        /// The flag.
        what: &'static str,
        /// Its value.
        found: usize,
        /// The most that would do.
        most: usize,
        /// Where that comes from.
        why: &'static str,
    },
    /// A time or a number of samples that cannot be.
    #[error("--seconds {0} is no time to measure for: expected 0 to 3600")]
    Seconds(f64),
    /// More than fits into main memory.
    #[error(
        "this takes {} ({what}) and only {} of main memory are free: choose fewer rows or entities, or a smaller --dim",
        HumanBytes(*.needed), HumanBytes(*.free)
    )]
    Memory {
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
        /// The operation that needs most.
        what: &'static str,
    },
    /// More than an adapter takes in one piece.
    #[error(
        "a row of {dim} values does not fit a binding of this GPU ({})",
        HumanBytes(*.binding)
    )]
    Binding {
        /// Values in a row.
        dim: usize,
        /// The binding limit in bytes.
        binding: u64,
    },
    /// A file that cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No threads for workers.
    #[error("cannot start the workers' runtime: {0}")]
    Runtime(io::Error),
    /// The chart could not be drawn.
    #[error("cannot draw the chart: {0}")]
    Chart(String),
    /// What a process measured could not be understood.
    #[error("not a line of results: {0}")]
    Line(String),
    /// The graph cannot be generated.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The sizes make no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Training failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The arithmetic failed.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The parameter server refused.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A reduction failed.
    #[error(transparent)]
    Collective(#[from] CollectiveError),
}
