//! `shardloom bench`: how fast shards are read and updated.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use clap::ValueEnum;
use shardloom::bench::{
    Bench, CollectiveBackend, Distribution, Measurement, Op, Options, Output, TimedBy, devices,
    format_seconds,
};
use shardloom::kernel::Dtype;
use shardloom::optim::OptimizerKind;

use super::CommandResult;

/// Measure how fast shards are updated, pushed, pulled and reduced, compared with a copy
///
/// Every operation is compared with a copy within the device's memory, measured just before and
/// after it. GB/s counts the least bytes that the operation must move; SHARE is that over the
/// copy's GB/s (read and written). At a SHARE of 0.8, an operation takes 1 / 0.8 of the time in
/// which a copy moves the same bytes. Every figure is a median; SPREAD is half of the range from the
/// shortest to the longest sample.
///
///   copy                  reads and writes a buffer larger than the caches
///   gather                reads random rows of the table          8·dim bytes a row
///   update_sgd            one optimizer, on random rows           12·dim
///   update_adagrad                                                20·dim
///   update_adam                                                   28·dim
///   update_row_adagrad                                            12·dim + 8
///   sync_push, async_push rows that workers push to the server    as the update
///   pull                  a shard's rows, to a worker             4·dim
///   all_reduce            sums of all workers' values             8 a value and worker
///
/// Rows of f16 take two bytes less each time that a value is read or written. On a GPU, copies,
/// gathers and updates are timed by the device's own clock if it has one.
///
/// Examples:
///   shardloom bench --device cpu
///   shardloom bench --only copy,update_sgd,update_adagrad --rows 10000000
///   shardloom bench --only sync_push,async_push --workers 1,4 --json
///
/// Whole training steps, and training on graphs of growing size, have benchmarks of their own in the
/// source repository: `cargo bench --bench training` and `cargo bench --bench scale`.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct BenchArgs {
    /// Device that computes: auto, cpu, gpu, gpu:N or all (see `shardloom devices`).
    #[arg(long, default_value = "auto")]
    device: String,
    /// Only these operations.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "OP,…")]
    only: Vec<Op>,
    /// Rows of the table.
    #[arg(long, default_value_t = Options::default().rows)]
    rows: usize,
    /// Values in a row.
    #[arg(long, default_value_t = Options::default().dim)]
    dim: usize,
    /// Rows of a gather or an update [default: 65536, or all rows if they are fewer].
    #[arg(long, value_name = "ROWS")]
    batch: Option<usize>,
    /// Disjoint batches that gathers and updates take in turn. Rows of a single batch may stay in
    /// the last cache.
    #[arg(long, default_value_t = Options::default().batches)]
    batches: usize,
    /// Rows that a worker pushes at once [default: 4096, or a shard if that is smaller].
    #[arg(long, value_name = "ROWS")]
    push_batch: Option<usize>,
    /// The optimizers to measure; workers push to the first.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "all")]
    optimizer: Vec<Optimizer>,
    /// Stored types of values in gathers and updates.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["f32", "f16"])]
    dtype: Vec<Stored>,
    /// Numbers of workers that push or reduce at once.
    #[arg(long, value_delimiter = ',', default_values_t = Options::default().workers)]
    workers: Vec<usize>,
    /// Shards that workers push to, one after the other.
    #[arg(long, default_value_t = Options::default().shards)]
    shards: usize,
    /// Distribution of rows: all alike, or as in real graphs, where some rows are in every batch.
    #[arg(long, value_enum, default_value_t = Distribution::Uniform)]
    distribution: Distribution,
    /// Values that each worker brings to an all-reduce.
    #[arg(long, value_name = "VALUES", default_value_t = Options::default().reduce_values)]
    reduce_values: usize,
    /// Way of an all-reduce's values: memory, or connections as between processes.
    #[arg(long, value_enum, default_value_t = CollectiveBackend::Local)]
    collective: CollectiveBackend,
    /// Size of the copied buffer; it should not fit into caches.
    #[arg(long, value_name = "MIB", default_value_t = Options::default().copy_bytes >> 20)]
    copy_mib: usize,
    /// Shortest duration of all samples of an operation, in seconds.
    #[arg(long, default_value_t = Options::default().seconds)]
    seconds: f64,
    /// Smallest number of samples of an operation.
    #[arg(long, default_value_t = Options::default().repeat)]
    repeat: usize,
    /// Print a line of JSON for each operation.
    #[arg(long)]
    json: bool,
    /// Write the lines of JSON to a file.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Stored {
    F32,
    F16,
    F16Stochastic,
}

