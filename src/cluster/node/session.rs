//! A node's end of its session with the leader.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::interval;

use super::against_all::Setup;
use super::compute::{Computed, Work, compute};
use super::group::{Forming, Rank};
use super::{Node, NodeShards, Router};
use crate::cluster::messages::{
    AfterStop, BEAT, Configuration, Hello, Opening, SILENCE, ToLeader, ToNode, receive, send,
};
use crate::coordinator::Failure;
use crate::device::size;
use crate::ids::{Generation, WorkerId};
use crate::kernel::KernelError;
use crate::net::rows::{RemoteOptions, RemoteShards};
use crate::net::{Channel, FrameReceiver, FrameStream, NetError};
use crate::server::{ServerError, ShardClient, ShardError};

/// Longest wait for a stream to another node.
pub(super) const DIAL_LIMIT: Duration = Duration::from_secs(2);
/// Messages that wait between the tasks of a session.
const WAITING: usize = 64;

/// A failure of a node.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The leader is lost, or the stream to the leader.
    #[error("the leader is lost: {0}")]
    LeaderLost(NetError),
    /// The leader does not admit the node.
    #[error("the leader refused: {0}")]
    Refused(String),
    /// A node that this one needs cannot be reached.
    #[error("{error}")]
    Unreachable {
        /// The node's worker; `None` for the leader.
        worker: Option<WorkerId>,
        /// Failure of the connection.
        error: NetError,
    },
    /// The node's shards do not fit into its memory.
    #[error(
        "{shards} shards take {}, and this process has {} for them: let others join before it, or raise --memory",
        size(*bytes),
        size(*memory)
    )]
    NoRoom {
        /// Number of shards.
        shards: usize,
        /// Bytes of the shards.
        bytes: u64,
        /// Bytes that the process may take, or that are free.
        memory: u64,
    },
    /// The shards cannot be held.
    #[error(transparent)]
    Server(#[from] ServerError),
}

impl From<ShardError> for NodeError {
    fn from(error: ShardError) -> NodeError {
        NodeError::Server(error.into())
    }
}

impl From<KernelError> for NodeError {
    fn from(error: KernelError) -> NodeError {
        NodeError::Server(error.into())
    }
}

/// Reason why a session ended in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeEnding {
    /// The leader ended the run, or let the node go, with a sentence.
    Stopped(String),
    /// The leader let the node go, with a sentence: the node may join again after a while.
    LetGo(String),
    /// The leader left a run that is not over, with a sentence: another process may lead it.
    LeaderLeft(String),
}

/// Forgets the leader and all shards when dropped.
struct Leaves<'a>(&'a NodeShards);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Node {
    /// Joins a run over a stream to the leader, and works until the leader lets the node go.
    ///
    /// # Errors
    /// [`NodeError`]. The node may join again, as a new worker.
    pub async fn join(&self, stream: FrameStream) -> Result<NodeEnding, NodeError> {
        // However the session ends: a session that is dropped leaves nobody waiting for its shards.
        let _leaves = Leaves(&self.shards);
        self.session(stream).await
    }

