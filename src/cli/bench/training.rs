//! `shardloom bench --suite training`.

use std::io::{self, IsTerminal, Write};

use shardloom::bench::{OnDevice, Outputs, Training, TrainingBench, TrainingMeasurement};
use shardloom::device::Device;

use super::{BenchArgs, Style, time};
use crate::cli::CommandResult;

/// Times training steps and rankings on every device asked for.
pub fn run(args: &BenchArgs) -> CommandResult {
    let chosen = chosen(&args.name, args.dim)?;
    let devices = args.devices()?;
    let outputs = Outputs::create(args.output.as_deref(), None)?;
    let tells = io::stderr().is_terminal();
    let mut out = io::stdout().lock();
    let style = Style::of(&out);
    let mut all = Vec::new();
    for device in devices {
        if args.stages && matches!(device, Device::Cpu) {
            crate::cli::tell("the CPU: stages are timed on GPUs only");
        }
        let bench = TrainingBench::new(device, args.seconds, args.repeat)?.with_stages(args.stages);
        let bench = bench.with_products(args.products);
        if !args.json {
            headings(&mut out, style, bench.device())?;
        }
        for what in &chosen {
            if tells {
                let _ = write!(io::stderr(), "\r\x1b[Kmeasuring {}", what.name);
            }
            let result = bench.measure(what)?;
            if tells {
                let _ = write!(io::stderr(), "\r\x1b[K");
            }
            match args.json {
                true => writeln!(out, "{}", result.json())?,
                false => line(&mut out, &result)?,
            }
            if let (true, false, Some(found)) = (args.stages, args.json, &result.on_device) {
                stages(&mut out, style, found)?;
            }
            out.flush()?;
            all.push(result);
        }
    }
    Ok(outputs.write_training(&all)?)
}

fn chosen(names: &[String], dim: Option<usize>) -> Result<Vec<Training>, String> {
    if let Some(unknown) = names
        .iter()
        .find(|name| !Training::ALL.iter().any(|t| t.name == *name))
    {
        let mut known: Vec<&str> = Training::ALL.iter().map(|t| t.name).collect();
        known.sort_unstable();
        known.dedup();
        return Err(format!(
            "--name {unknown}: there is no such line; there are {}",
            known.join(", ")
        ));
    }
    let named = |what: &&Training| names.is_empty() || names.iter().any(|name| name == what.name);
    let wide = |what: &&Training| dim.is_none_or(|dim| dim == what.dim);
    let chosen = Training::ALL.iter().filter(named).filter(wide);
    let chosen: Vec<Training> = chosen.copied().collect();
    match (chosen.is_empty(), dim) {
        (true, Some(dim)) => Err(format!("--dim {dim}: no line of the training suite has it")),
        _ => Ok(chosen),
    }
}

fn headings(out: &mut impl Write, style: Style, device: &str) -> io::Result<()> {
    writeln!(out, "{}", style.paint("1", device))?;
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
    writeln!(out, "{}", style.paint("2", &headings))
}

fn line(out: &mut impl Write, result: &TrainingMeasurement) -> io::Result<()> {
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
        time(result.median_s),
        spread * 100.0,
        result.batch as f64 / result.median_s,
        or_none(result.gflop_s.map(|f| format!("{f:.0}"))),
        or_none(result.plan_s.map(time)),
        or_none((result.on_device.as_ref()).map(|d| format!("{:.0}%", d.device_busy * 100.0))),
    )
}

/// What a step has the device do, stage by stage, and what it asks of it.
fn stages(out: &mut impl Write, style: Style, found: &OnDevice) -> io::Result<()> {
    let all: f64 = found.stages.iter().map(|stage| stage.seconds).sum();
    let headings = format!(
        "  {:<28} {:>6} {:>11} {:>6}",
        "STAGE", "RUNS", "TIME", "SHARE"
    );
    writeln!(out, "{}", style.paint("2", &headings))?;
    for stage in &found.stages {
        writeln!(
            out,
            "  {:<28} {:>6} {:>11} {:>5.0}%",
            stage.stage,
            round(stage.runs),
            time(stage.seconds),
            100.0 * stage.seconds / all,
        )?;
    }
    let asked: Vec<String> = (found.per_step.iter())
        .map(|(name, count)| format!("{} {}", name.replace('_', " "), round(*count)))
        .collect();
    writeln!(out, "  {:<28} {:>6} {:>11}", "all stages", "", time(all))?;
    writeln!(out, "  a step asks of the device: {}", asked.join(", "))
}

/// A count of a step: whole, unless it is an average.
fn round(count: f64) -> String {
    let places = if (count - count.round()).abs() < 0.005 {
        0
    } else {
        2
    };
    format!("{count:.places$}")
}
