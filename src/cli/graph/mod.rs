//! `shardloom graph`: graph files, and neighbourhoods out of them.

mod bench;
mod build;
mod info;
mod reads;
mod sample;
mod split;
mod times;

use clap::Subcommand;

use super::outcome::CommandResult;

/// Build graph files that any number of processes can read at once, and sample neighbourhoods from them.
#[derive(Debug, Subcommand)]
pub enum GraphCommand {
    /// Build a graph file from a dataset.
    ///
    /// The file has the facts by head and by tail, and the names. It is mapped into memory: it opens at once, whatever
    /// its size, and processes that read it share the memory.
    Build(build::BuildArgs),
    /// Show what a graph file holds.
    Info(info::InfoArgs),
    /// Compare every section of a graph file with its digest.
    Check(info::CheckArgs),
    /// Cut a graph file into parts by ranges of nodes, one for each of several servers.
    Split(split::SplitArgs),
    /// Sample the neighbourhood of nodes.
    Sample(sample::SampleArgs),
    /// Measure how fast neighbourhoods are sampled, and how fast this machine could read them.
    Bench(bench::BenchArgs),
}

/// Runs the command.
///
/// # Errors
/// If a file cannot be read or written, or the arguments do not fit the graph.
pub fn run(command: GraphCommand) -> CommandResult {
    match command {
        GraphCommand::Build(args) => build::run(args),
        GraphCommand::Info(args) => info::run(args),
        GraphCommand::Check(args) => info::check(args),
        GraphCommand::Split(args) => split::run(args),
        GraphCommand::Sample(args) => sample::run(args),
        GraphCommand::Bench(args) => bench::run(args),
    }
}
