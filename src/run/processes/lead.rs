//! Leading a run of several processes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use super::children::Children;
use super::{LateAccept, ProcessError};
use crate::cluster::leader::{FirstRows, Lead, Leader};
use crate::cluster::node::{NodeAccept, NodeError};
use crate::coordinator::{MemberDevice, MemberInfo};
use crate::dataset::Dataset;
use crate::device::DeviceChoice;
use crate::ids::Incarnation;
use crate::kernel::Backend;
use crate::net::registry::{Candidate, Claim, Registry, RegistryError, StoreRegistry};
use crate::net::stream::pair;
use crate::net::transport::{Dialer, Listener, Security, Settings, Tls, Token, runtime};
use crate::net::{Accept, Channel};
use crate::run::{NODE_FILES, Run};
use crate::train::{NodePlace, Trainer, dataset_digest, node, run_digest};

/// Options of a process that leads.
#[derive(Clone, Debug)]
pub struct LeadOptions {
    /// Address to listen at, such as `127.0.0.1:0`.
    pub listen: String,
    /// Processes to start with, this one included.
    pub processes: usize,
    /// Directory with certificates.
    pub tls: Option<PathBuf>,
    /// Threads of this process that compute; `None` stands for a share of the cores.
    pub threads: Option<usize>,
    /// Directory of a run that goes on; its processes keep their token.
    pub resumed: Option<PathBuf>,
}

/// A process that listens, before it leads: an address or certificates that cannot be used are found before there is a
/// run.
#[derive(Debug)]
pub struct Listening {
    options: LeadOptions,
    pub(super) address: String,
    token: Token,
    late: Arc<LateAccept>,
    pub(super) dialer: Arc<Dialer>,
    listener: Listener,
    pub(super) network: Runtime,
    /// Epoch of leadership, once this process has won one.
    won: Option<Won>,
}

/// Epoch of leadership that this process has won.
#[derive(Debug)]
struct Won {
    registry: StoreRegistry,
    leader: Leader,
}

impl Listening {
    /// Listens at an address.
    ///
    /// # Errors
    /// [`ProcessError`] if the address or the certificates cannot be used.
    pub fn open(options: LeadOptions) -> Result<Listening, ProcessError> {
        let network = runtime()
            .map_err(|error| ProcessError::Other(format!("no threads for the network: {error}")))?;
        let known = || last_token(&network, options.resumed.as_deref());
        let token = match Token::from_environment()?.or_else(known) {
            Some(token) => token,
            None => Token::random()?,
        };
        let security = Security {
            token: Some(token.clone()),
            tls: options.tls.as_deref().map(Tls::read).transpose()?,
        };
        let settings = Settings::default();
        let late = LateAccept::new();
        let accept: Arc<dyn Accept> = late.clone();
        let handle = network.handle().clone();
        let listener = Listener::bind(&options.listen, &security, &settings, accept, &handle)?;
        let address = listener.local_address();
        if address.ip().is_unspecified() {
            return Err(ProcessError::Other(format!(
                "{} is every address of this machine, and others would not know which to use: name one",
                options.listen
            )));
        }
        Ok(Listening {
            options,
            address: address.to_string(),
            token,
            late,
            dialer: Arc::new(Dialer::new(security, settings, handle)),
            listener,
            network,
            won: None,
        })
    }

    /// Tries to take the epoch of leadership of a run after epoch `after`. From success on, nodes and standbys that
    /// join wait for the trainer. `digest` is that of configuration and graph.
    pub(super) async fn claim(
        &mut self,
        registry: &StoreRegistry,
        path: &Path,
        after: u32,
        digest: &str,
    ) -> Result<Claim, RegistryError> {
        let candidate = Candidate {
            owner: Incarnation::random(),
            address: self.address.clone(),
            token: Some(crate::net::registry::Token::new(self.token.to_string())),
        };
        let claim = registry.acquire(after, candidate).await?;
        if let Claim::Won(record) = &claim {
            let files = NODE_FILES.iter();
            let files = files.map(|&name| (name.to_owned(), path.join(name)));
            let leader = Leader::new(record.epoch, digest.to_owned()).with_files(files.collect());
            self.late.set(NodeAccept::leading(leader.clone()));
            self.won = Some(Won {
                registry: registry.clone(),
                leader,
            });
        }
        Ok(claim)
    }

    /// Takes the next epoch of leadership of a run.
    fn lead(&mut self, path: &Path, digest: &str) -> Result<Won, ProcessError> {
        let registry = StoreRegistry::open(path, run_name(path))?;
        let handle = self.network.handle().clone();
        let claim = handle.block_on(async {
            let last = registry.current().await?.map_or(0, |record| record.epoch);
            self.claim(&registry, path, last, digest).await
        })?;
        match (claim, self.won.take()) {
            (Claim::Won(_), Some(won)) => Ok(won),
            (Claim::Won(record) | Claim::Lost(record), _) => Err(ProcessError::OtherLeader {
                address: record.address,
                path: path.to_owned(),
            }),
        }
    }
}

/// A process that leads a run. Dropping it ends the processes that it has started.
#[derive(Debug)]
pub struct Leading {
    address: String,
    record: PathBuf,
    children: Children,
    leader: Leader,
    _listener: Listener,
    runtime: Option<Runtime>,
}

/// Time before the leader's own node joins again.
const REJOIN: Duration = Duration::from_millis(100);
/// Longest wait for the last words to the other processes.
const LAST_WORDS: Duration = Duration::from_secs(3);

