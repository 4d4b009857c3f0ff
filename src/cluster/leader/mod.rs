//! The leader's ends of the nodes' sessions, and the nodes as the leader sees them.

mod cut;
mod nodes;
mod reports;
mod save;

use std::fmt;
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::interval;

pub use cut::Cut;
pub use nodes::{First, LostShards, Nodes, NodesOptions};
pub use save::CutFailure;

use super::columns::{LIMIT, refuse_column};
use super::messages::{
    AfterStop, BEAT, ColumnRequest, Hello, Opening, SILENCE, ToLeader, ToNode, receive, send,
};
use crate::ids::Generation;
use crate::net::cut::{Cuts, SavedCut};
use crate::net::frame::MOST_PAYLOAD;
use crate::net::{Dial, Frame, FrameSender, FrameStream, Header, Kind, NetError};

/// Messages to a node that wait for the network, at most. A node that takes none is lost.
const WAITING: usize = 256;

/// Distance between the first generations of two epochs.
const GENERATIONS: u64 = 1_000_000_000;

/// Number of a session: a process that joins again has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u64);

/// Event of a session, for whoever leads.
#[derive(Debug)]
pub enum NodeEvent {
    /// A process wants to join. The answer is [`ToNode::Welcome`] or [`ToNode::Refused`].
    Joins {
        /// The session.
        session: SessionId,
        /// Request of the process.
        hello: Hello,
        /// Sends messages to the process.
        handle: NodeHandle,
    },
    /// A message came.
    Message(SessionId, ToLeader),
    /// The session is over, for a reason.
    Gone(SessionId, String),
}

/// Sends messages to a node. The session ends when all handles are dropped.
#[derive(Clone, Debug)]
pub struct NodeHandle {
    out: mpsc::Sender<ToNode>,
}

impl NodeHandle {
    /// Sends a message, without waiting. A node that takes no messages is about to be lost; its session ends.
    pub fn send(&self, message: ToNode) {
        let _ = self.out.try_send(message);
    }
}

/// The leader, for the streams of nodes. Clones are the same leader.
#[derive(Clone)]
pub struct Leader {
    inner: Arc<Inner>,
}

struct Inner {
    epoch: u32,
    /// Digest of the run's configuration and graph.
    run: String,
    events: Mutex<Listener>,
    sessions: AtomicU64,
    /// Number of sessions that are open.
    open: AtomicUsize,
    cut: Mutex<Option<Arc<Cut>>>,
    /// Files for nodes that have none: names and places.
    files: Mutex<Vec<(String, PathBuf)>>,
    /// Reason of the end of the run, for those who watch.
    ended: watch::Sender<Option<(String, AfterStop)>>,
}

/// Receiver of events.
pub type OnEvent = Box<dyn Fn(NodeEvent) + Send>;

/// Receiver of events, or events that wait for one.
enum Listener {
    Waiting(Vec<NodeEvent>),
    Listening(OnEvent),
}

/// Check of leadership.
pub type Leads = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

impl fmt::Debug for Lead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lead")
            .field("leader", &self.leader)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// A process that leads, for the trainer.
#[derive(Clone)]
pub struct Lead {
    /// The leader.
    pub leader: Leader,
    /// Address at which nodes reach this process.
    pub address: String,
    /// Number of nodes that the first step waits for, this process's own included.
    pub expected: usize,
    /// Opens streams to nodes.
    pub dial: Arc<dyn Dial>,
    /// Runtime of the network.
    pub runtime: Handle,
    /// Checks that this process still leads; a sentence if it does not.
    pub leads: Leads,
    /// Cuts of the run.
    pub cuts: Cuts,
    /// Digest of the graph, for the cuts.
    pub dataset: String,
    /// Rows that training goes on from.
    pub first: FirstRows,
}

/// Rows that a trainer of several processes goes on from.
#[derive(Clone, Debug)]
pub enum FirstRows {
    /// Initial rows by the configuration, which every holder makes by itself.
    Initial,
    /// Rows of the trainer's server. They are saved as the first cut.
    Server,
    /// A cut.
    Cut(SavedCut),
}

impl fmt::Debug for Leader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leader")
            .field("epoch", &self.inner.epoch)
            .finish_non_exhaustive()
    }
}

