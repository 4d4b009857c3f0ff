//! Throughput of the parameter server's work: rows of shards that are read, updated, pushed and
//! pulled, and values that workers reduce.
//!
//! Every figure in GB/s counts the least bytes that the operation must move, whatever is really
//! moved. So a figure compares with the copy bandwidth, which is measured just before and after it on
//! the same device. Least bytes of a row of `dim` values of four bytes:
//!
//! | operation | bytes | work |
//! |---|---|---|
//! | `copy` | 8 a value | reads a buffer larger than the caches and writes another |
//! | `gather` | 8·dim | reads rows of the table, writes them to a buffer |
//! | `update_sgd` | 12·dim | reads row and gradient, writes the row |
//! | `update_adagrad` | 20·dim | the same and one value of state for each value |
//! | `update_row_adagrad` | 12·dim + 8 | the same as SGD and one value of state for each row |
//! | `update_adam` | 28·dim | the same as SGD and two values of state for each value |
//! | `sync_push` | as the update, for every pushed row | every worker pushes a batch to a shard and waits at the barrier |
//! | `async_push` | as the update | every worker pushes a batch to a shard, which is applied at once |
//! | `pull` | 4·dim | reads a shard's rows into a buffer that is used again |
//! | `all_reduce` | 8 a value and rank | reads and replaces the values of every rank |
//!
//! Gathers and updates are measured on rows of `f32` and of binary16. A value of binary16 takes two
//! bytes less each time that it is read or written: `gather` 6·dim, `update_sgd` 8·dim.
//!
//! By default, gathers and updates repeat one batch of random rows, as benchmarks of other programs
//! do. Training is alike: a step has just read the rows that it updates. If a batch and its gradients
//! fit into the last cache, rows come from there. With [`Options::batches`], several disjoint batches
//! take turns, each with its own gradients, and rows come from memory.
//!
//! Pushes and pulls go through the public methods of
//! [`ParameterServer`](crate::server::ParameterServer), with all their checks and locks.
//!
//! A sample is as many repetitions as take [`SAMPLE`]; a figure is the median of the samples. Copies,
//! gathers and updates on a GPU are timed by the device's own clock if the device has one
//! ([`TimedBy::Device`]). Everything else is timed by the host's clock, with all work of the host.

mod all_reduce;
mod collectives;
mod copy;
mod draw;
mod error;
mod options;
mod push;
mod record;
mod sample;
mod target;
mod update;

pub use collectives::CollectiveBackend;
pub use draw::{Distribution, draw};
pub use error::BenchError;
pub use options::{Op, Options};
pub use record::{Measurement, Output, format_seconds, json};
pub use sample::{Limits, SAMPLE, Samples, TimedBy};
pub use target::{Target, devices};

use self::copy::Copier;
use crate::device::Device;
use crate::kernel::Dtype;
use crate::optim::OptimizerKind;

/// A measured operation and its sizes.
#[derive(Clone, Copy, Debug)]
struct Work {
    op: Op,
    optimizer: Option<OptimizerKind>,
    dtype: Dtype,
    rows: usize,
    dim: usize,
    batch: usize,
    workers: usize,
    /// Number of calls in a repetition.
    calls: f64,
    /// Number of rows (of an all-reduce: values) of one call, over all workers.
    items: f64,
    /// Least bytes of one call.
    bytes: f64,
}

/// An operation that is ready to be repeated.
pub struct Prepared {
    work: Work,
    repeat: Box<dyn FnMut(usize) -> Result<Option<f64>, BenchError>>,
}

impl Prepared {
    /// Number of rows (of an all-reduce: values) of one repetition, over all workers and shards.
    pub fn items(&self) -> usize {
        (self.work.items * self.work.calls) as usize
    }

    /// Repeats the operation, and waits for the last repetition. Returns the seconds by the device's
    /// own clock; none if the host's clock counts.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn repeat(&mut self, times: usize) -> Result<Option<f64>, BenchError> {
        (self.repeat)(times)
    }
}

/// The benchmark of one device.
#[derive(Debug)]
pub struct Bench {
    target: Target,
    options: Options,
    copier: Copier,
}