impl Leading {
    /// Becomes the leader of a run: takes the next epoch, unless this process has won one as a standby, starts this
    /// process's own node and the other processes, and tells the trainer. `first` says which rows training goes on
    /// from.
    ///
    /// # Errors
    /// [`ProcessError`] if another process leads the run, or a process cannot be started.
    pub fn start(
        listening: Listening,
        run: &Run,
        dataset: &Dataset,
        trainer: &mut Trainer,
        first: FirstRows,
    ) -> Result<Leading, ProcessError> {
        let mut listening = listening;
        let (won, took_over) = match listening.won.take() {
            Some(won) => (won, true),
            None => {
                let digest = run_digest(&run.config, dataset);
                (listening.lead(&run.path, &digest)?, false)
            }
        };
        let Won { registry, leader } = won;
        let Listening {
            options,
            address,
            late,
            dialer,
            listener,
            network,
            ..
        } = listening;
        let handle = network.handle().clone();
        let epoch = leader.epoch();
        let processes = options.processes.max(1);
        let threads = options.threads.unwrap_or_else(|| share_of_cores(processes));
        let engine = own_engine(trainer)?;
        let own = node(
            &run.config,
            dataset,
            trainer.prepared(),
            engine,
            NodePlace {
                address: address.clone(),
                dial: dialer.clone(),
                info: info(&listener, run.config.device),
                directory: Some(run.path.clone()),
                threads: Some(threads),
                memory: None,
            },
        );
        let accept = own.accept(Some(leader.clone()));
        late.set(accept.clone());
        let [ours, theirs] = pair(["this process", "the leader"]);
        {
            let _inside = handle.enter();
            accept.accept(Channel::Session, theirs);
        }
        let ended = leader.clone();
        handle.spawn(async move {
            let mut stream = ours;
            // A process that was stopped for a while loses its own node, too.
            while let Err(error) = own.join(stream).await {
                tracing::warn!(%error, "the leader's own node has ended");
                if ended.is_ended() || !matches!(error, NodeError::LeaderLost(_)) {
                    return;
                }
                tokio::time::sleep(REJOIN).await;
                let [ours, theirs] = pair(["this process", "the leader"]);
                accept.accept(Channel::Session, theirs);
                stream = ours;
            }
        });
        let record = run.path.join("leaders").join(format!("{epoch:08}.json"));
        let arguments = child_arguments(&run.config.device.to_string(), threads, &options);
        let children = Children::start(processes - 1, &run.path, &arguments)?;
        let last = leader.clone();
        trainer.lead = Some(Lead {
            leader,
            address: address.clone(),
            // Nodes of the leader before come when they have found this one.
            expected: match took_over {
                true => 1,
                false => processes.max(run.config.workers),
            },
            dial: dialer,
            runtime: handle,
            leads: Arc::new(move || still_leads(&registry, epoch)),
            cuts: run.cuts(),
            dataset: dataset_digest(dataset),
            first,
        });
        Ok(Leading {
            address,
            record,
            children,
            leader: last,
            _listener: listener,
            runtime: Some(network),
        })
    }

    /// Sentence for people who want to add processes.
    pub fn invitation(&self, run: &Path) -> String {
        format!(
            "listening at {}: add processes with `shardloom worker {}`, or from elsewhere with `shardloom worker \
             --join {}` and the token of {} in SHARDLOOM_TOKEN",
            self.address,
            run.display(),
            self.address,
            self.record.display()
        )
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        // The processes hear that the run is over before the network ends.
        let deadline = Instant::now() + LAST_WORDS;
        while self.leader.sessions() > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.children = Children::default();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }
}

/// Token of the last leader of a run, so that processes that had joined that one can join this one.
fn last_token(network: &Runtime, run: Option<&Path>) -> Option<Token> {
    let run = run?;
    let registry = StoreRegistry::open(run, run_name(run)).ok()?;
    // A record that cannot be read is found when this process takes the next epoch.
    let record = network.block_on(registry.current()).ok()??;
    record.token?.text().parse().ok()
}

/// Checks that no other process leads by now.
fn still_leads(registry: &StoreRegistry, epoch: u32) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    match runtime.block_on(registry.current()) {
        Ok(Some(record)) if record.epoch > epoch => Err(format!(
            "the process at {} leads this run now (epoch {}, and this one had {epoch}): this one stops and has changed \
             nothing since",
            record.address, record.epoch
        )),
        Ok(_) => Ok(()),
        // A registry that is away for a while changes no leader.
        Err(error) => {
            tracing::warn!(%error, "leadership not checked");
            Ok(())
        }
    }
}

/// Name of a run in the records of its leaders: the last part of its directory.
pub(super) fn run_name(path: &Path) -> String {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| "run".to_owned())
}

/// Threads for one of several processes on this machine.
pub(super) fn share_of_cores(processes: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores / processes.max(1)).max(1)
}

/// Another engine on the device of the trainer.
fn own_engine(trainer: &mut Trainer) -> Result<Backend, ProcessError> {
    Ok(trainer.executor.engine().another()?)
}

/// Description of this process.
pub(super) fn info(listener: &Listener, device: DeviceChoice) -> MemberInfo {
    let device = MemberDevice {
        name: device.to_string(),
        capacity: None,
    };
    MemberInfo {
        address: Some(listener.local_address().to_string()),
        devices: vec![device],
    }
}

fn child_arguments(device: &str, threads: usize, options: &LeadOptions) -> Vec<String> {
    let mut arguments = vec![
        "--device".to_owned(),
        device.to_owned(),
        "--threads".to_owned(),
        threads.to_string(),
        "--quiet".to_owned(),
    ];
    if let Some(tls) = &options.tls {
        arguments.extend(["--tls".to_owned(), tls.display().to_string()]);
    }
    arguments
}
