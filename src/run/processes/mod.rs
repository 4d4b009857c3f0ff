//! A run of several processes: the leader's side ([`Leading`]), and that of the others ([`work`]).

mod children;
mod files;
mod lead;
mod worker;

use std::sync::{Arc, OnceLock};

pub use lead::{LeadOptions, Leading, Listening};
pub use worker::{Leave, WorkerOptions, WorkerPlace, work};

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
    /// The process cannot take part, for a reason.
    #[error("{0}")]
    Other(String),
}

/// Takes streams from the moment on at which the node is there; those that come earlier are dropped.
#[derive(Debug, Default)]
struct LateAccept {
    node: OnceLock<NodeAccept>,
}

impl LateAccept {
    fn new() -> Arc<LateAccept> {
        Arc::default()
    }

    fn set(&self, node: NodeAccept) {
        // Set once only.
        let _ = self.node.set(node);
    }
}

impl Accept for LateAccept {
    fn accept(&self, channel: Channel, stream: FrameStream) {
        if let Some(node) = self.node.get() {
            node.accept(channel, stream);
        }
    }
}
