//! Shard update throughput: how fast rows are read and written, beside what the device's memory
//! can do.
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
//! Gathers and updates take several disjoint batches in turn, so that none finds its rows in a
//! cache because the one before left them there. Pushes and pulls go through the public methods of
//! [`ParameterServer`](crate::server::ParameterServer), with all their checks and locks.
//!
//! A sample is as many repetitions as take [`SAMPLE`]; a figure is the median of the samples.

mod all_reduce;
mod chart;
mod copy;
mod draw;
mod error;
mod options;
mod push;
mod record;
mod sample;
mod update;

pub use chart::chart;
pub use draw::{Distribution, draw};
pub use error::BenchError;
pub use options::{Op, Options};
pub use record::{Measurement, Outputs};
pub use sample::{SAMPLE, Samples};

use self::copy::Copier;
use crate::device::{self, Device};
use crate::kernel::{Backend, KernelError};
use crate::optim::OptimizerKind;

/// What a measured operation was.
#[derive(Clone, Copy, Debug)]
struct Work {
    op: Op,
    optimizer: Option<OptimizerKind>,
    rows: usize,
    dim: usize,
    batch: usize,
    workers: usize,
    /// Rows (of copies and reductions: values) of one repetition, and their bytes.
    items: f64,
    bytes: f64,
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
        let (name, backend) = match device {
            Device::Cpu => {
                let device::CpuDescription { cores, simd, .. } = device::cpu();
                (format!("cpu ({cores} cores, {simd})"), Backend::cpu())
            }
            Device::Gpu(gpu) => (gpu.to_string(), Backend::gpu(gpu)?),
        };
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

    /// Measures everything asked for. `observe` hears of every operation before it starts.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn run(&mut self, observe: &mut dyn FnMut(&str)) -> Result<Vec<Measurement>, BenchError> {
        let mut records = Records {
            copies: Vec::new(),
            measured: Vec::new(),
        };
        observe(Op::Copy.name());
        // The first one warms up what is not there yet: pages, clocks, threads.
        self.copier.measure(&self.backend, &self.options)?;
        records.copy(self)?;
        for &op in &self.options.ops.clone() {
            match op {
                Op::Copy => {}
                Op::Gather => update::gather(self, &mut records, observe)?,
                Op::UpdateSgd | Op::UpdateAdagrad | Op::UpdateAdam | Op::UpdateRowAdagrad => {
                    update::update(self, op, &mut records, observe)?;
                }
                Op::SyncPush | Op::AsyncPush | Op::Pull => {
                    push::through_the_server(self, op, &mut records, observe)?;
                }
                Op::AllReduce => all_reduce::all_reduce(self, &mut records, observe)?,
            }
        }
        Ok(records.finish(self))
    }
}

/// Measurements under way.
#[derive(Debug)]
struct Records {
    /// Copies before, between and after the operations.
    copies: Vec<Samples>,
    measured: Vec<(Work, Samples)>,
}

impl Records {
    fn copy(&mut self, bench: &Bench) -> Result<(), KernelError> {
        self.copies
            .push(bench.copier.measure(&bench.backend, &bench.options)?);
        Ok(())
    }

    /// Notes what was measured, and copies once more.
    fn add(&mut self, bench: &Bench, work: Work, samples: Samples) -> Result<(), KernelError> {
        self.measured.push((work, samples));
        self.copy(bench)
    }

    fn finish(self, bench: &Bench) -> Vec<Measurement> {
        let bytes = bench.copier.bytes() * 2.0;
        let bandwidth = |samples: &Samples| bytes / samples.median / 1e9;
        let measurement =
            |work: Work, samples: &Samples, copy: f64| Measurement::new(bench, work, samples, copy);
        let mut all = Vec::new();
        let best = (self.copies.iter()).max_by(|a, b| bandwidth(a).total_cmp(&bandwidth(b)));
        if bench.options.ops.contains(&Op::Copy)
            && let Some(best) = best
        {
            let values = (bench.copier.bytes() / 4.0) as usize;
            let work = Work {
                op: Op::Copy,
                optimizer: None,
                rows: values / bench.options.dim,
                dim: bench.options.dim,
                batch: values / bench.options.dim,
                workers: 1,
                items: values as f64 / bench.options.dim as f64,
                bytes,
            };
            all.push(measurement(work, best, bandwidth(best)));
        }
        for ((work, samples), around) in self.measured.into_iter().zip(self.copies.windows(2)) {
            // This machine may be busy with something else at times: the larger is nearer to what
            // the memory can do.
            let copy = bandwidth(&around[0]).max(bandwidth(&around[1]));
            all.push(measurement(work, &samples, copy));
        }
        all
    }
}

#[cfg(test)]
mod tests;
