//! Training with other processes: flags of `train`, and the time between listening and leading.

use std::path::Path;
#[cfg(feature = "net")]
use std::path::PathBuf;

use shardloom::cluster::leader::FirstRows;
use shardloom::config::{Config, UpdateKind};
use shardloom::dataset::Dataset;
use shardloom::run::Run;
#[cfg(feature = "net")]
pub use shardloom::run::processes::Leading;
#[cfg(feature = "net")]
use shardloom::run::processes::{LeadOptions, Listening, StandbyEnd};
use shardloom::train::Trainer;
#[cfg(feature = "net")]
use shardloom::train::run_digest;

use super::super::CommandResult;
#[cfg(feature = "net")]
use super::super::common::shown;
#[cfg(feature = "net")]
use super::super::interrupt::Interrupted;
use super::super::progress::Progress;
#[cfg(feature = "net")]
use super::super::reading::ReadArgs;

/// Flags for training with other processes.
#[derive(Clone, Debug, clap::Args)]
pub struct TogetherArgs {
    /// Processes that train together on this machine: starts so many, this one included. Each holds
    /// some of the shards.
    #[cfg(feature = "net")]
    #[arg(long, value_name = "NUMBER")]
    processes: Option<usize>,
    /// Address at which other processes join this run (see `shardloom worker`), such as 127.0.0.1:0;
    /// beyond this machine, --tls is needed.
    #[cfg(feature = "net")]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Wait until the leader of the run in a directory is lost, then lead the run from its last cut.
    /// Other processes join this one by the run's directory.
    #[cfg(feature = "net")]
    #[arg(long, value_name = "DIR", conflicts_with_all = [
        "config", "dataset", "split", "split_seed", "recipe", "model", "dim", "epochs", "batch_size", "lr",
        "negatives", "objective", "graph_store", "shards", "shard_devices", "init_from", "seed", "output", "set", "workers",
        "update_mode", "staleness", "staleness_policy", "resume", "replicas",
    ], conflicts_with_all = ReadArgs::ALL)]
    standby: Option<PathBuf>,
    /// Processes that hold each shard: with 2, no step is lost when a process dies.
    #[cfg(feature = "net")]
    #[arg(long, value_name = "NUMBER")]
    pub replicas: Option<i64>,
    /// Directory with cert.pem, key.pem and ca.pem, for processes on other machines.
    #[cfg(feature = "net")]
    #[arg(long, value_name = "DIR")]
    tls: Option<PathBuf>,
    /// Threads of this process that compute on a CPU, with --listen or --processes [default: a share
    /// of the cores].
    #[cfg(feature = "net")]
    #[arg(long, value_name = "NUMBER")]
    threads: Option<usize>,
}

impl TogetherArgs {
    /// Listens for other processes, if that was asked for. `resumed` is the directory of a run that goes on.
    #[cfg(feature = "net")]
    pub fn listen(&self, resumed: Option<&Path>) -> Result<Together, Box<dyn std::error::Error>> {
        if self.listen.is_none() && self.processes.is_none() && self.standby.is_none() {
            return Ok(Together::default());
        }
        let processes = self.processes.unwrap_or(1);
        if processes == 0 {
            return Err("--processes 0: this process counts, so at least 1".into());
        }
        let listening = Listening::open(LeadOptions {
            listen: self
                .listen
                .clone()
                .unwrap_or_else(|| "127.0.0.1:0".to_owned()),
            processes,
            tls: self.tls.clone(),
            threads: self.threads,
            resumed: self.standby.as_deref().or(resumed).map(Path::to_owned),
        })?;
        Ok(Together {
            listening: Some(listening),
            shards: SHARDS.max(4 * processes),
        })
    }

    /// Without the network there is nobody to train with.
    #[cfg(not(feature = "net"))]
    pub fn listen(&self, _: Option<&Path>) -> Result<Together, Box<dyn std::error::Error>> {
        Ok(Together::default())
    }
}

/// Training with other processes, if that was asked for.
#[derive(Debug, Default)]
pub struct Together {
    #[cfg(feature = "net")]
    listening: Option<Listening>,
    /// Least number of shards, so that they can be shared out.
    shards: usize,
}

/// A process that leads others, until it is dropped.
#[cfg(not(feature = "net"))]
pub type Leading = std::convert::Infallible;

/// Fewest shards of a run of several processes.
#[cfg(feature = "net")]
const SHARDS: usize = 16;

/// A run whose leader is lost, for the process that leads it now.
#[derive(Debug)]
pub struct TakenOver {
    pub run: Run,
    pub dataset: Dataset,
}

/// End of [`Together::contend`].
#[cfg(feature = "net")]
#[derive(Debug)]
pub enum Contended {
    /// Leadership of this process.
    Leads(Box<TakenOver>),
    /// Leadership of another process.
    Follows,
    /// The run is over, for a reason.
    Over(String),
}