    async fn session(&self, mut stream: FrameStream) -> Result<NodeEnding, NodeError> {
        let options = &self.options;
        let lost = NodeError::LeaderLost;
        let hello = Opening::Hello(Hello {
            release: env!("CARGO_PKG_VERSION").to_owned(),
            incarnation: self.incarnation,
            address: options.address.clone(),
            info: options.info.clone(),
            directory: options.directory.is_some(),
            run: options.run.clone(),
        });
        send(&stream.sender, &hello, SILENCE).await.map_err(lost)?;
        // The leader may be ranking: it answers afterwards, and beats meanwhile.
        let answer = loop {
            match receive(&mut stream.receiver, SILENCE).await.map_err(lost)? {
                Some(ToNode::Beat) => {}
                answer => break answer,
            }
        };
        let me = match answer {
            Some(ToNode::Welcome { worker, epoch }) => {
                tracing::info!(%worker, epoch, "joined");
                worker
            }
            Some(ToNode::Refused { reason }) => return Err(NodeError::Refused(reason)),
            other => return Err(NodeError::Refused(format!("no welcome, but {other:?}"))),
        };
        let (messages, mut inbox) = mpsc::channel(WAITING);
        let reader = tokio::spawn(read(stream.receiver, self.shards.clone(), messages));
        let (out, mut outbox) = mpsc::channel::<ToLeader>(WAITING);
        let sender = stream.sender.clone();
        let writer = tokio::spawn(async move {
            let mut beats = interval(BEAT);
            loop {
                // The order of the branches is fixed: simulations repeat.
                let message = tokio::select! {
                    biased;
                    message = outbox.recv() => message,
                    _ = beats.tick() => Some(ToLeader::Beat),
                };
                let Some(message) = message else { return };
                if send(&sender, &message, SILENCE).await.is_err() {
                    return;
                }
            }
        });
        let (tasks, work) = mpsc::unbounded_channel();
        let (announced, latest) = watch::channel(Generation::default());
        match &self.computing {
            Some(computing) => computing.start(me, work, latest, out.clone()),
            None => compute(self, me, work, latest, Computed::new(out.clone()))?,
        }
        let _ = out.send(ToLeader::Synced).await;
        let mut clients = BTreeMap::new();
        let mut waiting = VecDeque::new();
        let mut newest = None;
        let mut leaving = false;
        let ended = loop {
            let next = match waiting.pop_front() {
                Some(next) => next,
                None => tokio::select! {
                    biased;
                    next = inbox.recv() => next,
                    () = self.leaves.notified(), if !leaving => {
                        leaving = true;
                        let _ = out.send(ToLeader::Leave).await;
                        continue;
                    }
                },
            };
            let message = match next {
                Some(Ok(message)) => message,
                Some(Err(error)) => break Err(NodeError::LeaderLost(error)),
                None => {
                    let reason = "the leader ended the stream".to_owned();
                    let peer = stream.sender.peer().to_owned();
                    break Err(NodeError::LeaderLost(NetError::Lost { peer, reason }));
                }
            };
            match message {
                // Behind the node's own.
                ToNode::Configure(configuration) if Some(configuration.generation) <= newest => {}
                ToNode::Configure(configuration) => {
                    let generation = configuration.generation;
                    newest = Some(generation);
                    self.shards.announce(generation);
                    // Ends the step that runs, before shards are fetched.
                    announced.send_replace(generation);
                    let done = {
                        let configured =
                            self.configure(me, *configuration, &mut clients, &tasks, &announced);
                        unless_superseded(configured, &mut inbox, &mut waiting).await
                    };
                    match done {
                        // A holder that is lost is waited for no longer than the leader takes to notice.
                        None | Some(Ok(())) => {}
                        Some(Err(NodeError::Unreachable {
                            worker: Some(worker),
                            error,
                        })) => {
                            let reason = error.to_string();
                            let message = ToLeader::Unreachable {
                                generation,
                                worker,
                                reason,
                            };
                            let _ = out.send(message).await;
                        }
                        Some(Err(NodeError::Unreachable {
                            worker: None,
                            error,
                        })) => {
                            let peer = stream.sender.peer().to_owned();
                            let reason = format!("its cut cannot be read: {error}");
                            break Err(NodeError::LeaderLost(NetError::Lost { peer, reason }));
                        }
                        Some(Err(error)) => {
                            let message = error.to_string();
                            let _ = out.send(ToLeader::Failed(Failure::Other { message })).await;
                            break Err(error);
                        }
                    }
                }
                ToNode::Start(task) => {
                    // A thread that is gone has said why.
                    let _ = tasks.send(Work::Start(task));
                }
                ToNode::Rank(task) => {
                    let _ = tasks.send(Work::Rank(task));
                }
                ToNode::Commit {
                    generation,
                    step,
                    rate,
                } => match self.shards.commit_at(generation, step, rate).await {
                    Ok(()) => {}
                    // The node has no shards of the generation: its configuration failed, and another follows.
                    Err(ServerError::Generation { .. }) => {}
                    Err(error) => {
                        let message = format!("cannot commit {step}: {error}");
                        let _ = out.send(ToLeader::Failed(Failure::Other { message })).await;
                        break Err(error.into());
                    }
                },
                ToNode::Discard { generation } => self.shards.discard(generation),
                ToNode::Stop { reason, then } => {
                    break Ok(match then {
                        AfterStop::JoinAgain => NodeEnding::LetGo(reason),
                        AfterStop::End => NodeEnding::Stopped(reason),
                        AfterStop::OtherLeader => NodeEnding::LeaderLeft(reason),
                    });
                }
                ToNode::Beat | ToNode::Welcome { .. } | ToNode::Refused { .. } => {}
            }
        };
        reader.abort();
        drop(out);
        drop(tasks);
        // What is still to be said is said, unless the leader does not take it.
        let _ = tokio::time::timeout(BEAT, writer).await;
        ended
    }

