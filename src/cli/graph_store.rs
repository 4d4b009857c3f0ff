//! `shardloom graph-store`: serves the neighbourhoods of a graph to other processes.

use std::fmt;
use std::fs;
use std::io::Write as _;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use shardloom::config::parse_bytes;
use shardloom::graph::Graph;
use shardloom::net::NetError;
use shardloom::net::graph_store::{Address, Remote, RemoteOptions, Server, ServerOptions};
use shardloom::net::transport::Security;
use shardloom::store::GraphStore;
use shardloom::store::session::{self, SessionStatus};

use super::interrupt::on_request_to_end;
use super::outcome::{CommandResult, tell};

/// Exit status of a server that ended before all epochs that ran.
pub const CUT_OFF: u8 = 3;

/// Longest lease, and longest time for epochs that run: a year, in seconds.
const LONGEST: u64 = 365 * 24 * 60 * 60;

/// Serve the neighbourhoods of a graph to trainers
///
/// The graph is in memory once, for any number of trainers; the same request has the same bits, whatever the threads,
/// order or crashes. Trainers use the Python package `shardloom` or `proto/graph_store.proto`.
///
/// Examples: `shardloom graph-store fb.graph --listen 127.0.0.1:7400 --listen unix:/run/fb.sock`;
/// `shardloom graph-store status 127.0.0.1:7400`. Ctrl-C and SIGTERM end the server after the epochs that run; a second
/// one ends it at once. Exit status: 0 if no epoch was cut off, 3 if some were, 130 after a second signal.
///
/// Beyond this machine, a token and --tls are needed. See docs/graph-store.md.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct GraphStoreArgs {
    #[command(subcommand)]
    command: Option<GraphStoreCommand>,
    /// Graph file, as `graph build` wrote it.
    #[arg(required = true)]
    file: Option<PathBuf>,
    /// Address to listen at, HOST:PORT or unix:PATH; may be repeated. Port 0 is any free port.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7400")]
    listen: Vec<Address>,
    /// Sampling threads [default: all cores].
    #[arg(long, value_name = "NUMBER")]
    threads: Option<NonZeroU32>,
    /// Most bytes that batches which wait to be sent, and lists of seeds, may take; with a unit, such as 512MiB.
    #[arg(long, value_name = "BYTES", default_value = "1GiB", value_parser = bytes)]
    memory_limit: u64,
    /// Most facts of a batch.
    #[arg(long, value_name = "NUMBER", default_value_t = 1 << 26)]
    most_facts: u64,
    /// File that is written when the server takes calls, with its addresses, one a line.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// Seconds after which the channels of a silent client are closed.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=LONGEST))]
    lease: u64,
    /// Seconds for epochs that run when the server is asked to end.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(..=LONGEST))]
    drain: u64,
    #[command(flatten)]
    protection: Protection,
}

#[derive(Debug, Subcommand)]
enum GraphStoreCommand {
    /// Show the counts of a server
    Status(StatusArgs),
    /// Ask a server to end after the epochs that run
    Drain(StatusArgs),
}

/// Arguments of `graph-store status` and `graph-store drain`.
#[derive(Debug, Args)]
struct StatusArgs {
    /// Address of the server, HOST:PORT or unix:PATH.
    address: Address,
    #[command(flatten)]
    protection: Protection,
}

/// Protection of connections.
#[derive(Debug, Args)]
struct Protection {
    /// File with the token, in hexadecimal [default: the token of SHARDLOOM_TOKEN, if it is set].
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Directory with cert.pem, key.pem and ca.pem.
    #[arg(long, value_name = "DIR")]
    tls: Option<PathBuf>,
}

impl Protection {
    fn read(&self) -> Result<Security, NetError> {
        Security::read(self.token_file.as_deref(), self.tls.as_deref())
    }
}

/// Reads a number of bytes with a unit.
fn bytes(text: &str) -> Result<u64, String> {
    parse_bytes(text).ok_or(format!("{text:?} is no size: write 512MiB, for example"))
}

/// Epochs that a server did not finish.
#[derive(Debug)]
pub struct CutOff(Vec<session::CutOff>);

impl fmt::Display for CutOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("epochs were cut off:")?;
        let write =
            |of: &session::CutOff| write!(f, "\n  client {}: batches left: {}", of.client, of.left);
        self.0.iter().try_for_each(write)
    }
}

