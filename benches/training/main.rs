//! Training steps and filtered rankings, timed at the sizes of FB15k-237.
//!
//! ```text
//! cargo bench --bench training -- --device cpu --name complex_1vsall --dim 200
//! ```

#[path = "../common/mod.rs"]
mod common;
mod suite;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use shardloom::bench::{Limits, Options, Output, format_seconds, json};
use shardloom::device::Device;
use shardloom::kernel::MatmulPrecision;

use common::{BenchResult, CommonArgs};
use suite::{Measurement, OnDevice, Suite, Work};

/// Time training steps and filtered rankings at the sizes of FB15k-237
///
/// Steps against all entities (1-vs-all) and rankings are given in queries a second, steps with
/// negatives in triples a second. PLAN is the time in which one thread makes the plan of a step.
/// BUSY is the share of a step's time that a GPU works, by its own clock; `--stages` lists the
/// stages. Every figure is a median; SPREAD is half of the range from the shortest to the longest
/// sample.
#[derive(Debug, Parser)]
#[command(name = "training", bin_name = "cargo bench --bench training --")]
struct TrainingArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// Only work with these names: complex_1vsall, negsamp_transe_l1, negsamp_distmult,
    /// negsamp_rotate, rank_complex.
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    name: Vec<String>,
    /// Only work with this number of values in an entity's row.
    #[arg(long)]
    dim: Option<usize>,
    /// List the time of every stage, on GPUs that have a clock.
    #[arg(long)]
    stages: bool,
    /// Precision of matrix products in steps against all entities.
    #[arg(long, value_enum, default_value_t)]
    products: MatmulPrecision,
    /// Shortest duration of all samples of a figure, in seconds.
    #[arg(long, default_value_t = Options::default().seconds)]
    seconds: f64,
    /// Smallest number of samples of a figure.
    #[arg(long, default_value_t = Options::default().repeat)]
    repeat: usize,
}

fn main() -> ExitCode {
    common::exit(run(&TrainingArgs::parse()))
}

fn run(args: &TrainingArgs) -> BenchResult<()> {
    let chosen = chosen(&args.name, args.dim)?;
    let devices = args.common.devices()?;
    let output = Output::create(args.common.output.as_deref())?;
    let tells = io::stderr().is_terminal();
    let mut out = io::stdout().lock();
    let mut all = Vec::new();
    for device in devices {
        if args.stages && matches!(device, Device::Cpu) {
            eprintln!("the CPU: stages are timed on GPUs only");
        }
        let limits = Limits {
            seconds: args.seconds,
            samples: args.repeat,
        };
        let suite = Suite::new(device, limits)?
            .with_stages(args.stages)
            .with_products(args.products);
        if !args.common.json {
            headings(&mut out, suite.device())?;
        }
        for work in &chosen {
            if tells {
                eprint!("\r\x1b[Kmeasuring {}", work.name);
            }
            let result = suite.measure(work)?;
            if tells {
                eprint!("\r\x1b[K");
            }
            match (args.common.json, &result.on_device) {
                (true, _) => writeln!(out, "{}", json(&result))?,
                (false, Some(found)) if args.stages => {
                    line(&mut out, &result)?;
                    stages(&mut out, found)?;
                }
                (false, _) => line(&mut out, &result)?,
            }
            out.flush()?;
            all.push(result);
        }
    }
    Ok(output.write(&all)?)
}

/// The work with one of these names and this dimension. Without names, all work.
fn chosen(names: &[String], dim: Option<usize>) -> Result<Vec<Work>, String> {
    if let Some(unknown) = names
        .iter()
        .find(|name| !Work::ALL.iter().any(|work| work.name == *name))
    {
        let mut known: Vec<&str> = Work::ALL.iter().map(|work| work.name).collect();
        known.sort_unstable();
        known.dedup();
        return Err(format!(
            "--name {unknown}: unknown, expected one of {}",
            known.join(", ")
        ));
    }
    let named = |work: &&Work| names.is_empty() || names.iter().any(|name| name == work.name);
    let wide = |work: &&Work| dim.is_none_or(|dim| dim == work.dim);
    let chosen = Work::ALL.iter().filter(named).filter(wide);
    let chosen: Vec<Work> = chosen.copied().collect();
    match (chosen.is_empty(), dim) {
        (true, Some(dim)) => Err(format!("--dim {dim}: no work of these names has it")),
        _ => Ok(chosen),
    }
}

fn headings(out: &mut impl Write, device: &str) -> io::Result<()> {
    writeln!(out, "{device}")?;
    let headings = format!(
        "{:<18} {:>5} {:>6} {:>9} {:>9} {:>11} {:>7} {:>12} {:>9} {:>11} {:>5}",
        "NAME",
        "DIM",
        "BATCH",
        "NEGATIVES",
        "OPTIMIZER",
        "MEDIAN",
        "SPREAD",
        "PER SECOND",
        "GFLOP/S",
        "PLAN",
        "BUSY"
    );
    writeln!(out, "{headings}")
}

fn line(out: &mut impl Write, result: &Measurement) -> io::Result<()> {
    let spread = (result.max_s - result.min_s) / 2.0 / result.median_s;
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
    writeln!(
        out,
        "{:<18} {:>5} {:>6} {:>9} {:>9} {:>11} {:>6.0}% {:>12.0} {:>9} {:>11} {:>5}",
        result.name,
        result.dim,
        result.batch,
        or_none(result.negatives.map(|n| n.to_string())),
        or_none(result.optimizer.map(|kind| kind.name().to_owned())),
        format_seconds(result.median_s),
        spread * 100.0,
        result.batch as f64 / result.median_s,
        or_none(result.gflop_s.map(|f| format!("{f:.0}"))),
        or_none(result.plan_s.map(format_seconds)),
        or_none((result.on_device.as_ref()).map(|d| format!("{:.0}%", d.device_busy * 100.0))),
    )
}

/// The stages of a step, and its requests to the device.
fn stages(out: &mut impl Write, found: &OnDevice) -> io::Result<()> {
    let all: f64 = found.stages.iter().map(|stage| stage.seconds).sum();
    let headings = format!(
        "  {:<28} {:>6} {:>11} {:>6}",
        "STAGE", "RUNS", "TIME", "SHARE"
    );
    writeln!(out, "{headings}")?;
    for stage in &found.stages {
        writeln!(
            out,
            "  {:<28} {:>6} {:>11} {:>5.0}%",
            stage.stage,
            round(stage.runs),
            format_seconds(stage.seconds),
            100.0 * stage.seconds / all,
        )?;
    }
    let asked: Vec<String> = (found.per_step.iter())
        .map(|(name, count)| format!("{} {}", name.replace('_', " "), round(*count)))
        .collect();
    writeln!(
        out,
        "  {:<28} {:>6} {:>11}",
        "all stages",
        "",
        format_seconds(all)
    )?;
    writeln!(out, "  a step asks of the device: {}", asked.join(", "))
}

/// A count of a step, without decimals if it is whole.
fn round(count: f64) -> String {
    let places = if (count - count.round()).abs() < 0.005 {
        0
    } else {
        2
    };
    format!("{count:.places$}")
}
