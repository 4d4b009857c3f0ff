//! `shardloom bench`: how fast shards are read and updated, and how fast training is.

mod scale;
mod training;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use clap::ValueEnum;
use shardloom::bench::{Bench, Distribution, Measurement, Op, Options, Outputs, TimedBy};
use shardloom::device::{self, Device, DeviceChoice};
use shardloom::kernel::{Dtype, MatmulPrecision};
use shardloom::optim::OptimizerKind;

use super::CommandResult;

/// Measure how fast the shards of a table are read and updated, or how fast training is
///
/// With `--suite training`, whole training steps and rankings are timed at the sizes of FB15k-237:
/// 1-vs-all steps in queries/s, steps with negatives in facts/s, filtered rankings in queries/s.
/// With `--suite scale`, DistMult is trained on generated graphs of 10 thousand to 10 million
/// entities with ten facts each: seconds a million facts, and peak memory beside what tables,
/// optimizer state, facts and filter index must take; each size in a process of its own.
/// Otherwise rows are read and updated. Copies within the device's memory come first; everything else is measured beside them. GB/s
/// count the least bytes that the work must move, for a row of dim values: gather 8·dim; SGD
/// 12·dim, Adagrad 20·dim, Adam 28·dim, row-Adagrad 12·dim + 8, the same for rows that workers
/// push; pull 4·dim; all-reduce 8 for every value and rank. Values that are stored as f16 take two
/// bytes less each time that they are read or written. SHARE is that over the copy's bytes (read
/// and written) a second, measured just before or after, whichever is larger.
///
/// On a GPU, copies, gathers and updates are timed by the device's own clock, where it has one, and
/// everything else by the host's; BUSY is the share of a training step that the device works, and
/// `--stages` says on what.
///
/// Every figure is a median; SPREAD is half the way from the shortest to the longest sample.
///
/// Examples: `shardloom bench --only copy,update_sgd,update_adagrad`,
/// `shardloom bench --suite training --device cpu --json`,
/// `shardloom bench --suite scale --device cpu --chart growth.svg`
#[derive(Debug, clap::Args)]
pub struct BenchArgs {
    /// Where to compute: auto, cpu, gpu, gpu:N or all (see `shardloom devices`).
    #[arg(long, default_value = "auto")]
    device: String,
    /// What to measure.
    #[arg(long, value_enum, default_value_t = Suite::Updates)]
    suite: Suite,
    /// Of the training suite, only lines with these names.
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    name: Vec<String>,
    /// Of the training suite, list the time of every stage, too (on GPUs that can time them).
    #[arg(long)]
    stages: bool,
    /// Of the training suite, how exact products against all entities have to be.
    #[arg(long, value_enum, default_value_t)]
    products: MatmulPrecision,
    /// Rows of the table.
    #[arg(long, default_value_t = Options::default().rows)]
    rows: usize,
    /// Values in a row [default: 128; of the scale suite: 64]; of the training suite, only lines with
    /// so many.
    #[arg(long)]
    dim: Option<usize>,
    /// Of the scale suite: sizes [default: 10000,100000,1000000,10000000].
    #[arg(long, value_delimiter = ',', value_name = "N,…")]
    entities: Vec<u32>,
    /// Of the scale suite: facts to time at each size, after a third as many that warm up
    /// [default: 1500000].
    #[arg(long)]
    facts: Option<u64>,
    /// Rows of a gather or an update [default: 65536, or all rows if they are fewer].
    #[arg(long, value_name = "ROWS")]
    batch: Option<usize>,
    /// Disjoint batches that gathers and updates take in turn: with one, its rows may stay in the
    /// last cache.
    #[arg(long, default_value_t = Options::default().batches)]
    batches: usize,
    /// Rows that a worker pushes at once [default: 4096, or a shard if that is smaller].
    #[arg(long, value_name = "ROWS")]
    push_batch: Option<usize>,
    /// The optimizers to measure; workers push to the first.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "all")]
    optimizer: Vec<Optimizer>,
    /// What values are stored as, in gathers and updates.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["f32", "f16"])]
    dtype: Vec<Stored>,
    /// Numbers of workers that push, or reduce, at once.
    #[arg(long, value_delimiter = ',', default_values_t = Options::default().workers)]
    workers: Vec<usize>,
    /// Shards that workers push to, one after the other.
    #[arg(long, default_value_t = Options::default().shards)]
    shards: usize,
    /// How rows are chosen: all alike, or as in real graphs, where some are in every batch.
    #[arg(long, value_enum, default_value_t = Distribution::Uniform)]
    distribution: Distribution,
    /// Only these operations.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "OP,…")]
    only: Vec<Op>,
    /// Values that each worker brings to an all-reduce.
    #[arg(long, value_name = "VALUES", default_value_t = Options::default().reduce_values)]
    reduce_values: usize,
    /// Size of the copied buffer; more than fits into caches.
    #[arg(long, value_name = "MIB", default_value_t = Options::default().copy_bytes >> 20)]
    copy_mib: usize,
    /// The least time to measure each operation for.
    #[arg(long, default_value_t = Options::default().seconds)]
    seconds: f64,
    /// The least samples of each operation.
    #[arg(long, default_value_t = Options::default().repeat)]
    repeat: usize,
    /// Print a line of JSON for each operation.
    #[arg(long)]
    json: bool,
    /// Write the lines of JSON to a file.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Draw the figures as bars (SVG).
    #[arg(long, value_name = "FILE", conflicts_with = "name")]
    chart: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// Rows of a table, read and updated.
    Updates,
    /// Training steps and rankings.
    Training,
    /// Training on graphs of growing size.
    Scale,
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
            dim: self.dim.unwrap_or(defaults.dim),
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
            copy_bytes: self.copy_mib.saturating_mul(1 << 20),
            seconds: self.seconds,
            repeat: self.repeat,
        }
    }

    fn devices(&self) -> Result<Vec<Device>, Box<dyn std::error::Error>> {
        if self.device != "all" {
            let opened = device::open_with(self.device.parse()?, &Default::default())?;
            if let Some(note) = opened.note {
                super::tell(&note);
            }
            return Ok(vec![opened.device]);
        }
        let adapters = (0..device::list().len()).map(DeviceChoice::GpuAt);
        let choices = std::iter::once(DeviceChoice::Cpu).chain(adapters);
        Ok(choices.map(device::open).collect::<Result<_, _>>()?)
    }
}