impl Leader {
    /// Makes the leader of an epoch. `run` is the digest that nodes must have.
    pub fn new(epoch: u32, run: String) -> Leader {
        Leader {
            inner: Arc::new(Inner {
                epoch,
                run,
                events: Mutex::new(Listener::Waiting(Vec::new())),
                sessions: AtomicU64::new(0),
                open: AtomicUsize::new(0),
                cut: Mutex::default(),
                files: Mutex::default(),
                ended: watch::Sender::default(),
            }),
        }
    }

    /// Sends the files of a run to nodes that do not have them.
    #[must_use]
    pub fn with_files(self, files: Vec<(String, PathBuf)>) -> Leader {
        let slot = self.inner.files.lock();
        *slot.unwrap_or_else(PoisonError::into_inner) = files;
        self
    }

    /// Epoch of leadership.
    pub fn epoch(&self) -> u32 {
        self.inner.epoch
    }

    /// Digest of the run's configuration and graph.
    pub fn run(&self) -> &str {
        &self.inner.run
    }

    /// Tells those who watch that the run is over.
    pub fn end(&self, reason: &str, then: AfterStop) {
        self.inner
            .ended
            .send_replace(Some((reason.to_owned(), then)));
    }

    /// Returns whether the run is over.
    pub fn is_ended(&self) -> bool {
        self.inner.ended.borrow().is_some()
    }

    /// Generation after which those of this leader are numbered. Generations of a later epoch are above all of an
    /// earlier one: a request that still waits at a holder from the time of an earlier leader is refused.
    pub fn first_generation(&self) -> Generation {
        Generation(u64::from(self.inner.epoch.saturating_sub(1)) * GENERATIONS)
    }

    /// Number of sessions that are open.
    pub fn sessions(&self) -> usize {
        self.inner.open.load(Ordering::Relaxed)
    }