impl std::error::Error for CutOff {}

/// Runs the command.
///
/// # Errors
/// If the file cannot be read, an address cannot be used, or epochs were cut off.
pub fn run(args: GraphStoreArgs) -> CommandResult {
    match args.command {
        Some(GraphStoreCommand::Status(of)) => {
            let remote = connect(&of)?;
            let text = status(&remote.metrics()?, &remote.session()?);
            Ok(std::io::stdout().write_all(text.as_bytes())?)
        }
        Some(GraphStoreCommand::Drain(of)) => {
            let channels = connect(&of)?.drain()?;
            let text = format!("{} ends; channels that go on: {channels}\n", of.address);
            Ok(std::io::stdout().write_all(text.as_bytes())?)
        }
        None => serve(args),
    }
}

fn connect(args: &StatusArgs) -> Result<Remote, Box<dyn std::error::Error>> {
    let options = RemoteOptions {
        security: args.protection.read()?,
        ..RemoteOptions::default()
    };
    let remote = Remote::new(&args.address, &options)?;
    let of = remote.describe()?;
    let line = format!(
        "{} ({} nodes, {} relations, {} facts, digest {:016x})\n",
        of.name, of.nodes, of.relations, of.facts, of.digest
    );
    std::io::stdout().write_all(line.as_bytes())?;
    Ok(remote)
}

/// Counts as a table, and a line for each channel.
fn status(metrics: &str, session: &SessionStatus) -> String {
    let counts = metrics.lines().filter(|line| !line.contains("_bucket"));
    let counts =
        counts.filter_map(|line| line.strip_prefix("shardloom_graph_store_")?.split_once(' '));
    let counts = counts.map(|(name, value)| format!("{value:>16}  {}\n", name.replace('_', " ")));
    let channels = session.channels.iter().map(|of| {
        let epoch = of
            .epoch
            .map_or("no epoch".to_owned(), |epoch| format!("epoch {epoch}"));
        format!(
            "channel {} of {:?}, client {}: {epoch}, batch {} of {}, {} ahead{}\n",
            of.channel,
            of.key,
            of.client,
            of.position,
            of.batches,
            of.ahead,
            if of.stream { ", is fetched" } else { "" },
        )
    });
    counts.chain(channels).collect()
}

fn serve(args: GraphStoreArgs) -> CommandResult {
    let file = args.file.ok_or("name a graph file")?;
    let graph = Graph::open(&file)?;
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
    let threads = args
        .threads
        .or(NonZeroU32::new(cores))
        .unwrap_or(NonZeroU32::MIN);
    let options = ServerOptions {
        listen: args.listen,
        security: args.protection.read()?,
        threads,
        memory_limit: args.memory_limit,
        most_facts: args.most_facts,
        lease: Duration::from_secs(args.lease),
        drain: Duration::from_secs(args.drain),
        ..ServerOptions::default()
    };
    let server = Server::start(Arc::new(graph), &options)?;
    let ender = server.ender();
    on_request_to_end(
        "ending after the epochs that run; press Ctrl-C again to stop at once",
        move || {
            ender.drain();
        },
    );
    let addresses: Vec<String> = server.addresses().iter().map(Address::to_string).collect();
    let of = server.description();
    tell(&format!(
        "serving {} ({} nodes, {} facts, digest {:016x}) on {}; sampling threads: {threads}; Ctrl-C ends",
        of.name,
        of.nodes,
        of.facts,
        of.digest,
        addresses.join(" and ")
    ));
    if let Some(path) = &args.ready_file {
        write_ready(path, &addresses)?;
    }
    let cut_off = server.wait();
    if let Some(path) = &args.ready_file {
        // Another process may have removed it.
        let _ = fs::remove_file(path);
    }
    if !cut_off.is_empty() {
        return Err(Box::new(CutOff(cut_off)));
    }
    tell("all epochs that ran have ended");
    Ok(())
}

/// Writes the ready file at once, so that a reader finds it whole.
fn write_ready(path: &Path, addresses: &[String]) -> CommandResult {
    let fault = |e: std::io::Error| format!("{}: {e}", path.display());
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(fault)?;
    for address in addresses {
        writeln!(file, "{address}").map_err(fault)?;
    }
    file.persist(path).map_err(|e| fault(e.error))?;
    Ok(())
}
