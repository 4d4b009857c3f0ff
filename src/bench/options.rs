//! What is measured, and whether it can be.

use super::{BenchError, Distribution};
use crate::device::{AdapterKind, Device};
use crate::kernel::{Dtype, ShardLayout};
use crate::optim::OptimizerKind;

/// Operations, by the names in results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Op {
    /// The device's own copy.
    Copy,
    /// Random rows of a table, read on the device.
    Gather,
    /// Updates of random rows.
    UpdateSgd,
    /// The same with Adagrad.
    UpdateAdagrad,
    /// The same with Adam.
    UpdateAdam,
    /// The same with Adagrad's state kept by row.
    UpdateRowAdagrad,
    /// Pushes of several workers that meet at a barrier.
    SyncPush,
    /// Pushes that are applied at once.
    AsyncPush,
    /// A shard's rows.
    Pull,
    /// The sum over all workers.
    AllReduce,
}

impl Op {
    /// All of them.
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

    /// The optimizer that it measures, if it names one.
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

/// Sizes, and what to measure.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Rows of the table.
    pub rows: usize,
    /// Values in a row.
    pub dim: usize,
    /// Rows of a gather or an update.
    pub batch: usize,
    /// Disjoint batches that gathers and updates take in turn, as far as the table has rows.
    pub batches: usize,
    /// Rows that a worker pushes at once.
    pub push_batch: usize,
    /// Operations, in the order in which they are measured.
    pub ops: Vec<Op>,
    /// The optimizer behind pushes.
    pub push_optimizer: OptimizerKind,
    /// What values are stored as, in gathers and updates.
    pub dtypes: Vec<Dtype>,
    /// Numbers of workers.
    pub workers: Vec<usize>,
    /// Shards that workers push to.
    pub shards: usize,
    /// How rows are chosen.
    pub distribution: Distribution,
    /// Values that each rank brings to an all-reduce.
    pub reduce_values: usize,
    /// Bytes that are copied to measure the device's own bandwidth.
    pub copy_bytes: usize,
    /// The least seconds that an operation is measured for.
    pub seconds: f64,
    /// The least samples of an operation.
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
            copy_bytes: 512 << 20,
            seconds: 0.5,
            repeat: 7,
        }
    }
}

/// More workers than this are not measured: each of them brings gradients of its own.
const MOST_WORKERS: usize = 1024;
/// Values in a row, at most.
const MOST_DIM: usize = 1 << 20;

impl Options {
    /// How many disjoint batches there are.
    pub(super) fn disjoint(&self) -> usize {
        (self.rows / self.batch.max(1)).clamp(1, self.batches)
    }

    /// Numbers of workers that an operation is measured with.
    pub(super) fn workers_of(&self, op: Op) -> Vec<usize> {
        match op {
            Op::SyncPush | Op::AsyncPush => self.workers.clone(),
            // One has nothing to reduce with.
            Op::AllReduce => self.workers.iter().copied().filter(|&w| w > 1).collect(),
            _ => vec![1],
        }
    }

    /// What values may be stored as in an operation.
    pub(super) fn dtypes_of(&self, op: Op) -> &[Dtype] {
        match (op, op.optimizer()) {
            (Op::Gather, _) | (_, Some(_)) => &self.dtypes,
            _ => &[Dtype::F32],
        }
    }

    /// Checks that sizes make sense and fit the device.
    ///
    /// # Errors
    /// [`BenchError`] says which does not.
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
        match free_memory() {
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

    /// Bytes of main memory that the operation which takes most needs, and which one that is.
    /// `on_host` says whether tables are there too.
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

/// Bytes of main memory that can be had without swapping, where the system says.
pub(super) fn free_memory() -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find(|l| l.starts_with("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib << 10)
}
