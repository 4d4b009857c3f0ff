//! `shardloom worker`.

use std::path::PathBuf;

use shardloom::config::parse_bytes;
use shardloom::device::DeviceChoice;
use shardloom::run::processes::{Leave, WorkerOptions, WorkerPlace, work};

use super::{CommandResult, INTERRUPTED, tell};

/// Take part in a run that another process leads
///
/// The leader is a `shardloom train` with --listen or --processes. A worker computes parts of its
/// steps and holds shards of its tables. Workers come, go and fail at any time.
///
/// Examples: `shardloom worker runs/umls-complex-0`, where the run's directory is at hand;
/// `SHARDLOOM_TOKEN=… shardloom worker --join 10.0.0.1:7000 --listen 10.0.0.2:0 --tls certificates`
/// elsewhere. See docs/network.md.
#[derive(Debug, clap::Args)]
pub struct WorkerArgs {
    /// Directory of the run, which has its leader's address and token.
    #[arg(value_name = "RUN", required_unless_present = "join")]
    run: Option<PathBuf>,
    /// Address of the leader, which sends the run's configuration and graph; again for each process that stands by.
    /// The token is taken from SHARDLOOM_TOKEN.
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "run")]
    join: Vec<String>,
    /// Address at which others reach this process; beyond this machine, --tls is needed.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0")]
    listen: String,
    /// Device that computes and holds shards: auto, cpu, gpu or gpu:N [default: the run's].
    #[arg(long)]
    device: Option<DeviceChoice>,
    /// Threads that compute on a CPU [default: all cores].
    #[arg(long, value_name = "NUMBER")]
    threads: Option<usize>,
    /// Most memory of the shards that this process holds, such as 6GiB [default: what is free].
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<u64>,
    /// Directory with cert.pem, key.pem and ca.pem, the same as the leader's or by the same authority.
    #[arg(long, value_name = "DIR")]
    tls: Option<PathBuf>,
    /// Show no progress, only what ends the work.
    #[arg(long, short)]
    quiet: bool,
}

/// Runs the command.
pub fn run(args: WorkerArgs) -> CommandResult {
    let place = match (args.run, args.join) {
        (Some(run), _) => WorkerPlace::Directory(run),
        (None, leaders) if leaders.is_empty() => {
            return Err("name a run's directory, or its leader with --join".into());
        }
        (None, leaders) => WorkerPlace::Leaders(leaders),
    };
    let options = WorkerOptions {
        place,
        listen: args.listen,
        device: args.device,
        threads: args.threads,
        memory: args.memory,
        tls: args.tls,
        leave: leave_on_signals(),
    };
    let say = |line: &str| {
        if !args.quiet {
            tell(line);
        }
    };
    let ended = work(&options, &say)?;
    say(&format!("the leader let this process go: {ended}"));
    Ok(())
}

fn size(text: &str) -> Result<u64, String> {
    parse_bytes(text.trim())
        .ok_or_else(|| format!("{text:?} is no size: expected one such as 6GiB"))
}

/// Listens for Ctrl-C and SIGTERM: the first one leaves the run in order, the second one ends the process.
fn leave_on_signals() -> Leave {
    let leave = Leave::default();
    let told = leave.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build();
    if let Ok(runtime) = runtime {
        std::thread::spawn(move || {
            runtime.block_on(async {
                let mut again = false;
                while asked_to_end().await.is_ok() {
                    if again {
                        std::process::exit(i32::from(INTERRUPTED));
                    }
                    again = true;
                    tell("leaving the run after this step; press Ctrl-C again to stop at once");
                    told.tell();
                }
            });
        });
    }
    leave
}

/// Waits for Ctrl-C or SIGTERM.
#[cfg(unix)]
async fn asked_to_end() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        asked = tokio::signal::ctrl_c() => asked,
        _ = terminated.recv() => Ok(()),
    }
}

/// Waits for Ctrl-C.
#[cfg(not(unix))]
async fn asked_to_end() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}
