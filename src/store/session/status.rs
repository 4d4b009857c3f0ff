//! State of a session, for people and monitors.

use serde::{Deserialize, Serialize};

use super::Session;

/// State of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionStatus {
    /// Whether the server takes no new work.
    pub draining: bool,
    /// Number of samplers.
    pub samplers: usize,
    /// Batches that are being sampled.
    pub jobs: usize,
    /// Bytes that count towards the limit.
    pub memory: u64,
    /// Channels that could go on but for the limits, or whose windows are full.
    pub parked: usize,
    /// Batches sent in all, by closed channels too.
    pub batches: u64,
    /// Facts of those.
    pub facts: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// Channels that lapsed.
    pub lapsed: u64,
    /// Batches that were thrown away to make room.
    pub evicted: u64,
    /// Open channels, by number.
    pub channels: Vec<ChannelStatus>,
}

/// State of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelStatus {
    /// Number of the channel.
    pub channel: u64,
    /// Client that opened it.
    pub client: String,
    /// Key of its sampler.
    pub key: String,
    /// Current epoch.
    pub epoch: Option<u64>,
    /// Position of the next batch to send.
    pub position: u64,
    /// Number of batches of the epoch.
    pub batches: u64,
    /// Batches that are under way or made.
    pub ahead: usize,
    /// Whether a stream is open.
    pub stream: bool,
    /// Batches sent in all epochs.
    pub sent: u64,
}

impl<T> Session<T> {
    /// State of the session.
    pub fn status(&self) -> SessionStatus {
        let channels = self
            .channels
            .iter()
            .map(|(&number, channel)| ChannelStatus {
                channel: number,
                client: channel.client.clone(),
                key: channel.plan.sampler().key.clone(),
                epoch: channel.epoch.map(|epoch| epoch.epoch),
                position: channel.position,
                batches: channel.batches(),
                ahead: channel.slots.len(),
                stream: channel.stream.is_some(),
                sent: channel.sent.batches,
            });
        let parked = |channel: &&super::channel::ChannelState<T>| {
            channel.queued.is_none() && channel.position < channel.batches()
        };
        SessionStatus {
            draining: self.is_draining(),
            samplers: self.samplers.len(),
            jobs: self.jobs.len(),
            memory: self.held + self.listed + self.answers,
            parked: self.channels.values().filter(parked).count(),
            batches: self.sent.batches,
            facts: self.sent.facts,
            bytes: self.sent.bytes,
            lapsed: self.lapsed,
            evicted: self.evicted,
            channels: channels.collect(),
        }
    }
}
