//! The command line: arguments become a validated configuration, then one call into the library.

mod answers;
mod bench;
mod classify;
mod common;
mod dataset;
mod devices;
mod eval;
mod export;
mod graph;
#[cfg(feature = "net")]
mod graph_store;
mod interrupt;
#[cfg(feature = "net")]
mod node;
mod outcome;
mod predict;
mod progress;
mod ranked;
mod reading;
mod recipes;
mod search;
mod train;
#[cfg(feature = "net")]
mod worker;

use std::error::Error;
use std::io::{self, ErrorKind};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind as Misuse};
use clap::{Parser, Subcommand};

use outcome::{CommandResult, FAILED, INTERRUPTED, tell};

/// Trains, evaluates and queries knowledge-graph embeddings on any GPU and on plain CPUs.
///
/// Start with `shardloom train`: it trains on a built-in graph and shows what it learned. Then
/// try your own graph: `shardloom train --dataset facts.tsv --split 0.9,0.05,0.05`.
///
/// SHARDLOOM_LOG=debug (or error, warn, info, trace) in the environment logs to stderr.
#[derive(Debug, Parser)]
#[command(name = "shardloom", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Train(Box<train::TrainArgs>),
    #[cfg(feature = "net")]
    Worker(worker::WorkerArgs),
    #[cfg(feature = "net")]
    Node(Box<node::NodeArgs>),
    Search(search::SearchArgs),
    Eval(Box<eval::EvalArgs>),
    Predict(Box<predict::PredictArgs>),
    Neighbors(predict::NeighborsArgs),
    Export(export::ExportArgs),
    #[command(subcommand)]
    Dataset(dataset::DatasetCommand),
    #[command(subcommand)]
    Graph(graph::GraphCommand),
    #[cfg(feature = "net")]
    GraphStore(Box<graph_store::GraphStoreArgs>),
    Devices(devices::DevicesArgs),
    Recipes(recipes::RecipesArgs),
    Bench(bench::BenchArgs),
}

/// Tells on stderr what the library's spans and events say, if `SHARDLOOM_LOG` names a level:
/// error, warn, info, debug or trace.
fn listen() {
    let level = std::env::var("SHARDLOOM_LOG").ok();
    if let Some(level) = level.and_then(|level| level.parse::<tracing::Level>().ok()) {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .with_writer(io::stderr);
        subscriber.init();
    }
}

/// Parses the arguments and runs the command.
pub fn main() -> ExitCode {
    listen();
    let cli = Cli::try_parse().unwrap_or_else(|error| advised(error).exit());
    let result = match cli.command {
        Command::Train(args) => train::run(*args),
        #[cfg(feature = "net")]
        Command::Worker(args) => worker::run(args),
        #[cfg(feature = "net")]
        Command::Node(args) => node::run(*args),
        Command::Search(args) => search::run(args),
        Command::Eval(args) => eval::run(*args),
        Command::Predict(args) => predict::run(*args),
        Command::Neighbors(args) => predict::run_neighbors(args),
        Command::Export(args) => export::run(args),
        Command::Dataset(command) => dataset::run(command),
        Command::Graph(command) => graph::run(command),
        #[cfg(feature = "net")]
        Command::GraphStore(args) => graph_store::run(*args),
        Command::Devices(args) => devices::run(args),
        Command::Recipes(args) => recipes::run(args),
        Command::Bench(args) => bench::run(args),
    };
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    if error.is::<interrupt::Interrupted>() {
        tell(&error.to_string());
        return ExitCode::from(INTERRUPTED);
    }
    #[cfg(feature = "net")]
    if error.is::<graph_store::CutOff>() {
        tell(&error.to_string());
        return ExitCode::from(graph_store::CUT_OFF);
    }
    if reader_left(&*error) {
        return ExitCode::SUCCESS;
    }
    tell(&format!("error: {error}"));
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        // Many messages already end with their cause.
        let text = inner.to_string();
        if !told.contains(&text) {
            tell(&format!("  because: {text}"));
        }
        told = text;
        cause = inner.source();
    }
    ExitCode::from(FAILED)
}

/// A parser's error with advice that works: to put `--` before a value that begins with a hyphen, as
/// it has it, makes no value of a flag.
fn advised(mut error: clap::Error) -> clap::Error {
    let hyphen = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(argument)) => {
            argument.starts_with('-') && !argument.starts_with("--")
        }
        _ => false,
    };
    if error.kind() == Misuse::UnknownArgument && hyphen {
        let tip = "a value that begins with a hyphen is joined to its flag, as in --flag=-5";
        let tip = ContextValue::StyledStrs(vec![tip.into()]);
        error.insert(ContextKind::Suggested, tip);
    }
    error
}

/// Whether the reader of stdout went away (`shardloom … | head`), which is no failure.
fn reader_left(error: &(dyn Error + 'static)) -> bool {
    let io = error.downcast_ref::<io::Error>().map(io::Error::kind);
    let json = error
        .downcast_ref()
        .and_then(serde_json::Error::io_error_kind);
    io.or(json) == Some(ErrorKind::BrokenPipe)
}
