//! The measured operations and their sizes, and checks of them.

use super::{BenchError, CollectiveBackend, Distribution, Limits};
use crate::device::{AdapterKind, Device, available_memory};
use crate::kernel::{Dtype, ShardLayout};
use crate::optim::OptimizerKind;

/// A measured operation, by its name in results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Op {
    /// A copy within the device's memory.
    Copy,
    /// Reads of random rows of a table.
    Gather,
    /// Updates of random rows by SGD.
    UpdateSgd,
    /// Updates by Adagrad.
    UpdateAdagrad,
    /// Updates by Adam.
    UpdateAdam,
    /// Updates by row-Adagrad.
    UpdateRowAdagrad,
    /// Pushes of workers that meet at a barrier.
    SyncPush,
    /// Pushes that are applied at once.
    AsyncPush,
    /// Reads of a whole shard by a worker.
    Pull,
    /// Sums over all workers.
    AllReduce,
}

impl Op {
    /// All operations.
    pub const ALL: [Op; 10] = [
        Op::Copy,
        Op::Gather,
        Op::UpdateSgd,
        Op::UpdateAdagrad,
        Op::UpdateAdam,
        Op::UpdateRowAdagrad,
        Op::SyncPush,
        Op::AsyncPush,
        Op::Pull,
        Op::AllReduce,
    ];

    /// The name in results.
    pub fn name(self) -> &'static str {
        match self {
            Op::Copy => "copy",
            Op::Gather => "gather",
            Op::UpdateSgd => "update_sgd",
            Op::UpdateAdagrad => "update_adagrad",
            Op::UpdateAdam => "update_adam",
            Op::UpdateRowAdagrad => "update_row_adagrad",
            Op::SyncPush => "sync_push",
            Op::AsyncPush => "async_push",
            Op::Pull => "pull",
            Op::AllReduce => "all_reduce",
        }
    }

    /// The optimizer of an update.
    pub fn optimizer(self) -> Option<OptimizerKind> {
        match self {
            Op::UpdateSgd => Some(OptimizerKind::Sgd),
            Op::UpdateAdagrad => Some(OptimizerKind::Adagrad),
            Op::UpdateAdam => Some(OptimizerKind::Adam),
            Op::UpdateRowAdagrad => Some(OptimizerKind::RowAdagrad),
            _ => None,
        }
    }
}

/// The operations to measure, and their sizes.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Number of rows of the table.
    pub rows: usize,
    /// Number of values in a row.
    pub dim: usize,
    /// Number of rows of a gather or an update.
    pub batch: usize,
    /// Number of disjoint batches that gathers and updates take in turn, as far as the table has rows.
    pub batches: usize,
    /// Number of rows of a push.
    pub push_batch: usize,
    /// Operations, in the order in which they are measured.
    pub ops: Vec<Op>,
    /// The optimizer that applies pushes.
    pub push_optimizer: OptimizerKind,
    /// Stored types of values in gathers and updates.
    pub dtypes: Vec<Dtype>,
    /// Numbers of workers that push or reduce at once.
    pub workers: Vec<usize>,
    /// Number of shards that workers push to.
    pub shards: usize,
    /// Distribution of the rows of a batch.
    pub distribution: Distribution,
    /// Number of values of each rank in an all-reduce.
    pub reduce_values: usize,
    /// Backend of all-reduces.
    pub collective: CollectiveBackend,
    /// Size of a copy in bytes.
    pub copy_bytes: usize,
    /// Shortest duration of an operation's samples together, in seconds.
    pub seconds: f64,
    /// Smallest number of samples of an operation.
    pub repeat: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            rows: 1_000_000,
            dim: 128,
            batch: 65_536,
            batches: 1,
            push_batch: 4096,
            ops: Op::ALL.to_vec(),
            push_optimizer: OptimizerKind::Sgd,
            dtypes: vec![Dtype::F32, Dtype::F16 { stochastic: false }],
            workers: vec![1, 2, 4, 8],
            shards: 8,
            distribution: Distribution::Uniform,
            reduce_values: 20_000_000,
            collective: CollectiveBackend::Local,
            copy_bytes: 512 << 20,
            seconds: 0.5,
            repeat: 7,
        }
    }
}

/// Largest number of workers: each of them has gradients of its own.
const MOST_WORKERS: usize = 1024;
/// Largest number of values in a row.
const MOST_DIM: usize = 1 << 20;

impl Options {
    /// Limits for taking samples of an operation.
    pub(super) fn limits(&self) -> Limits {
        Limits {
            seconds: self.seconds,
            samples: self.repeat,
        }
    }

    /// Number of disjoint batches.
    pub(super) fn disjoint(&self) -> usize {
        (self.rows / self.batch.max(1)).clamp(1, self.batches)
    }

    /// Numbers of workers that an operation is measured with.
    pub(super) fn workers_of(&self, op: Op) -> Vec<usize> {
        match op {
            Op::SyncPush | Op::AsyncPush => self.workers.clone(),
            // One worker alone has nothing to reduce.
            Op::AllReduce => self.workers.iter().copied().filter(|&w| w > 1).collect(),
            _ => vec![1],
        }
    }

