//! `shardloom bench --suite scale`.

use std::error::Error;
use std::io::{self, Write};
use std::process::{Command, Stdio};

use shardloom::bench::{Outputs, Scale, ScaleMeasurement};

use super::{BenchArgs, Style, time};
use crate::cli::CommandResult;

/// Sizes from within all caches to well beyond them.
const SIZES: [u32; 4] = [10_000, 100_000, 1_000_000, 10_000_000];

/// Trains on graphs of several sizes: one here, several each in a process of its own, since a
/// process has one peak of memory.
pub fn run(args: &BenchArgs) -> CommandResult {
    let sizes = match args.entities.is_empty() {
        true => &SIZES[..],
        false => &args.entities,
    };
    let mut devices = args.devices()?;
    let (Some(device), true) = (devices.pop(), devices.is_empty()) else {
        return Err("--suite scale measures one device at a time".into());
    };
    let defaults = Scale::default();
    let scale = |entities| Scale {
        entities,
        dim: args.dim.unwrap_or(defaults.dim),
        facts: args.facts.unwrap_or(defaults.facts),
    };
    for &entities in sizes {
        scale(entities).check(&device)?;
    }
    let outputs = Outputs::create(args.output.as_deref(), args.chart.as_deref())?;
    let mut out = io::stdout().lock();
    if !args.json {
        headings(&mut out)?;
    }
    let mut all = Vec::new();
    for &entities in sizes {
        let result = match sizes {
            [_] => scale(entities).measure(device.clone())?,
            _ => apart(&scale(entities), &args.device)?,
        };
        match args.json {
            true => writeln!(out, "{}", result.json())?,
            false => line(&mut out, &result)?,
        }
        out.flush()?;
        all.push(result);
    }
    Ok(outputs.write_scale(&all)?)
}

/// Measures a size in a process of its own.
fn apart(scale: &Scale, device: &str) -> Result<ScaleMeasurement, Box<dyn Error>> {
    let Scale {
        entities,
        dim,
        facts,
    } = scale;
    let output = Command::new(std::env::current_exe()?)
        .args(["bench", "--suite", "scale", "--json", "--device", device])
        .arg(format!("--entities={entities}"))
        .arg(format!("--dim={dim}"))
        .arg(format!("--facts={facts}"))
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("{entities} entities: the measuring process failed").into());
    }
    Ok(ScaleMeasurement::parse(
        String::from_utf8_lossy(&output.stdout).trim(),
    )?)
}

fn headings(out: &mut impl Write) -> io::Result<()> {
    let style = Style::of(&io::stdout());
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
    writeln!(out, "{}", style.paint("2", &headings))
}

fn line(out: &mut impl Write, result: &ScaleMeasurement) -> io::Result<()> {
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
        time(result.generate_s),
        time(result.index_s),
    )
}
