//! Shard update throughput: how fast rows are read and written, beside what the device's memory
//! can do. And training: how fast whole steps and rankings are, see [`Training`].
//! And growth: what time and memory become on larger graphs, see [`Scale`].
//!
//! Every figure in GB/s counts the least bytes that the work must move, whatever is really moved,
//! so that it compares with the copy bandwidth measured just before and after it on the same
//! device. Per row of `dim` values of four bytes:
//!
//! | op | bytes | what |
//! |---|---|---|
//! | `copy` | 8 a value | reads and writes a buffer larger than the caches |
//! | `gather` | 8·dim | reads rows of the table, writes them elsewhere |
//! | `update_sgd` | 12·dim | reads row and gradient, writes the row |
//! | `update_adagrad` | 20·dim | the same and one state |
//! | `update_row_adagrad` | 12·dim + 8 | the same and one state value a row |
//! | `update_adam` | 28·dim | the same and two states |
//! | `sync_push` | as the update, for every pushed row | workers × batch rows a shard, one barrier |
//! | `async_push` | as the update | applied at once |
//! | `pull` | 4·dim | a shard's rows, into a buffer of the caller's that is used again |
//! | `all_reduce` | 8 a value and rank | every rank's values are read and replaced |
//!
//! Gathers and updates are measured on rows of `f32` and of binary16, whose values take two bytes
//! less each time that they are read or written: `gather` 6·dim, `update_sgd` 8·dim.
//!
//! By default, gathers and updates repeat one batch of random rows, as other programs' benchmarks
//! do and as training does, which has just read the rows that it updates: where the last cache is
//! larger than a batch and its gradients, rows come from there. With [`Options::batches`], several
//! disjoint batches take turns, each with gradients of its own, and everything comes from memory.
//!
//! Pushes and pulls go through the public methods of
//! [`ParameterServer`](crate::server::ParameterServer), with all their checks and locks.
//!
//! A sample is as many repetitions as take [`SAMPLE`]; a figure is the median of the samples. Copies,
//! gathers and updates on a GPU are timed by the device's own clock, where it has one
//! ([`TimedBy::Device`]); everything else, and whole training steps, by the host's, with all that
//! the host does.

mod all_reduce;
mod chart;
mod copy;
mod draw;
mod error;
mod growth;
mod options;
mod push;
mod record;
mod sample;
mod scale;
mod training;
mod update;

pub use chart::chart;
pub use draw::{Distribution, draw};
pub use error::BenchError;
pub use growth::growth;
pub use options::{Op, Options};
pub use record::{Measurement, Outputs};
pub use sample::{SAMPLE, Samples, TimedBy};
pub use scale::{Parts, Scale, ScaleMeasurement};
pub use training::{OnDevice, Stage, Training, TrainingBench, TrainingMeasurement};

use self::copy::Copier;
use crate::device::{self, Device};
use crate::kernel::{Backend, Dtype};
use crate::optim::OptimizerKind;

/// What a measured operation is.
#[derive(Clone, Copy, Debug)]
struct Work {
    op: Op,
    optimizer: Option<OptimizerKind>,
    dtype: Dtype,
    rows: usize,
    dim: usize,
    batch: usize,
    workers: usize,
    /// Calls in a repetition.
    calls: f64,
    /// Rows (of reductions: values) of one call, and their bytes.
    items: f64,
    bytes: f64,
}

/// An operation that is ready to be repeated.
pub struct Prepared {
    work: Work,
    repeat: Box<dyn FnMut(usize) -> Result<Option<f64>, BenchError>>,
}

impl Prepared {
    /// Rows of one repetition, of all workers and shards (of reductions: values).
    pub fn items(&self) -> usize {
        (self.work.items * self.work.calls) as usize
    }

    /// Repeats the operation, and waits for the last repetition. Returns the seconds that it took by
    /// the device's own clock, if that has been asked.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn repeat(&mut self, times: usize) -> Result<Option<f64>, BenchError> {
        (self.repeat)(times)
    }
}

/// A device to measure, by the name that selects it.
#[derive(Debug)]
pub struct Bench {
    name: String,
    backend: Backend,
    options: Options,
    copier: Copier,
}

impl Bench {
    /// Makes ready to measure a device.
    ///
    /// # Errors
    /// [`BenchError`] where sizes make no sense or do not fit; nothing large has been allocated
    /// then.
    pub fn new(device: Device, options: &Options) -> Result<Bench, BenchError> {
        options.check(&device)?;
        let (name, backend) = open(device)?;
        Ok(Bench {
            copier: Copier::new(&backend, options.copy_bytes)?,
            name,
            backend,
            options: options.clone(),
        })
    }

    /// The device.
    pub fn device(&self) -> &str {
        &self.name
    }

    /// Makes an operation other than the copy ready, with so many workers where it has any, on
    /// values of a type where it may be one or another.
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

    /// Measures everything asked for. `observe` hears of every operation before it starts.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn run(&self, observe: &mut dyn FnMut(&str)) -> Result<Vec<Measurement>, BenchError> {
        let options = &self.options;
        observe(Op::Copy.name());
        let copy = || self.copier.measure(&self.backend, options);
        // The first one warms up what is not there yet: pages, clocks, threads.
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
                let limits = (options.seconds, options.repeat);
                let samples = Samples::take(limits, |times| prepared.repeat(times))?;
                measured.push((prepared.work, samples.per(prepared.work.calls)));
                drop(prepared);
                copies.push(copy()?);
            }
        }
        Ok(self.beside_copies(&measured, &copies))
    }

    /// Results, given the copies before, between and after them.
    fn beside_copies(&self, measured: &[(Work, Samples)], copies: &[Samples]) -> Vec<Measurement> {
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
            // The machine may be busy with something else at times: the larger is nearer to what
            // the memory can do.
            let copy = bandwidth(&around[0]).max(bandwidth(&around[1]));
            results.push(Measurement::new(self, work, &samples, copy));
        }
        results
    }
}

/// An engine on a device, and what to call it in results.
fn open(device: Device) -> Result<(String, Backend), BenchError> {
    Ok(match device {
        Device::Cpu => {
            let device::CpuDescription { cores, simd, .. } = device::cpu();
            (format!("cpu ({cores} cores, {simd})"), Backend::cpu())
        }
        Device::Gpu(gpu) => (gpu.to_string(), Backend::gpu(gpu)?),
    })
}

#[cfg(test)]
mod tests;