impl Bench {
    /// Checks the options and opens the device.
    ///
    /// # Errors
    /// [`BenchError`] if sizes are out of range or do not fit. Nothing large is allocated then.
    pub fn new(device: Device, options: &Options) -> Result<Bench, BenchError> {
        options.check(&device)?;
        let target = Target::open(device)?;
        Ok(Bench {
            copier: Copier::new(&target.backend, options.copy_bytes)?,
            target,
            options: options.clone(),
        })
    }

    /// Name of the device in results.
    pub fn device(&self) -> &str {
        &self.target.name
    }

    /// Prepares an operation other than the copy. `workers` counts for pushes and all-reduces, `dtype`
    /// for gathers and updates.
    ///
    /// # Errors
    /// If the device is full or lost.
    pub fn prepare(&self, op: Op, workers: usize, dtype: Dtype) -> Result<Prepared, BenchError> {
        match (op, op.optimizer()) {
            (_, Some(kind)) => update::update(self, op, kind, dtype),
            (Op::SyncPush | Op::AsyncPush, _) => push::pushes(self, op, workers),
            (Op::Pull, _) => push::pull(self),
            (Op::AllReduce, _) => all_reduce::all_reduce(self, workers),
            _ => update::gather(self, dtype),
        }
    }

    /// Measures the operations of the options. `observe` is called with the name of every operation
    /// before the operation starts.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn run(&self, observe: &mut dyn FnMut(&str)) -> Result<Vec<Measurement>, BenchError> {
        let options = &self.options;
        observe(Op::Copy.name());
        let copy = || self.copier.measure(&self.target.backend, options);
        // The first copy warms up pages, clocks and threads.
        copy()?;
        let mut copies = vec![copy()?];
        let mut measured = Vec::new();
        for &op in options.ops.iter().filter(|&&op| op != Op::Copy) {
            let dtypes = options.dtypes_of(op).iter();
            let ways = dtypes
                .flat_map(|&dtype| options.workers_of(op).into_iter().map(move |w| (w, dtype)));
            for (workers, dtype) in ways {
                observe(&match (workers, dtype) {
                    (1, Dtype::F32) => op.name().to_owned(),
                    (1, _) => format!("{} of {}", op.name(), dtype.name()),
                    _ => format!("{} of {workers} workers", op.name()),
                });
                let mut prepared = self.prepare(op, workers, dtype)?;
                let samples = Samples::take(options.limits(), |times| prepared.repeat(times))?;
                measured.push((prepared.work, samples.per(prepared.work.calls)));
                drop(prepared);
                copies.push(copy()?);
            }
        }
        Ok(self.measurements(&measured, &copies))
    }

    /// Results of the measured operations. Operation `i` lies between copies `i` and `i + 1`.
    fn measurements(&self, measured: &[(Work, Samples)], copies: &[Samples]) -> Vec<Measurement> {
        let bytes = 2.0 * self.copier.bytes();
        let bandwidth = |samples: &Samples| bytes / samples.median / 1e9;
        let mut results = Vec::new();
        let best = (copies.iter()).max_by(|a, b| bandwidth(a).total_cmp(&bandwidth(b)));
        if let (true, Some(best)) = (self.options.ops.contains(&Op::Copy), best) {
            let dim = self.options.dim;
            let rows = self.copier.bytes() / (4 * dim) as f64;
            let work = Work {
                op: Op::Copy,
                optimizer: None,
                dtype: Dtype::F32,
                rows: rows as usize,
                dim,
                batch: rows as usize,
                workers: 1,
                calls: 1.0,
                items: rows,
                bytes,
            };
            results.push(Measurement::new(self, work, best, bandwidth(best)));
        }
        for (&(work, samples), around) in measured.iter().zip(copies.windows(2)) {
            // Other programs may use the machine at times: the larger bandwidth is nearer to that of
            // the memory.
            let copy = bandwidth(&around[0]).max(bandwidth(&around[1]));
            results.push(Measurement::new(self, work, &samples, copy));
        }
        results
    }
}

#[cfg(test)]
mod tests;