    /// The last cut.
    pub fn cut(&self) -> Option<Arc<Cut>> {
        let cut = self.inner.cut.lock();
        cut.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the last cut.
    pub fn set_cut(&self, cut: Arc<Cut>) {
        let slot = self.inner.cut.lock();
        *slot.unwrap_or_else(PoisonError::into_inner) = Some(cut);
    }

    /// Gives all events to `on_event` from now on, those that have come before first.
    pub fn listen(&self, on_event: OnEvent) {
        let events = self.inner.events.lock();
        let mut events = events.unwrap_or_else(PoisonError::into_inner);
        if let Listener::Waiting(waiting) = &mut *events {
            waiting.drain(..).for_each(&on_event);
        }
        *events = Listener::Listening(on_event);
    }

    fn tell(&self, event: NodeEvent) {
        let events = self.inner.events.lock();
        match &mut *events.unwrap_or_else(PoisonError::into_inner) {
            Listener::Waiting(waiting) => waiting.push(event),
            Listener::Listening(on_event) => on_event(event),
        }
    }

    /// Sends a column of the cut.
    ///
    /// # Errors
    /// The failure of the stream.
    pub(super) async fn send_column(
        &self,
        sender: &FrameSender,
        request: &ColumnRequest,
    ) -> Result<(), NetError> {
        match self.cut() {
            Some(cut) => cut.send(sender, request).await,
            None => {
                refuse_column(sender, "the run has not begun").await;
                Ok(())
            }
        }
    }

    /// Serves the session that a process opens.
    pub(super) async fn open(&self, opening: Opening, stream: FrameStream) {
        let hello = match opening {
            Opening::Hello(hello) => hello,
            Opening::Files => {
                let files = self.inner.files.lock();
                let files = files.unwrap_or_else(PoisonError::into_inner).clone();
                if let Err(error) = send_files(&stream.sender, files).await {
                    tracing::warn!(%error, "files not sent");
                }
                return;
            }
            Opening::Watch => {
                self.watched(stream).await;
                return;
            }
            Opening::Columns(_) | Opening::Save(_) => {
                refuse_column(&stream.sender, "there is no such request").await;
                return;
            }
        };
        if let Err(reason) = self.check(&hello) {
            tracing::warn!(address = %hello.address, %reason, "refused");
            let refused = ToNode::Refused { reason };
            let _ = send(&stream.sender, &refused, SILENCE).await;
            return;
        }
        let session = SessionId(self.inner.sessions.fetch_add(1, Ordering::Relaxed));
        self.inner.open.fetch_add(1, Ordering::Relaxed);
        let (out, mut outbox) = mpsc::channel::<ToNode>(WAITING);
        let handle = NodeHandle { out };
        self.tell(NodeEvent::Joins {
            session,
            hello,
            handle,
        });
        let FrameStream {
            sender,
            mut receiver,
        } = stream;
        let writer = async {
            let mut beats = interval(BEAT);
            loop {
                // The order of the branches is fixed: simulations repeat.
                let message = tokio::select! {
                    biased;
                    message = outbox.recv() => message,
                    _ = beats.tick() => Some(ToNode::Beat),
                };
                let Some(message) = message else {
                    return "the leader let it go".to_owned();
                };
                if let Err(error) = send(&sender, &message, SILENCE).await {
                    return error.to_string();
                }
            }
        };
        let reader = async {
            loop {
                match receive::<ToLeader>(&mut receiver, SILENCE).await {
                    Ok(Some(message)) => self.tell(NodeEvent::Message(session, message)),
                    Ok(None) => return "it ended its session".to_owned(),
                    Err(error) => return error.to_string(),
                }
            }
        };
        let (reason, let_go) = tokio::select! {
            biased;
            reason = writer => (reason, true),
            reason = reader => (reason, false),
        };
        if let_go {
            // The last words arrive before the stream ends: the node ends it when it has read them.
            while let Ok(Some(_)) = receiver.receive(SILENCE).await {}
        }
        self.inner.open.fetch_sub(1, Ordering::Relaxed);
        self.tell(NodeEvent::Gone(session, reason));
    }

    /// Tells a standby that the leader is alive, until the run is over.
    async fn watched(&self, stream: FrameStream) {
        let FrameStream {
            sender,
            mut receiver,
        } = stream;
        self.inner.open.fetch_add(1, Ordering::Relaxed);
        let mut ended = self.inner.ended.subscribe();
        let mut beats = interval(BEAT);
        loop {
            let message = tokio::select! {
                biased;
                Ok(ended) = ended.wait_for(Option::is_some) => {
                    let (reason, then) = ended.clone().unwrap_or((String::new(), AfterStop::End));
                    ToNode::Stop { reason, then }
                }
                _ = beats.tick() => ToNode::Beat,
            };
            let sent = send(&sender, &message, SILENCE).await;
            if sent.is_err() || matches!(message, ToNode::Stop { .. }) {
                break;
            }
        }
        // The last word arrives before the stream ends: the standby ends it when it has read it.
        while let Ok(Some(_)) = receiver.receive(SILENCE).await {}
        self.inner.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Checks that a node has the same release, configuration and graph.
    fn check(&self, hello: &Hello) -> Result<(), String> {
        let release = env!("CARGO_PKG_VERSION");
        if hello.release != release {
            return Err(format!(
                "it has release {}, and the leader {release}: use the same everywhere",
                hello.release
            ));
        }
        if hello.run != self.inner.run {
            return Err(format!(
                "its configuration and graph have digest {}, and the leader's {}: start it with the run's directory or \
                 with --join",
                hello.run, self.inner.run
            ));
        }
        Ok(())
    }
}

/// Sends files: a control frame with each name, then data.
async fn send_files(sender: &FrameSender, files: Vec<(String, PathBuf)>) -> Result<(), NetError> {
    for (name, path) in files {
        let read = |error: std::io::Error| {
            NetError::Options(format!("cannot read {}: {error}", path.display()))
        };
        if !path.exists() {
            continue;
        }
        let frame = Frame {
            payload: name.into_bytes().into(),
            ..Frame::empty(Header::new(Kind::Control))
        };
        sender.send(frame, LIMIT).await?;
        let mut file = tokio::task::block_in_place(|| std::fs::File::open(&path)).map_err(read)?;
        loop {
            let mut part = vec![0; MOST_PAYLOAD];
            let count = tokio::task::block_in_place(|| file.read(&mut part)).map_err(read)?;
            if count == 0 {
                break;
            }
            part.truncate(count);
            let frame = Frame {
                payload: part.into(),
                ..Frame::empty(Header::new(Kind::Data))
            };
            sender.send(frame, LIMIT).await?;
        }
    }
    Ok(())
}
