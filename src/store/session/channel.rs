//! One channel of a session.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::Credit;
use crate::store::{ChannelPlan, Epoch, StoreError, Window};

/// Bytes that a channel's first batch is expected to have.
const FIRST_BYTES: u64 = 1 << 20;
/// Batches of a stream that the transport has not taken yet, at most: one is being written, and the next is at hand.
const MOST_SENDING: usize = 2;

/// A channel.
#[derive(Debug)]
pub(super) struct ChannelState<T> {
    pub client: String,
    pub token: String,
    pub sampler: u64,
    pub plan: Arc<ChannelPlan>,
    pub window: Window,
    pub epoch: Option<Epoch>,
    /// Position of the next batch to send.
    pub position: u64,
    /// Batches from that position on that are under way or made.
    pub slots: BTreeMap<u64, Slot<T>>,
    pub stream: Option<Stream>,
    /// Whether a stream was told that the epoch is over.
    pub finished: bool,
    /// Time of the lapse, unless the client does something or its stream keeps the channel.
    pub lease: Duration,
    /// Facts sampled for the channel, on the clock of all channels.
    pub work: u64,
    /// Facts of the latest batch.
    pub facts: u64,
    /// Bytes of the largest of the latest batches.
    pub bytes: u64,
    pub sent: Sent,
    /// Keys under which the session has the channel in its queue and among the leases.
    pub queued: Option<u64>,
    pub lapses: Option<Duration>,
}

/// Numbers sent in all epochs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sent {
    pub batches: u64,
    pub bytes: u64,
    pub facts: u64,
}

/// A batch of a channel.
#[derive(Debug)]
pub(super) enum Slot<T> {
    /// The batch is being sampled.
    Asked {
        /// Number of the job.
        job: u64,
        /// Bytes that it is expected to have.
        bytes: u64,
        /// Facts that it is expected to have.
        facts: u64,
    },
    /// The batch waits to be sent.
    Ready(super::Made<T>),
    /// The batch cannot be drawn.
    Failed(StoreError),
}

impl<T> Slot<T> {
    pub fn bytes(&self) -> u64 {
        match self {
            Slot::Asked { bytes, .. } => *bytes,
            Slot::Ready(made) => made.bytes,
            Slot::Failed(_) => 0,
        }
    }
}

/// Stream of a channel.
#[derive(Debug)]
pub(super) struct Stream {
    pub number: u64,
    pub credit: Credit,
    /// Position and bytes of each batch that the transport has not taken yet.
    pub sending: VecDeque<(u64, u64)>,
    /// Whether the stream was told that the epoch is over.
    pub done: bool,
}

impl Stream {
    pub fn has_credit(&self) -> bool {
        self.credit.batches > 0 && self.credit.bytes > 0 && !self.done
    }

    /// Returns whether another batch may be sent before the transport has taken the last; `few` if little is being
    /// sent on all streams.
    pub fn has_room(&self, few: bool) -> bool {
        self.sending.len() < if few { MOST_SENDING } else { 1 }
    }
}

impl<T> ChannelState<T> {
    pub fn new(
        client: String,
        token: String,
        sampler: u64,
        plan: ChannelPlan,
        window: Window,
    ) -> ChannelState<T> {
        ChannelState {
            client,
            token,
            sampler,
            plan: Arc::new(plan),
            window,
            epoch: None,
            position: 0,
            slots: BTreeMap::new(),
            stream: None,
            finished: false,
            lease: Duration::ZERO,
            work: 0,
            facts: 1,
            bytes: FIRST_BYTES,
            sent: Sent::default(),
            queued: None,
            lapses: None,
        }
    }

    /// Number of batches of the epoch.
    pub fn batches(&self) -> u64 {
        self.epoch.map_or(0, |epoch| epoch.batches)
    }

    /// Bytes of batches that are under way, made, or being sent.
    pub fn held(&self) -> u64 {
        let slots: u64 = self.slots.values().map(Slot::bytes).sum();
        let sending = self.stream.iter().flat_map(|stream| &stream.sending);
        slots + sending.map(|&(_, bytes)| bytes).sum::<u64>()
    }

    /// Returns whether the client waits for the next batch: it has given credit, and has taken what was sent.
    pub fn waits(&self) -> bool {
        let waits = |stream: &Stream| stream.has_credit() && stream.sending.is_empty();
        self.stream.as_ref().is_some_and(waits)
    }

    /// Position of the next batch to sample, if the window has room.
    pub fn next_to_sample(&self) -> Option<u64> {
        let window = u64::from(self.window.batches.get());
        let end = self.batches().min(self.position.saturating_add(window));
        let next = (self.position..end).find(|position| !self.slots.contains_key(position))?;
        let room = self.slots.is_empty() || self.held() < self.window.bytes;
        room.then_some(next)
    }

    /// Time of the lapse; none if an open stream keeps the channel.
    pub fn lapse(&self) -> Option<Duration> {
        match &self.stream {
            Some(stream) if stream.sending.is_empty() && !stream.done => None,
            _ => Some(self.lease),
        }
    }

    /// Returns whether no epoch runs: none has begun, or the client knows that it is over.
    pub fn rests(&self) -> bool {
        self.epoch.is_none() || (self.finished && self.stream.is_none())
    }
}