impl TogetherArgs {
    /// Listens on this machine, unless an address was given.
    #[cfg(feature = "net")]
    pub fn listens(&mut self) {
        self.listen.get_or_insert_with(|| "127.0.0.1:0".to_owned());
    }

    /// Address to listen at, directory with certificates, and number of threads.
    #[cfg(feature = "net")]
    pub fn place(&self) -> (String, Option<PathBuf>, Option<usize>) {
        let listen = self.listen.clone();
        let listen = listen.unwrap_or_else(|| "127.0.0.1:0".to_owned());
        (listen, self.tls.clone(), self.threads)
    }

    /// Directory of the run to stand by for.
    pub fn standby(&self) -> Option<&Path> {
        #[cfg(feature = "net")]
        return self.standby.as_deref();
        #[cfg(not(feature = "net"))]
        None
    }
}

impl Together {
    /// Waits until the leader of a run is lost, and takes the next epoch of leadership; `None` if the run is over.
    #[cfg(feature = "net")]
    pub fn stand_by(
        &mut self,
        path: &Path,
        progress: &Progress,
    ) -> Result<Option<TakenOver>, Box<dyn std::error::Error>> {
        let Some(listening) = &mut self.listening else {
            return Ok(None);
        };
        let mut run = Run::open(path)?;
        let dataset = run.dataset()?;
        progress.say(&format!("standing by for the leader of {}", shown(path)));
        let digest = run_digest(&run.config, &dataset);
        match listening.stand_by(path, &digest, &|| progress.is_stopped())? {
            StandbyEnd::Leads {
                epoch,
                before,
                reason,
            } => {
                progress.say(&format!(
                    "the leader at {before} is lost ({reason}): this process leads, in epoch {epoch}"
                ));
                run.take_over()?;
                Ok(Some(TakenOver { run, dataset }))
            }
            // Standbys wait on for the next leader's loss.
            StandbyEnd::Follows => Ok(None),
            StandbyEnd::Over(reason) => {
                progress.say(&format!("the run is over: {reason}"));
                Ok(None)
            }
            StandbyEnd::Stopped => Err(Box::new(Interrupted { resume: None })),
        }
    }

    /// Takes the next epoch of leadership of a run whose leader is lost, unless another process leads it.
    #[cfg(feature = "net")]
    pub fn contend(
        &mut self,
        path: &Path,
        progress: &Progress,
    ) -> Result<Contended, Box<dyn std::error::Error>> {
        let listening = self.listening.as_mut();
        let listening = listening.ok_or("a process that may lead listens for others")?;
        let mut run = Run::open(path)?;
        let dataset = run.dataset()?;
        let digest = run_digest(&run.config, &dataset);
        match listening.contend(path, &digest, &|| progress.is_stopped())? {
            StandbyEnd::Leads { epoch, reason, .. } => {
                progress.say(&format!(
                    "the leader is lost ({reason}): this process leads, in epoch {epoch}"
                ));
                run.take_over()?;
                Ok(Contended::Leads(Box::new(TakenOver { run, dataset })))
            }
            StandbyEnd::Follows => Ok(Contended::Follows),
            StandbyEnd::Over(reason) => Ok(Contended::Over(reason)),
            StandbyEnd::Stopped => Err(Box::new(Interrupted { resume: None })),
        }
    }

    /// Without the network there is no leader to stand by for.
    #[cfg(not(feature = "net"))]
    pub fn stand_by(
        &mut self,
        _: &Path,
        _: &Progress,
    ) -> Result<Option<TakenOver>, Box<dyn std::error::Error>> {
        Ok(None)
    }

    /// Returns whether this process leads others.
    pub fn leads(&self) -> bool {
        self.shards > 0
    }

    /// Gives a new run as many shards as several processes need.
    ///
    /// # Errors
    /// If the processes cannot train by the configuration.
    pub fn suit(&self, config: &mut Config, dataset: &Dataset) -> CommandResult {
        if self.shards == 0 {
            return Ok(());
        }
        if config.update_mode == UpdateKind::Async {
            let reason = "update_mode = async is for the workers of one process: several processes train with sync";
            return Err(reason.into());
        }
        let wanted = self.shards.min(dataset.entities.len());
        config.shards = config.shards.max(wanted);
        Ok(())
    }

    /// Starts to lead other processes.
    pub fn start(
        self,
        run: &Run,
        dataset: &Dataset,
        trainer: &mut Trainer,
        first: FirstRows,
        progress: &Progress,
    ) -> Result<Option<Leading>, Box<dyn std::error::Error>> {
        #[cfg(feature = "net")]
        if let Some(listening) = self.listening {
            let leading = Leading::start(listening, run, dataset, trainer, first)?;
            progress.say(&leading.invitation(&run.path));
            return Ok(Some(leading));
        }
        #[cfg(not(feature = "net"))]
        let _ = (run, dataset, trainer, first, progress);
        Ok(None)
    }
}
