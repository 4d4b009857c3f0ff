//! `shardloom graph info` and `graph check`: what a graph file holds, and whether it is whole.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use shardloom::graph::{Degrees, Description, Graph};

use super::super::outcome::CommandResult;

/// Arguments of `graph info`.
#[derive(Debug, Args)]
pub struct InfoArgs {
    /// A graph file, as `graph build` wrote it.
    file: PathBuf,
    /// Print everything as JSON.
    #[arg(long)]
    json: bool,
}

/// Arguments of `graph check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// A graph file, as `graph build` wrote it.
    file: PathBuf,
}

/// Description of a graph file.
pub(super) fn to_json(description: &Description) -> Value {
    let sections = description.sections();
    let sections = sections.map(|(name, bytes)| (name.to_string(), bytes.into()));
    let part = description.part();
    let mut all = json!({
        "name": description.name,
        "nodes": description.nodes,
        "relations": description.relations,
        "facts": description.facts,
        "held_out": description.held_out,
        "digest": format!("{:016x}", description.digest()),
        "sections": sections.collect::<serde_json::Map<_, _>>(),
    });
    if part.of > 1 {
        all["part"] = json!({
            "index": part.index,
            "of": part.of,
            "start": part.start,
            "end": part.end,
            "graph": format!("{:016x}", part.digest),
        });
    }
    all
}

/// Runs `graph info`.
///
/// # Errors
/// If the file cannot be read.
pub fn run(args: InfoArgs) -> CommandResult {
    let graph = Graph::open(&args.file)?;
    graph.check(&args.file)?;
    let (description, profile) = (graph.description(), graph.profile()?);
    let text = if args.json {
        let mut all = to_json(description);
        all["profile"] = serde_json::to_value(&profile)?;
        format!("{all:#}\n")
    } else {
        let degrees = |degrees: &Degrees| {
            let Degrees { median, p99, most } = degrees;
            format!("median {median}, 99 % at most {p99}, most {most}")
        };
        let mut text = format!(
            "{}: {} nodes, {} relations, {} facts, digest {:016x}\n",
            description.name,
            description.nodes,
            description.relations,
            description.facts,
            description.digest()
        );
        let part = description.part();
        if part.of > 1 {
            writeln!(text, "{part}; counts below are of its rows")?;
        }
        if description.held_out > 0 {
            let held_out = description.held_out;
            writeln!(text, "{held_out} of the facts are held out by the dataset")?;
        }
        writeln!(text, "facts by head: {}", degrees(&profile.out))?;
        writeln!(text, "facts by tail: {}", degrees(&profile.into))?;
        writeln!(
            text,
            "{} nodes without facts, {} repeated facts, {} loops",
            profile.isolated, profile.repeated, profile.loops
        )?;
        for (name, bytes) in description.sections() {
            writeln!(text, "{bytes:>14} bytes  {name}")?;
        }
        text
    };
    Ok(io::stdout().write_all(text.as_bytes())?)
}

/// Runs `graph check`.
///
/// # Errors
/// If the file cannot be read, or a section has changed.
pub fn check(args: CheckArgs) -> CommandResult {
    let graph = Graph::open(&args.file)?;
    graph.check(&args.file)?;
    let sections = graph.description().sections().count();
    let text = format!(
        "{}: all {sections} sections are as they were written\n",
        args.file.display()
    );
    Ok(io::stdout().write_all(text.as_bytes())?)
}
