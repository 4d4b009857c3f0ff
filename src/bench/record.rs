//! Results, one line each.

use std::io::Write;
use std::path::Path;

use serde::Serialize;

use super::{Bench, BenchError, Distribution, Op, Samples, TimedBy, Work};
use crate::checkpoint::atomic_file::AtomicFile;
use crate::optim::OptimizerKind;

/// The result of one operation on one device.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measurement {
    /// The operation.
    pub op: Op,
    /// Name of the device.
    pub device: String,
    /// Number of rows of the table (of a copy: of the buffer; of an all-reduce: number of values).
    pub rows: usize,
    /// Number of values in a row.
    pub dim: usize,
    /// Number of rows of one repetition for each worker.
    pub batch: usize,
    /// Number of workers at once.
    pub workers: usize,
    /// Stored type of values.
    pub dtype: &'static str,
    /// Seconds of one repetition: the median of all samples.
    pub median_s: f64,
    /// Number of rows of all workers per second.
    pub rows_per_second: f64,
    /// GB/s, by the least bytes of the operation, see the [module](super).
    pub gb_per_second: f64,
    /// `gb_per_second` over `copy_gb_per_second`.
    pub share_of_copy: f64,
    /// GB/s of the device's copy just before or after, whichever was larger.
    pub copy_gb_per_second: f64,
    /// Seconds of one repetition in the shortest sample.
    pub min_s: f64,
    /// Seconds of one repetition in the longest sample.
    pub max_s: f64,
    /// Number of samples.
    pub samples: usize,
    /// The clock that the seconds are from.
    pub timed_by: TimedBy,
    /// The optimizer of an update or a push.
    pub optimizer: Option<OptimizerKind>,
    /// Distribution of the rows of a batch.
    pub distribution: Distribution,
    /// Number of disjoint batches that took turns in gathers and updates.
    pub batches: usize,
}

impl Measurement {
    /// `copy` is the copy bandwidth in GB/s.
    pub(super) fn new(bench: &Bench, work: Work, samples: &Samples, copy: f64) -> Measurement {
        let gb_per_second = work.bytes / samples.median / 1e9;
        Measurement {
            op: work.op,
            device: bench.target.name.clone(),
            rows: work.rows,
            dim: work.dim,
            batch: work.batch,
            workers: work.workers,
            dtype: work.dtype.name(),
            median_s: samples.median,
            rows_per_second: work.items / samples.median,
            gb_per_second,
            share_of_copy: gb_per_second / copy,
            copy_gb_per_second: copy,
            min_s: samples.min,
            max_s: samples.max,
            samples: samples.count,
            timed_by: samples.timed_by,
            optimizer: work.optimizer,
            distribution: bench.options.distribution,
            batches: bench.options.disjoint(),
        }
    }
}

/// A file that results are written to. The file is opened before anything is measured, and appears
/// when all results are there.
#[derive(Default)]
pub struct Output(Option<AtomicFile>);

impl Output {
    /// Opens a file, or none.
    ///
    /// # Errors
    /// [`BenchError::Write`] if the file cannot be written.
    pub fn create(path: Option<&Path>) -> Result<Output, BenchError> {
        Ok(Output(path.map(create).transpose()?))
    }

    /// Writes results, a line of JSON each.
    ///
    /// # Errors
    /// [`BenchError::Write`].
    pub fn write(self, results: &[impl Serialize]) -> Result<(), BenchError> {
        let Some(mut file) = self.0 else {
            return Ok(());
        };
        let lines: String = results.iter().map(|result| json(result) + "\n").collect();
        let path = file.path().to_owned();
        let written = file
            .write_all(lines.as_bytes())
            .and_then(|()| file.commit());
        written.map_err(|source| write_error(&path, source))
    }
}

impl Measurement {
    /// One line of JSON.
    pub fn json(&self) -> String {
        json(self)
    }
}

/// A result as one line of JSON.
///
/// # Panics
/// If the result has a map whose keys are not strings, or its `Serialize` fails.
pub fn json(result: &impl Serialize) -> String {
    serde_json::to_string(result).expect("names and numbers always serialise")
}

/// Seconds for people, in the unit that suits them.
pub fn format_seconds(seconds: f64) -> String {
    match seconds {
        s if s >= 1.0 => format!("{s:.3} s"),
        s if s >= 1e-3 => format!("{:.3} ms", s * 1e3),
        s => format!("{:.1} µs", s * 1e6),
    }
}

fn create(path: &Path) -> Result<AtomicFile, BenchError> {
    if path.is_dir() {
        return Err(write_error(path, std::io::ErrorKind::IsADirectory.into()));
    }
    AtomicFile::create(path).map_err(|source| write_error(path, source))
}

fn write_error(path: &Path, source: std::io::Error) -> BenchError {
    BenchError::Write {
        path: path.to_owned(),
        source,
    }
}
