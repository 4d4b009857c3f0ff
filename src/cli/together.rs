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
use shardloom::run::processes::{LeadOptions, Listening};
use shardloom::train::Trainer;

use super::CommandResult;
use super::progress::Progress;

/// Flags for training with other processes.
#[derive(Debug, clap::Args)]
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
        if self.listen.is_none() && self.processes.is_none() {
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
            resumed: resumed.map(Path::to_owned),
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

impl Together {
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
