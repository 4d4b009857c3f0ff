//! A process that joins a run.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::Notify;

use super::files::fetch_run;
use super::lead::{info, run_name};
use super::{LateAccept, ProcessError};
use crate::cluster::messages::{Opening, ToNode, receive, send};
use crate::cluster::node::{Node, NodeEnding, NodeError};
use crate::device::DeviceChoice;
use crate::kernel::Backend;
use crate::net::registry::{LeaderRecord, Registry, StoreRegistry};
use crate::net::transport::{Dialer, Listener, Security, Settings, Tls, Token, runtime};
use crate::net::{Accept, Channel, NetError};
use crate::run::{Run, RunError};
use crate::train::{NodePlace, node, prepare};

/// Longest wait of [`work`] for another leader when the leader is lost, unless asked otherwise.
pub const NEW_LEADER: Duration = Duration::from_secs(15);
/// First wait of a process that others could not reach, before it joins again; doubles each time.
const BACK_OFF: Duration = Duration::from_secs(1);
/// Longest wait before it joins again.
const MOST_BACK_OFF: Duration = Duration::from_secs(60);
/// Longest wait for the answer of a process that may lead.
const ANSWER: Duration = Duration::from_millis(500);
/// Longest wait for a stream to the leader.
const DIAL: Duration = Duration::from_secs(3);

/// The run to join.
#[derive(Clone, Debug)]
pub enum WorkerPlace {
    /// The directory of the run, which has its leader's address and token.
    Directory(PathBuf),
    /// Addresses of the leader, which sends what a node needs, and of processes that may lead after it. The first one
    /// that leads counts.
    Leaders(Vec<String>),
}

/// Options of [`work`].
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// The run to join.
    pub place: WorkerPlace,
    /// Address to listen at; others reach this process there.
    pub listen: String,
    /// Device that computes and holds shards; `None` stands for that of the run's configuration.
    pub device: Option<DeviceChoice>,
    /// Number of threads that compute; `None` stands for all cores.
    pub threads: Option<usize>,
    /// Bytes that shards of this process may take; `None` stands for all memory that is free.
    pub memory: Option<u64>,
    /// Directory with certificates.
    pub tls: Option<PathBuf>,
    /// Tells the process to leave the run.
    pub leave: Leave,
    /// Longest wait for another leader when the leader is lost. Zero stands for none: then [`work`] ends at once.
    pub new_leader: Duration,
}

/// End of a process's work in order, with the leader's last sentence or the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkEnd {
    /// The run is over, or goes on without this process.
    Over(String),
    /// The run is not over, and its leader has left or is lost: another process may lead it.
    NoLeader(String),
}

/// Tells a process to leave its run in order: after the step that runs, and when others have its shards. Clones are the
/// same.
#[derive(Clone, Debug, Default)]
pub struct Leave {
    told: Arc<AtomicBool>,
    changed: Arc<Notify>,
}

impl Leave {
    /// Tells the process to leave.
    pub fn tell(&self) {
        self.told.store(true, Ordering::Relaxed);
        self.changed.notify_one();
    }

    fn is_told(&self) -> bool {
        self.told.load(Ordering::Relaxed)
    }
}

/// Joins a run and works until the run is over. `say` receives sentences for the user.
///
/// # Errors
/// [`ProcessError`] with a sentence: nobody leads the run, the leader refuses, or the leader is lost and nobody takes
/// over in time.
pub fn work(options: &WorkerOptions, say: &dyn Fn(&str)) -> Result<WorkEnd, ProcessError> {
    let network = runtime()
        .map_err(|error| ProcessError::Other(format!("no threads for the network: {error}")))?;
    let worked = Worker::open(options, &network, say).and_then(|worker| worker.run(say));
    network.shutdown_timeout(Duration::from_secs(1));
    worked
}

struct Worker<'a> {
    network: &'a Runtime,
    node: Arc<Node>,
    leave: Leave,
    new_leader: Duration,
    dialer: Arc<Dialer>,
    registry: Option<StoreRegistry>,
    leader: LeaderPlace,
    /// Addresses at which a leader may be, if the run's directory is not at hand.
    addresses: Vec<String>,
    path: PathBuf,
    _listener: Listener,
    /// Files that the leader sent, removed at the end.
    _files: Option<tempfile::TempDir>,
}

