//! `shardloom node`.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use shardloom::run::processes::{
    Leave, ProcessError, WorkEnd, WorkerOptions, WorkerPlace, leader_of, work,
};
use shardloom::run::{LockError, Run, RunError};
use shardloom::train::TrainError;

use super::common::{parse_size, shown};
use super::interrupt::{StopFlag, on_request_to_end};
use super::progress::Progress;
use super::train::{self, Contended, TrainArgs};
use super::{CommandResult, tell};

/// Longest wait for another process that is about to lead the run.
const BEGINNING: Duration = Duration::from_secs(900);
/// Time between two looks at the run's directory.
const POLL: Duration = Duration::from_millis(100);

/// Take part in a run that any of its processes may lead
///
/// Start the same command on every machine, in any order and at any time, as a cluster's scheduler does.
/// They meet in the run's directory, which all must see. The first one creates the run and leads it; the others
/// join. When the leader is lost, another one leads, from the last cut. A process that is started
/// again joins again, or goes on with the run. Options of `train` describe the run.
///
/// Example, in a job of 4 tasks: `srun sh -c 'shardloom node --run runs/f --dataset fb15k-237 --workers 4
/// --listen $SLURMD_NODENAME:0 --tls certificates'`. See docs/clusters.md.
#[derive(Debug, clap::Args)]
pub struct NodeArgs {
    /// Directory of the run, on a file system that all processes share.
    #[arg(long, value_name = "DIR", conflicts_with_all = [
        "output", "resume", "checkpoint", "standby", "processes", "events", "event",
    ])]
    run: PathBuf,
    /// Most memory of the shards that this process holds while another one leads, such as 6GiB [default: what is
    /// free].
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    memory: Option<u64>,
    #[command(flatten)]
    train: TrainArgs,
}

/// Runs the command.
pub fn run(mut args: NodeArgs) -> CommandResult {
    let (stop, leave) = (StopFlag::unset(), Leave::default());
    let (flag, told) = (stop.clone(), leave.clone());
    on_request_to_end(
        "leaving the run after this step; press Ctrl-C again to stop at once",
        move || {
            flag.set();
            told.tell();
        },
    );
    args.train.together.listens();
    let start = Instant::now();
    while !stop.is_set() {
        let progress = args.train.progress(stop.clone());
        if args.run.join("result.json").is_file() {
            progress.say(&format!("the run in {} is over", shown(&args.run)));
            return Ok(());
        }
        let ended = match leader_of(&args.run)? {
            None => args.begin(progress).map(|()| true),
            Some(_) => args.take_part(&leave, &stop, progress),
        };
        match ended {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) if another_leads(&*error) => tell(&format!("joining: {error}")),
            Err(error) if another_begins(&*error, &args.run)? && start.elapsed() < BEGINNING => {}
            Err(error) => return Err(error),
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

impl NodeArgs {
    /// Creates the run, or goes on with one that never had other processes, and leads it.
    fn begin(&self, progress: Progress) -> CommandResult {
        let mut train = self.train.clone();
        let goes_on = match Run::open(&self.run) {
            Ok(run) => run.is_resumable()?,
            Err(_) => false,
        };
        train.set_run(&self.run, goes_on);
        if goes_on {
            train.check_same(&self.run)?;
        }
        let together = train.together.listen(train.resumed())?;
        train::start(train, progress, together, None)
    }

    /// Joins the run, and leads it if its leader is lost. Returns whether the work is done; if not, another process
    /// leads.
    fn take_part(
        &self,
        leave: &Leave,
        stop: &StopFlag,
        progress: Progress,
    ) -> Result<bool, Box<dyn Error>> {
        self.train.check_same(&self.run)?;
        let lost = match work(&self.worker(leave), &|line| progress.say(line))? {
            WorkEnd::Over(reason) => {
                progress.say(&format!("the leader let this process go: {reason}"));
                return Ok(true);
            }
            WorkEnd::NoLeader(_) if stop.is_set() => return Ok(true),
            WorkEnd::NoLeader(reason) => reason,
        };
        progress.say(&lost);
        if self.is_concluded()? {
            progress.say("the run is trained, and its leader ranks the test facts");
            return Ok(true);
        }
        let mut together = self.train.together.listen(Some(&self.run))?;
        let taken = match together.contend(&self.run, &progress)? {
            Contended::Leads(taken) => *taken,
            Contended::Follows => return Ok(false),
            Contended::Over(reason) => {
                progress.say(&format!("the run is over: {reason}"));
                return Ok(true);
            }
        };
        let train = self.train.clone();
        train::start(train, progress, together, Some(taken)).map(|()| true)
    }

    /// Returns whether all epochs are trained, and a process that lives concludes the run.
    fn is_concluded(&self) -> Result<bool, RunError> {
        let mut run = Run::open(&self.run)?;
        let last = shardloom::checkpoint::list(&self.run)?.pop();
        Ok(last == Some(run.config.epochs) && matches!(run.lock(), Err(LockError::Held { .. })))
    }

    fn worker(&self, leave: &Leave) -> WorkerOptions {
        let (listen, tls, threads) = self.train.together.place();
        WorkerOptions {
            place: WorkerPlace::Directory(self.run.clone()),
            listen,
            device: self.train.device(),
            threads,
            memory: self.memory,
            tls,
            leave: leave.clone(),
            new_leader: Duration::ZERO,
        }
    }
}

/// Whether another process leads the run that this one began or led.
fn another_leads(error: &(dyn Error + 'static)) -> bool {
    matches!(error.downcast_ref(), Some(ProcessError::OtherLeader { .. }))
        || matches!(error.downcast_ref(), Some(TrainError::OtherLeader(_)))
}

/// Whether another process is about to begin the run, or has done so this moment.
fn another_begins(error: &(dyn Error + 'static), run: &Path) -> Result<bool, ProcessError> {
    let held = |error: Option<&LockError>| matches!(error, Some(LockError::Held { .. }));
    Ok(match error.downcast_ref::<RunError>() {
        Some(RunError::Lock(lock)) => held(Some(lock)),
        Some(RunError::Occupied { .. }) => leader_of(run)?.is_some(),
        _ => held(error.downcast_ref()),
    })
}
