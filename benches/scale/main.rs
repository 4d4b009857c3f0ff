//! Training on generated graphs of growing size: time and peak memory.
//!
//! ```text
//! cargo bench --bench scale -- --device cpu --entities 10000,100000
//! ```

#[path = "../common/mod.rs"]
mod common;
mod growth;

use std::io::{self, Write};
use std::process::{Command, ExitCode, Stdio};

use clap::Parser;
use shardloom::bench::{Output, format_seconds, json};

use common::{BenchResult, CommonArgs};
use growth::{Measurement, Scale};

/// Train on generated graphs of growing size, and measure time and peak memory
///
/// DistMult is trained on graphs with ten facts for each entity. Results are seconds for a million
/// facts, and the peak memory of the process compared with the least memory of tables, optimizer
/// state, facts and filter index. A process has one peak, so each size is trained in a process of
/// its own.
#[derive(Debug, Parser)]
#[command(name = "scale", bin_name = "cargo bench --bench scale --")]
struct ScaleArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// Numbers of entities.
    #[arg(long, value_delimiter = ',', value_name = "N,…",
          default_values_t = [10_000, 100_000, 1_000_000, 10_000_000])]
    entities: Vec<u32>,
    /// Values in a row.
    #[arg(long, default_value_t = Scale::default().dim)]
    dim: usize,
    /// Facts to time at each size, after a third as many that warm up.
    #[arg(long, default_value_t = Scale::default().facts)]
    facts: u64,
}

fn main() -> ExitCode {
    common::exit(run(&ScaleArgs::parse()))
}

fn run(args: &ScaleArgs) -> BenchResult<()> {
    let mut devices = args.common.devices()?;
    let (Some(device), true) = (devices.pop(), devices.is_empty()) else {
        return Err("--device all: the benchmark measures one device at a time".into());
    };
    let scale = |entities| Scale {
        entities,
        dim: args.dim,
        facts: args.facts,
    };
    for &entities in &args.entities {
        scale(entities).check(&device)?;
    }
    let output = Output::create(args.common.output.as_deref())?;
    let mut out = io::stdout().lock();
    if !args.common.json {
        headings(&mut out)?;
    }
    let mut all = Vec::new();
    for &entities in &args.entities {
        let result = match args.entities[..] {
            [_] => scale(entities).measure(device.clone())?,
            _ => in_own_process(&scale(entities), &args.common.device)?,
        };
        match args.common.json {
            true => writeln!(out, "{}", json(&result))?,
            false => line(&mut out, &result)?,
        }
        out.flush()?;
        all.push(result);
    }
    Ok(output.write(&all)?)
}

/// Measures a size in a process of its own.
fn in_own_process(scale: &Scale, device: &str) -> BenchResult<Measurement> {
    let Scale {
        entities,
        dim,
        facts,
    } = scale;
    let output = Command::new(std::env::current_exe()?)
        .args(["--json", "--device", device])
        .arg(format!("--entities={entities}"))
        .arg(format!("--dim={dim}"))
        .arg(format!("--facts={facts}"))
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("{entities} entities: the measuring process failed").into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn headings(out: &mut impl Write) -> io::Result<()> {
    let headings = format!(
        "{:>11} {:>12} {:>12} {:>12} {:>11} {:>11} {:>13} {:>9} {:>9}",
        "ENTITIES",
        "TRIPLES",
        "S/M TRIPLES",
        "BYTES/ENTITY",
        "PEAK",
        "FORMULA",
        "PEAK/FORMULA",
        "GENERATE",
        "INDEX"
    );
    writeln!(out, "{headings}")
}

fn line(out: &mut impl Write, result: &Measurement) -> io::Result<()> {
    let mb = |bytes: u64| format!("{:.0} MB", bytes as f64 / 1e6);
    writeln!(
        out,
        "{:>11} {:>12} {:>12.2} {:>12.0} {:>11} {:>11} {:>13.2} {:>9} {:>9}",
        result.entities,
        result.triples,
        result.seconds_per_million,
        result.bytes_per_entity,
        mb(result.peak_bytes),
        mb(result.formula_bytes),
        result.peak_over_formula,
        format_seconds(result.generate_s),
        format_seconds(result.index_s),
    )
}