#[derive(Clone, Debug)]
struct LeaderPlace {
    address: String,
    epoch: u32,
}

impl Worker<'_> {
    fn open<'a>(
        options: &WorkerOptions,
        network: &'a Runtime,
        say: &dyn Fn(&str),
    ) -> Result<Worker<'a>, ProcessError> {
        let tls = options.tls.as_deref().map(Tls::read).transpose()?;
        let mut addresses = Vec::new();
        let (path, leader, token, registry, files) = match &options.place {
            WorkerPlace::Directory(path) => {
                let registry = StoreRegistry::open(path, run_name(path))?;
                let record = network.block_on(registry.current())?;
                let record = record.ok_or_else(|| nobody_leads(path))?;
                let token = token_of(&record)?;
                let leader = LeaderPlace {
                    address: record.address,
                    epoch: record.epoch,
                };
                (path.clone(), leader, token, Some(registry), None)
            }
            WorkerPlace::Leaders(at) => {
                let token = Token::from_environment()?;
                addresses.clone_from(at);
                let security = Security {
                    token: token.clone(),
                    tls: tls.clone(),
                };
                let dialer = Dialer::new(security, Settings::default(), network.handle().clone());
                let (address, files) = network.block_on(fetch_from_any(&dialer, at))?;
                let leader = LeaderPlace { address, epoch: 0 };
                (files.path().to_owned(), leader, token, None, Some(files))
            }
        };
        let mut run = Run::open(&path)?;
        let security = Security { token, tls };
        let dialer = Dialer::new(
            security.clone(),
            Settings::default(),
            network.handle().clone(),
        );
        let dialer = Arc::new(dialer);
        let dataset = run.dataset()?;
        let prepared = prepare(&run.config, &dataset).map_err(RunError::from)?;
        if let Some(device) = options.device {
            run.config.device = device;
        }
        let (engine, note) = Backend::open(run.config.device)?;
        if let Some(note) = note {
            say(&note);
        }
        let late = LateAccept::new();
        let accept: Arc<dyn Accept> = late.clone();
        let settings = Settings::default();
        let listener = Listener::bind(
            &options.listen,
            &security,
            &settings,
            accept,
            network.handle(),
        )?;
        let place = NodePlace {
            directory: registry.is_some().then(|| path.clone()),
            address: listener.local_address().to_string(),
            dial: dialer.clone(),
            info: info(&listener, run.config.device),
            threads: options.threads,
            memory: options.memory,
        };
        let node = node(&run.config, &dataset, &prepared, engine, place);
        late.set(node.accept(None));
        let node = Arc::new(node);
        let (leave, leaves) = (options.leave.clone(), Arc::clone(&node));
        network.spawn(async move {
            leave.changed.notified().await;
            leaves.leave();
        });
        Ok(Worker {
            network,
            node,
            leave: options.leave.clone(),
            new_leader: options.new_leader,
            dialer,
            registry,
            leader,
            addresses,
            path,
            _listener: listener,
            _files: files,
        })
    }

    fn run(mut self, say: &dyn Fn(&str)) -> Result<WorkEnd, ProcessError> {
        let mut joined = false;
        let mut back_off = BACK_OFF / 2;
        loop {
            let began = std::time::Instant::now();
            let address = self.leader.address.clone();
            let ended = self.network.block_on(async {
                let stream = self.dialer.open(&address, Channel::Session, DIAL).await;
                let stream = stream.map_err(NodeError::LeaderLost)?;
                joined = true;
                say(&format!("joins the run at {address}"));
                self.node.join(stream).await
            });
            match ended {
                Ok(NodeEnding::Stopped(reason)) => return Ok(WorkEnd::Over(reason)),
                Ok(NodeEnding::LeaderLeft(reason)) => return Ok(WorkEnd::NoLeader(reason)),
                Ok(NodeEnding::LetGo(reason)) if self.leave.is_told() => {
                    return Ok(WorkEnd::Over(reason));
                }
                Ok(NodeEnding::LetGo(reason)) => {
                    say(&format!("the leader let this process go for now: {reason}"));
                    back_off = match began.elapsed() > MOST_BACK_OFF {
                        true => BACK_OFF,
                        false => (back_off * 2).min(MOST_BACK_OFF),
                    };
                    std::thread::sleep(back_off);
                }
                Err(NodeError::LeaderLost(
                    error @ (NetError::Refused { .. } | NetError::Frame { .. }),
                )) => {
                    return Err(error.into());
                }
                Err(NodeError::LeaderLost(error)) if self.new_leader.is_zero() => {
                    return Ok(WorkEnd::NoLeader(error.to_string()));
                }
                Err(NodeError::LeaderLost(error)) if !joined => {
                    return Err(match &self.registry {
                        Some(_) => nobody_leads(&self.path),
                        None => error.into(),
                    });
                }
                Err(NodeError::LeaderLost(error)) if self.leave.is_told() => {
                    return Ok(WorkEnd::Over(error.to_string()));
                }
                Err(NodeError::LeaderLost(error)) => {
                    say(&format!("{error}"));
                    self.leader = self.next_leader(&error)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits for the leader to be back, or for another one.
    fn next_leader(&self, error: &NetError) -> Result<LeaderPlace, ProcessError> {
        let limit = self.new_leader;
        let deadline = std::time::Instant::now() + limit;
        let gone = || {
            ProcessError::Other(format!(
                "{error}, and nobody has taken over within {limit:?}: go on with shardloom train --resume {} \
                 --listen 127.0.0.1:0, then start this again",
                self.path.display()
            ))
        };
        loop {
            if self.leave.is_told() {
                return Ok(self.leader.clone());
            }
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                return Err(gone());
            }
            let addresses = std::iter::once(&self.leader.address).chain(&self.addresses);
            for address in addresses {
                if self.network.block_on(leads(&self.dialer, address)) {
                    return Ok(LeaderPlace {
                        address: address.clone(),
                        epoch: self.leader.epoch,
                    });
                }
            }
            let wait = left.min(Duration::from_millis(500));
            match &self.registry {
                Some(registry) => {
                    let watched = registry.watch(self.leader.epoch, wait);
                    if let Some(record) = self.network.block_on(watched)? {
                        return Ok(LeaderPlace {
                            address: record.address,
                            epoch: record.epoch,
                        });
                    }
                }
                None => std::thread::sleep(wait),
            }
        }
    }
}

/// Fetches the files of a run from the first process that leads it.
async fn fetch_from_any(
    dialer: &Dialer,
    addresses: &[String],
) -> Result<(String, tempfile::TempDir), ProcessError> {
    let mut first = None;
    for address in addresses {
        match fetch_run(dialer, address).await {
            Ok(files) => return Ok((address.clone(), files)),
            Err(error) => {
                first.get_or_insert(error);
            }
        }
    }
    Err(first.unwrap_or_else(|| ProcessError::Other("no address of a leader".to_owned())))
}

/// Returns whether a process leads: one that stands by ends the stream without a word.
async fn leads(dialer: &Dialer, address: &str) -> bool {
    let answer = async {
        let mut stream = dialer.open(address, Channel::Session, ANSWER).await?;
        send(&stream.sender, &Opening::Watch, ANSWER).await?;
        receive::<ToNode>(&mut stream.receiver, ANSWER).await
    };
    matches!(answer.await, Ok(Some(_)))
}

pub(super) fn nobody_leads(path: &Path) -> ProcessError {
    ProcessError::Other(format!(
        "nobody leads the run in {}: start it with shardloom train --resume {} --listen 127.0.0.1:0",
        path.display(),
        path.display()
    ))
}

fn token_of(record: &LeaderRecord) -> Result<Option<Token>, ProcessError> {
    let token = record.token.as_ref().map(|token| token.text().parse());
    Ok(token.transpose()?)
}
