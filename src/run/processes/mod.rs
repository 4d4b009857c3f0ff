//! A run of several processes: the leader's side ([`Leading`]), and that of the others ([`work`]).

mod children;
mod files;
mod lead;
mod leader;
mod standby;
mod worker;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

pub use lead::{LeadOptions, Leading, Listening};
pub use leader::leader_of;
pub use standby::StandbyEnd;
pub use worker::{Leave, NEW_LEADER, WorkEnd, WorkerOptions, WorkerPlace, work};

use super::RunError;
use crate::cluster::node::{NodeAccept, NodeError};
use crate::kernel::KernelError;
use crate::net::registry::RegistryError;
use crate::net::{Accept, Channel, FrameStream, NetError};

/// A failure of a process that trains together with others.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The run cannot be read or written.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The records of leaders cannot be read or written.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The network fails.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The node fails.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The device fails.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// Another process has won the epoch of leadership.
    #[error("{address} leads this run since a moment ago: join it with shardloom worker {path}", path = .path.display())]
    OtherLeader {
        /// Address of that process.
        address: String,
        /// Directory of the run.
        path: PathBuf,
    },
    /// The process cannot take part, for a reason.
    #[error("{0}")]
    Other(String),
}

/// Takes streams from the moment on at which there is somebody to take them; those that come earlier are dropped.
#[derive(Debug, Default)]
struct LateAccept {
    node: RwLock<Option<NodeAccept>>,
}

impl LateAccept {
    fn new() -> Arc<LateAccept> {
        Arc::default()
    }

    fn set(&self, node: NodeAccept) {
        *self.node.write().unwrap_or_else(PoisonError::into_inner) = Some(node);
    }
}

impl Accept for LateAccept {
    fn accept(&self, channel: Channel, stream: FrameStream) {
        let node = self.node.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(node) = &*node {
            node.accept(channel, stream);
        }
    }
}
