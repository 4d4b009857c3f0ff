//! Results, one line each.

use std::io::Write;
use std::path::Path;

use serde::Serialize;

use super::{
    Bench, BenchError, Distribution, Op, Samples, ScaleMeasurement, TimedBy, TrainingMeasurement,
    Work,
};
use crate::checkpoint::atomic_file::AtomicFile;
use crate::optim::OptimizerKind;

/// One operation on one device.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measurement {
    /// What was measured.
    pub op: Op,
    /// Where.
    pub device: String,
    /// Rows of the table (of a copy: of the buffer; of an all-reduce: values).
    pub rows: usize,
    /// Values in a row.
    pub dim: usize,
    /// Rows of one repetition, by worker.
    pub batch: usize,
    /// Workers at once.
    pub workers: usize,
    /// How values are stored.
    pub dtype: &'static str,
    /// Seconds of one repetition: the median of all samples.
    pub median_s: f64,
    /// Rows of all workers in a second.
    pub rows_per_second: f64,
    /// By the least bytes that it takes, see the [module](super).
    pub gb_per_second: f64,
    /// Over the device's copy bandwidth just before or after, whichever was larger.
    pub share_of_copy: f64,
    /// That bandwidth.
    pub copy_gb_per_second: f64,
    /// The shortest sample.
    pub min_s: f64,
    /// The longest.
    pub max_s: f64,
    /// How many samples there were.
    pub samples: usize,
    /// Whose clock the seconds are from.
    pub timed_by: TimedBy,
    /// The optimizer, where there is one.
    pub optimizer: Option<OptimizerKind>,
    /// How rows were chosen.
    pub distribution: Distribution,
    /// How many disjoint batches took turns in gathers and updates.
    pub batches: usize,
}

impl Measurement {
    /// `copy` is the copy bandwidth in GB/s.
    pub(super) fn new(bench: &Bench, work: Work, samples: &Samples, copy: f64) -> Measurement {
        let gb_per_second = work.bytes / samples.median / 1e9;
        Measurement {
            op: work.op,
            device: bench.name.clone(),
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

/// Files that results go to. They are opened before anything is measured and appear when all is.
#[derive(Default)]
pub struct Outputs {
    lines: Option<AtomicFile>,
    chart: Option<AtomicFile>,
}

impl Outputs {
    /// Opens a file for lines of JSON and one for a chart.
    ///
    /// # Errors
    /// [`BenchError::Write`] if one cannot be written.
    pub fn create(lines: Option<&Path>, chart: Option<&Path>) -> Result<Outputs, BenchError> {
        let open = |path: Option<&Path>| path.map(create).transpose();
        Ok(Outputs {
            lines: open(lines)?,
            chart: open(chart)?,
        })
    }

    /// Writes the results.
    ///
    /// # Errors
    /// [`BenchError::Write`], [`BenchError::Chart`].
    pub fn write(self, results: &[Measurement]) -> Result<(), BenchError> {
        let lines = lines(results.iter().map(Measurement::json));
        self.finish(&lines, || super::chart(results))
    }

    /// Writes the results of the scale suite.
    ///
    /// # Errors
    /// [`BenchError::Write`], [`BenchError::Chart`].
    pub fn write_scale(self, results: &[ScaleMeasurement]) -> Result<(), BenchError> {
        let lines = lines(results.iter().map(ScaleMeasurement::json));
        self.finish(&lines, || super::growth(results))
    }

    /// Writes the results of the training suite; there is no chart of them.
    ///
    /// # Errors
    /// [`BenchError::Write`].
    pub fn write_training(self, results: &[TrainingMeasurement]) -> Result<(), BenchError> {
        let lines = lines(results.iter().map(TrainingMeasurement::json));
        self.lines.map_or(Ok(()), |file| finish(file, &lines))
    }

    /// Writes lines and a chart, those that were asked for.
    fn finish(
        self,
        lines: &str,
        chart: impl FnOnce() -> Result<String, BenchError>,
    ) -> Result<(), BenchError> {
        if let Some(file) = self.lines {
            finish(file, lines)?;
        }
        if let Some(file) = self.chart {
            finish(file, &chart()?)?;
        }
        Ok(())
    }
}

/// One object a line.
fn lines(objects: impl Iterator<Item = String>) -> String {
    objects.map(|object| object + "\n").collect()
}

impl Measurement {
    /// One line of JSON.
    pub fn json(&self) -> String {
        json(self)
    }
}

/// A result as one line of JSON.
pub(super) fn json(result: &impl Serialize) -> String {
    // Only maps with keys that are no text, and types of one's own, can fail.
    serde_json::to_string(result).expect("names and numbers always serialise")
}

fn create(path: &Path) -> Result<AtomicFile, BenchError> {
    if path.is_dir() {
        return Err(write_error(path, std::io::ErrorKind::IsADirectory.into()));
    }
    AtomicFile::create(path).map_err(|source| write_error(path, source))
}

fn finish(mut file: AtomicFile, text: &str) -> Result<(), BenchError> {
    let path = file.path().to_owned();
    let written = file.write_all(text.as_bytes()).and_then(|()| file.commit());
    written.map_err(|source| write_error(&path, source))
}

fn write_error(path: &Path, source: std::io::Error) -> BenchError {
    BenchError::Write {
        path: path.to_owned(),
        source,
    }
}
