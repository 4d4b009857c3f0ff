//! `shardloom worker`.

use std::path::PathBuf;

use shardloom::device::DeviceChoice;
use shardloom::run::processes::{Leave, NEW_LEADER, WorkEnd, WorkerOptions, WorkerPlace, work};

use super::common::parse_size;
use super::interrupt::on_request_to_end;
use super::{CommandResult, tell};

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
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
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
        new_leader: NEW_LEADER,
    };
    let say = |line: &str| {
        if !args.quiet {
            tell(line);
        }
    };
    let (WorkEnd::Over(ended) | WorkEnd::NoLeader(ended)) = work(&options, &say)?;
    say(&format!("the leader let this process go: {ended}"));
    Ok(())
}

/// Leaves the run in order on the first Ctrl-C or SIGTERM.
fn leave_on_signals() -> Leave {
    let leave = Leave::default();
    let told = leave.clone();
    on_request_to_end(
        "leaving the run after this step; press Ctrl-C again to stop at once",
        move || told.tell(),
    );
    leave
}
