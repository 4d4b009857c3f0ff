//! `shardloom graph split`: a graph in parts, for several servers.

use std::io::{self, Write as _};
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::Args;
use shardloom::graph::Graph;

use super::super::outcome::CommandResult;

/// Arguments of `graph split`.
#[derive(Debug, Args)]
pub struct SplitArgs {
    /// A graph file, as `graph build` wrote it.
    file: PathBuf,
    /// Number of parts. Each has about as many facts.
    #[arg(long, value_name = "NUMBER")]
    parts: NonZeroU32,
    /// Start of the parts' names, to which `.0-of-2.graph` is added [default: the file's name without .graph].
    #[arg(long, short, value_name = "PREFIX")]
    output: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// If the file cannot be read, is damaged or a part, or a part cannot be written.
pub fn run(args: SplitArgs) -> CommandResult {
    let graph = Graph::open(&args.file)?;
    graph.check(&args.file)?;
    let prefix = match args.output {
        Some(prefix) => prefix,
        None => args.file.with_extension(""),
    };
    for part in graph.parts(args.parts)? {
        let mut path = prefix.clone().into_os_string();
        path.push(format!(".{}-of-{}.graph", part.index, part.of));
        let path = PathBuf::from(path);
        let written = graph.write_part(&part, &path)?;
        let bytes: u64 = written.sections().map(|(_, bytes)| bytes).sum();
        let text = format!(
            "{}: nodes from {} to before {}, {} facts by head, {} by tail, {:.1} MiB\n",
            path.display(),
            part.start,
            part.end,
            part.facts[0],
            part.facts[1],
            bytes as f64 / (1 << 20) as f64
        );
        io::stdout().write_all(text.as_bytes())?;
    }
    Ok(())
}
