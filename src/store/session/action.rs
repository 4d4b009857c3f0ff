//! Orders of a session to the shell, and answers of its calls.

use std::sync::Arc;

use crate::store::{ChannelPlan, Epoch, StoreError};

/// Order for the shell to carry out.
#[derive(Clone, Debug)]
pub enum Action<T> {
    /// Sample a batch on some thread, then call [`sampled`](super::Session::sampled).
    Sample {
        /// Number of the job.
        job: u64,
        /// Plan of the channel.
        plan: Arc<ChannelPlan>,
        /// Epoch of the batch.
        epoch: u64,
        /// Position of the batch.
        position: u64,
    },
    /// Send a batch, then call [`taken`](super::Session::taken) as soon as the transport has all of it.
    Send {
        /// Channel of the stream.
        channel: u64,
        /// Number of the stream.
        stream: u64,
        /// Position of the batch.
        position: u64,
        /// The batch.
        payload: T,
    },
    /// Tell a stream that the epoch is over, then end it, then call [`ended`](super::Session::ended).
    Done {
        /// Number of the stream.
        stream: u64,
        /// The epoch.
        epoch: Epoch,
    },
    /// End a stream.
    End {
        /// Number of the stream.
        stream: u64,
        /// Reason.
        reason: EndReason,
    },
    /// End the server: it has drained.
    Stop {
        /// Channels whose epoch had not ended at the deadline.
        cut_off: Vec<CutOff>,
    },
}

/// Reason for the end of a stream.
#[derive(Clone, Debug, PartialEq)]
pub enum EndReason {
    /// Another stream of the channel has begun.
    Replaced,
    /// A later epoch has begun.
    NewEpoch,
    /// The channel was closed.
    Closed,
    /// The client neither called nor took what was sent, so that the channel is closed.
    Lapsed,
    /// The server has drained long enough.
    CutOff,
    /// A batch cannot be drawn. The channel stays open.
    Failed(StoreError),
}

/// Channel whose epoch had not ended when the server did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutOff {
    /// Number of the channel.
    pub channel: u64,
    /// Client that had opened it.
    pub client: String,
    /// Batches that were not sent.
    pub left: u64,
}

/// Answer of [`start`](super::Session::start).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Current epoch: the one that was asked for, or a later one.
    Running(Epoch),
    /// The channel is closed.
    Closed,
}

/// Answer of [`fetch`](super::Session::fetch).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetch {
    /// The stream is the channel's.
    Open,
    /// The channel is closed, and there is nothing to send.
    Closed,
}