/// Runs the command.
pub fn run(args: BenchArgs) -> CommandResult {
    match args.suite {
        Suite::Updates if args.stages => {
            Err("--stages goes with --suite training: updates are single stages".into())
        }
        Suite::Updates => updates(args),
        Suite::Training => training::run(&args),
        Suite::Scale => scale::run(&args),
    }
}

fn updates(args: BenchArgs) -> CommandResult {
    let options = args.options();
    let devices = args.devices()?;
    for device in &devices {
        options.check(device)?;
    }
    let outputs = Outputs::create(args.output.as_deref(), args.chart.as_deref())?;
    let tells = io::stderr().is_terminal();
    let mut out = io::stdout().lock();
    let style = Style::of(&out);
    let mut all = Vec::new();
    for device in devices {
        let bench = Bench::new(device, &options)?;
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
    Ok(outputs.write(&all)?)
}

/// Colours, where a person looks at them.
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
            time(result.median_s),
            spread * 100.0,
            result.rows_per_second,
            result.gb_per_second,
            style.paint(colour, &share),
        )?;
    }
    clocks(out, style, results)
}

/// Says whose clock which times are from, where it is not always the host's.
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

fn time(seconds: f64) -> String {
    match seconds {
        s if s >= 1.0 => format!("{s:.3} s"),
        s if s >= 1e-3 => format!("{:.3} ms", s * 1e3),
        s => format!("{:.1} µs", s * 1e6),
    }
}