    /// Takes over a new configuration: shards, then connections to other holders.
    async fn configure(
        &self,
        me: WorkerId,
        configuration: Configuration,
        clients: &mut BTreeMap<WorkerId, Arc<dyn ShardClient>>,
        tasks: &mpsc::UnboundedSender<Work>,
        announced: &watch::Sender<Generation>,
    ) -> Result<(), NodeError> {
        let held = self.fetch(me, &configuration).await?;
        let map = Arc::clone(held.map());
        let widths = configuration.layout.widths;
        self.shards.configure(&configuration, held.clone());
        clients.retain(|worker, _| {
            configuration
                .nodes
                .iter()
                .any(|node| node.worker == *worker)
        });
        clients.insert(me, Arc::new(self.shards.clone()));
        for node in &configuration.nodes {
            if clients.contains_key(&node.worker) {
                continue;
            }
            let dial = &self.options.dial;
            let stream = dial.open(&node.address, Channel::Rows, DIAL_LIMIT).await;
            let stream = stream.map_err(|error| NodeError::Unreachable {
                worker: Some(node.worker),
                error,
            })?;
            let options = RemoteOptions {
                epoch: configuration.epoch,
                value_type: self.options.value_type,
                deadline: self.options.deadline,
            };
            let client = RemoteShards::new(stream, options);
            clients.insert(node.worker, Arc::new(client.with_widths(widths)));
        }
        let against_all = self.joins.as_ref().map(|joins| {
            let (joins, dial) = (Arc::clone(joins), Arc::clone(&self.options.dial));
            let forming = Forming::start(me, &configuration, joins, dial);
            Box::new(Setup {
                me,
                lanes: configuration.lanes,
                held,
                rank: Rank::new(me, &configuration, forming, announced.subscribe()),
            })
        });
        let router = Router::new(me, map, configuration.holders, clients.clone());
        let _ = tasks.send(Work::Configure {
            generation: configuration.generation,
            router,
            against_all,
        });
        Ok(())
    }
}

/// Message of the leader, or the failure of the stream; `None` at its end.
type Next = Option<Result<ToNode, NetError>>;

/// Waits for a configuration, unless the leader sends another one or ends the session: `None` then. Messages that come
/// meanwhile go to `waiting`.
async fn unless_superseded(
    configured: impl Future<Output = Result<(), NodeError>>,
    inbox: &mut mpsc::Receiver<Result<ToNode, NetError>>,
    waiting: &mut VecDeque<Next>,
) -> Option<Result<(), NodeError>> {
    tokio::pin!(configured);
    loop {
        tokio::select! {
            biased;
            done = &mut configured => return Some(done),
            next = inbox.recv() => {
                let supersedes = !matches!(
                    next,
                    Some(Ok(
                        ToNode::Start(_)
                            | ToNode::Rank(_)
                            | ToNode::Commit { .. }
                            | ToNode::Discard { .. }
                            | ToNode::Beat
                    ))
                );
                waiting.push_back(next);
                if supersedes {
                    return None;
                }
            }
        }
    }
}

/// Passes the leader's messages on; beats only count as a word of the leader.
async fn read(
    mut receiver: FrameReceiver,
    shards: NodeShards,
    messages: mpsc::Sender<Result<ToNode, NetError>>,
) {
    loop {
        let message = receive::<ToNode>(&mut receiver, SILENCE).await;
        let message = match message {
            Ok(Some(ToNode::Beat)) => {
                shards.hear();
                continue;
            }
            Ok(Some(message)) => {
                shards.hear();
                Ok(message)
            }
            Ok(None) => return,
            Err(error) => Err(error),
        };
        let ends = message.is_err();
        if messages.send(message).await.is_err() || ends {
            return;
        }
    }
}