impl Stored {
    fn dtype(self) -> Dtype {
        match self {
            Stored::F32 => Dtype::F32,
            Stored::F16 => Dtype::F16 { stochastic: false },
            Stored::F16Stochastic => Dtype::F16 { stochastic: true },
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Optimizer {
    Sgd,
    Adagrad,
    Adam,
    RowAdagrad,
    All,
}

impl Optimizer {
    fn kinds(self) -> Vec<OptimizerKind> {
        use OptimizerKind::{Adagrad, Adam, RowAdagrad, Sgd};
        match self {
            Optimizer::Sgd => vec![Sgd],
            Optimizer::Adagrad => vec![Adagrad],
            Optimizer::Adam => vec![Adam],
            Optimizer::RowAdagrad => vec![RowAdagrad],
            Optimizer::All => vec![Sgd, Adagrad, Adam, RowAdagrad],
        }
    }
}

impl BenchArgs {
    fn options(&self) -> Options {
        let defaults = Options::default();
        let kinds: Vec<_> = self.optimizer.iter().flat_map(|o| o.kinds()).collect();
        let wanted = |op: &Op| match (self.only.is_empty(), op.optimizer()) {
            (false, _) => self.only.contains(op),
            (true, Some(kind)) => kinds.contains(&kind),
            (true, None) => true,
        };
        let shard = self.rows.div_ceil(self.shards.max(1));
        let smallest = self
            .rows
            .saturating_sub(shard * self.rows.div_ceil(shard.max(1)).saturating_sub(1));
        Options {
            rows: self.rows,
            dim: self.dim,
            batch: self.batch.unwrap_or(defaults.batch.min(self.rows)),
            batches: self.batches,
            push_batch: self.push_batch.unwrap_or(defaults.push_batch.min(smallest)),
            ops: Op::ALL.into_iter().filter(wanted).collect(),
            push_optimizer: kinds.first().copied().unwrap_or(defaults.push_optimizer),
            dtypes: self.dtype.iter().map(|stored| stored.dtype()).collect(),
            workers: self.workers.clone(),
            shards: self.shards,
            distribution: self.distribution,
            reduce_values: self.reduce_values,
            collective: self.collective,
            copy_bytes: self.copy_mib.saturating_mul(1 << 20),
            seconds: self.seconds,
            repeat: self.repeat,
        }
    }
}

/// Runs the command.
pub fn run(args: BenchArgs) -> CommandResult {
    let options = args.options();
    let mut opened = devices(&args.device)?;
    for found in &mut opened {
        if let Some(note) = found.note.take() {
            super::tell(&note);
        }
        options.check(&found.device)?;
    }
    let output = Output::create(args.output.as_deref())?;
    let tells = io::stderr().is_terminal();
    let mut out = io::stdout().lock();
    let style = Style::of(&out);
    let mut all = Vec::new();
    for found in opened {
        let bench = Bench::new(found.device, &options)?;
        let results = bench.run(&mut |op| {
            if tells {
                let _ = write!(io::stderr(), "\r\x1b[Kmeasuring {op}");
            }
        })?;
        if tells {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
        if args.json {
            for result in &results {
                writeln!(out, "{}", result.json())?;
            }
        } else {
            table(&mut out, style, &options, bench.device(), &results)?;
        }
        out.flush()?;
        all.extend(results);
    }
    Ok(output.write(&all)?)
}

/// Colours, if the output is a terminal.
#[derive(Clone, Copy)]
struct Style {
    colours: bool,
}

impl Style {
    fn of(out: &impl IsTerminal) -> Style {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Style {
            colours: out.is_terminal() && !unwanted,
        }
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self.colours {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

fn table(
    out: &mut impl Write,
    style: Style,
    options: &Options,
    device: &str,
    results: &[Measurement],
) -> io::Result<()> {
    let (rows, dim) = (options.rows, options.dim);
    writeln!(out, "{}: table {rows} × {dim}", style.paint("1", device))?;
    let headings = format!(
        "{:<18} {:<14} {:>9} {:>7} {:>11} {:>7} {:>12} {:>7} {:>6}",
        "OP", "DTYPE", "BATCH", "WORKERS", "MEDIAN", "SPREAD", "ROWS/S", "GB/S", "SHARE"
    );
    writeln!(out, "{}", style.paint("2", &headings))?;
    for result in results {
        let share = format!("{:6.2}", result.share_of_copy);
        let colour = match result.share_of_copy {
            share if share >= 1.0 => "32",
            share if share >= 0.5 => "33",
            _ => "31",
        };
        let spread = (result.max_s - result.min_s) / 2.0 / result.median_s;
        writeln!(
            out,
            "{:<18} {:<14} {:>9} {:>7} {:>11} {:>6.0}% {:>12.0} {:>7.1} {}",
            result.op.name(),
            result.dtype,
            result.batch,
            result.workers,
            format_seconds(result.median_s),
            spread * 100.0,
            result.rows_per_second,
            result.gb_per_second,
            style.paint(colour, &share),
        )?;
    }
    clocks(out, style, results)
}

/// Names the operations of each clock, unless the host timed all of them.
fn clocks(out: &mut impl Write, style: Style, results: &[Measurement]) -> io::Result<()> {
    let of = |clock: TimedBy| {
        let mut ops: Vec<_> = (results.iter().filter(|r| r.timed_by == clock))
            .map(|result| result.op.name())
            .collect();
        ops.dedup();
        ops.join(", ")
    };
    let (device, host) = (of(TimedBy::Device), of(TimedBy::Host));
    let line = match (device.is_empty(), host.is_empty()) {
        (true, _) => return Ok(()),
        (_, true) => "by the device's clock".to_owned(),
        _ => format!("by the device's clock: {device}; by the host's: {host}"),
    };
    writeln!(out, "{}", style.paint("2", &line))
}