    /// Stored types of values of an operation.
    pub(super) fn dtypes_of(&self, op: Op) -> &[Dtype] {
        match (op, op.optimizer()) {
            (Op::Gather, _) | (_, Some(_)) => &self.dtypes,
            _ => &[Dtype::F32],
        }
    }

    /// Checks that sizes are in range and fit the device.
    ///
    /// # Errors
    /// [`BenchError`] names the size that is not.
    pub fn check(&self, device: &Device) -> Result<(), BenchError> {
        self.sizes()?;
        if let Device::Gpu(gpu) = device {
            let binding = gpu.binding_limit();
            if self.dim as u64 * 4 > binding {
                let dim = self.dim;
                return Err(BenchError::Binding { dim, binding });
            }
            let most = usize::try_from(binding / 4).unwrap_or(usize::MAX) / self.dim;
            at_most("batch", self.batch, most, "rows of --dim in one binding")?;
            at_most(
                "push-batch",
                self.push_batch,
                most,
                "rows of --dim in one binding",
            )?;
        }
        let software = |gpu: &crate::device::Gpu| gpu.description().kind == AdapterKind::Software;
        let on_host = match device {
            Device::Cpu => true,
            Device::Gpu(gpu) => software(gpu),
        };
        let (needed, what) = self.memory(on_host);
        match available_memory() {
            Some(free) if needed > free => Err(BenchError::Memory { needed, free, what }),
            _ => Ok(()),
        }
    }

    fn sizes(&self) -> Result<(), BenchError> {
        let positive = [
            ("rows", self.rows),
            ("dim", self.dim),
            ("batch", self.batch),
            ("batches", self.batches),
            ("push-batch", self.push_batch),
            ("shards", self.shards),
            ("repeat", self.repeat),
            ("reduce-values", self.reduce_values),
            ("copy-mib", self.copy_bytes),
        ];
        if let Some((what, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(BenchError::Zero(what));
        }
        if self.workers.contains(&0) {
            return Err(BenchError::Zero("workers"));
        }
        for (what, empty) in [
            ("only", self.ops.is_empty()),
            ("workers", self.workers.is_empty()),
            ("dtype", self.dtypes.is_empty()),
        ] {
            if empty {
                return Err(BenchError::Nothing(what));
            }
        }
        if !(0.0..=3600.0).contains(&self.seconds) {
            return Err(BenchError::Seconds(self.seconds));
        }
        at_most("dim", self.dim, MOST_DIM, "values in a row")?;
        let numbered = u32::MAX as usize;
        at_most("rows", self.rows, numbered, "rows can be numbered")?;
        at_most("reduce-values", self.reduce_values, numbered, "values")?;
        at_most("batch", self.batch, self.rows, "rows in the table")?;
        at_most("shards", self.shards, self.rows, "rows in the table")?;
        let layout = ShardLayout::new(self.rows, self.shards, self.rows);
        let smallest = layout.range(layout.shards() - 1).len();
        at_most(
            "push-batch",
            self.push_batch,
            smallest,
            "rows in the smallest shard",
        )?;
        for &workers in &self.workers {
            at_most("workers", workers, MOST_WORKERS, "workers")?;
        }
        Ok(())
    }

    /// Size in bytes of the main memory that the largest operation takes, and the name of this
    /// operation. `on_host` says whether tables are in main memory.
    fn memory(&self, on_host: bool) -> (u64, &'static str) {
        let bytes = |values: usize| values as u64 * 4;
        let row = bytes(self.dim);
        let states = |kind: OptimizerKind| {
            let widths = kind.state_widths(self.dim);
            bytes(widths.iter().sum())
        };
        let table = |kind| match on_host {
            true => self.rows as u64 * (row + states(kind)),
            false => 0,
        };
        let most_workers = self
            .workers
            .iter()
            .max()
            .map_or(1, |&workers| workers as u64);
        let needs = self.ops.iter().map(|&op| {
            let batches = (self.disjoint() * self.batch) as u64 * row;
            let needed = match op {
                Op::Copy => 0,
                Op::Gather => table(OptimizerKind::Sgd) + 2 * batches,
                Op::UpdateSgd | Op::UpdateAdagrad | Op::UpdateAdam | Op::UpdateRowAdagrad => {
                    table(op.optimizer().unwrap_or(OptimizerKind::Sgd)) + batches
                }
                Op::SyncPush | Op::AsyncPush => {
                    let pushed = (self.shards * self.push_batch) as u64 * row;
                    table(self.push_optimizer) + 2 * most_workers * pushed
                }
                Op::Pull => {
                    table(self.push_optimizer) + self.rows.div_ceil(self.shards) as u64 * row
                }
                Op::AllReduce => most_workers * bytes(self.reduce_values),
            };
            (needed, op.name())
        });
        let (most, what) = needs.max().unwrap_or((0, Op::Copy.name()));
        let copies = if on_host {
            (self.copy_bytes as u64).saturating_mul(2)
        } else {
            0
        };
        (most.saturating_add(copies), what)
    }
}

fn at_most(
    what: &'static str,
    found: usize,
    most: usize,
    why: &'static str,
) -> Result<(), BenchError> {
    if found <= most {
        return Ok(());
    }
    Err(BenchError::TooLarge {
        what,
        found,
        most,
        why,
    })
}
