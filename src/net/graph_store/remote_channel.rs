//! A channel of a client: batches of a server, and of the one that takes its place.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::chunks::Incoming;
use super::connection::{Connection, Failure};
use super::message::{
    ChannelInfo, ChannelRequest, CloseReply, CloseRequest, Credit, EpochInfo, SamplerInfo,
    SamplerRequest, StartRequest,
};
use super::remote::{describe, json, seeds_message};
use crate::neighborhood::Seeds;
use crate::store::{Channel, ChannelSpec, Epoch, Next, SamplerSpec, SeedSpec, StoreError, packed};

/// Time before a lost server is tried again.
pub(super) const AGAIN: Duration = Duration::from_millis(100);

/// Settings that open a channel, again and again.
#[derive(Debug)]
pub(super) struct Opening {
    pub connection: Arc<Connection>,
    pub patience: Duration,
    pub client: String,
    pub sampler: SamplerSpec,
    pub channel: ChannelSpec,
}

/// A channel of a remote store.
#[derive(Debug)]
pub(super) struct RemoteChannel {
    opening: Opening,
    name: String,
    /// Digest of the graph at first.
    digest: u64,
    /// Number at the server; `None` if it has to be opened again.
    number: Option<u64>,
    epoch: Option<Epoch>,
    /// Position of the next batch.
    next: u64,
    fetch: Option<Fetching>,
    /// Time since which the server is away, and the last fault.
    lost: Option<(Instant, StoreError)>,
}

/// A fetch that is open.
#[derive(Debug)]
struct Fetching {
    parts: Receiver<Result<Part, Failure>>,
    credits: UnboundedSender<Credit>,
}

/// Part of the answers to a fetch.
#[derive(Debug)]
enum Part {
    /// Bytes of a batch, in several pieces.
    Batch(Vec<Bytes>),
    Done {
        closed: bool,
    },
}

/// Name of a channel that no other of the process has.
fn fresh_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("channel {}", NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Opening {
    /// Opens the sampler and the channel, and returns the channel's number.
    fn open(&self, name: &str) -> Result<u64, Failure> {
        let fault = Failure::Refused;
        let spec = json(&self.sampler).map_err(fault)?;
        let request = SamplerRequest { spec };
        let SamplerInfo { sampler } = self.connection.one("OpenSampler", request)?;
        let mut channel = self.channel.clone();
        let listed = match &channel.seeds {
            SeedSpec::Listed(nodes) => Some(seeds_message(&Seeds::Nodes(nodes))),
            SeedSpec::Timed { nodes, times } => Some(seeds_message(&Seeds::Timed(nodes, times))),
            SeedSpec::ListedFacts(facts) => Some(seeds_message(&Seeds::Facts(facts))),
            SeedSpec::Nodes { .. } | SeedSpec::Facts { .. } => None,
        };
        if listed.is_some() {
            channel.seeds = SeedSpec::default();
        }
        let request = ChannelRequest {
            sampler,
            client: self.client.clone(),
            name: name.to_owned(),
            spec: json(&channel).map_err(fault)?,
            seeds: listed,
        };
        let info: ChannelInfo = self.connection.one("OpenChannel", request)?;
        Ok(info.channel)
    }
}

impl RemoteChannel {
    /// Opens a channel.
    ///
    /// # Errors
    /// If the server is away or refuses.
    pub fn open(opening: Opening) -> Result<RemoteChannel, StoreError> {
        let name = fresh_name();
        let described = describe(&opening.connection).map_err(Failure::error)?;
        let number = opening.open(&name).map_err(Failure::error)?;
        Ok(RemoteChannel {
            opening,
            name,
            digest: described.digest,
            number: Some(number),
            epoch: None,
            next: 0,
            fetch: None,
            lost: None,
        })
    }

    /// Number of the channel; opens it again if need be.
    fn number(&mut self) -> Result<u64, Failure> {
        if let Some(number) = self.number {
            return Ok(number);
        }
        let found = describe(&self.opening.connection)?.digest;
        if found != self.digest {
            let expected = self.digest;
            let error = StoreError::OtherGraph { found, expected };
            return Err(Failure::Refused(error));
        }
        let number = self.opening.open(&self.name)?;
        self.number = Some(number);
        Ok(number)
    }

    /// Begins an epoch at the server, once.
    fn begin(&mut self, epoch: u64) -> Result<Epoch, Failure> {
        let channel = self.number()?;
        let request = StartRequest { channel, epoch };
        let info: EpochInfo = self.opening.connection.one("StartEpoch", request)?;
        if info.closed {
            // The lease has ended.
            return Err(Failure::Unknown(StoreError::Closed));
        }
        Ok(Epoch {
            epoch: info.epoch,
            batches: info.batches,
            seeds: info.seeds as u32,
            digest: info.digest,
        })
    }

    /// Notes a failure, after which the channel is opened again.
    ///
    /// # Errors
    /// If the server has refused, or is away for too long.
    fn recover(&mut self, failure: Failure) -> Result<(), StoreError> {
        self.fetch = None;
        match failure {
            Failure::Refused(error) => Err(error),
            Failure::Unknown(error) => {
                // Once: a server that knows no channel that it has just opened is at fault.
                match self.number.take() {
                    Some(_) => Ok(()),
                    None => Err(error),
                }
            }
            Failure::Lost(error) => {
                self.number = None;
                let (since, _) = self.lost.get_or_insert((Instant::now(), error.clone()));
                match since.elapsed() > self.opening.patience {
                    true => Err(error),
                    false => Ok(()),
                }
            }
        }
    }

    /// Begins a fetch at the next batch.
    fn fetch(&mut self, epoch: Epoch) -> Result<(), Failure> {
        let begun = self.begin(epoch.epoch)?;
        if begun != epoch {
            let (asked, current) = (epoch.epoch, begun.epoch);
            let error = StoreError::OtherEpoch { asked, current };
            return Err(Failure::Refused(error));
        }
        let (credits, later) = unbounded_channel();
        let first = Credit {
            channel: self.number()?,
            epoch: epoch.epoch,
            from: self.next,
            batches: self.opening.channel.window.batches.get(),
        };
        // The receiver is held.
        let _ = credits.send(first);
        let (sender, parts) = channel();
        let connection = Arc::clone(&self.opening.connection);
        let task = async move {
            let later = UnboundedReceiverStream::new(later);
            let ended = match connection.chunks("Fetch", later).await {
                Ok(chunks) => read(chunks, &sender).await,
                Err(status) => Err(status),
            };
            if let Err(status) = ended {
                // A consumer that has left wants nothing.
                let _ = sender.send(Err(connection.failure(&status)));
            }
        };
        self.opening.connection.spawn(task);
        self.fetch = Some(Fetching { parts, credits });
        Ok(())
    }

    /// Takes one part of the fetch.
    fn part(&mut self, epoch: Epoch, part: Part) -> Result<Option<Next>, StoreError> {
        match part {
            Part::Batch(pieces) => {
                let sampled = packed::decode_pieces(&pieces)?;
                self.next += 1;
                self.lost = None;
                if let Some(fetch) = &self.fetch {
                    let more = Credit {
                        batches: 1,
                        ..Credit::default()
                    };
                    // A fetch that has ended needs no credit.
                    let _ = fetch.credits.send(more);
                }
                Ok(Some(Next::Batch(Box::new(sampled))))
            }
            Part::Done { closed: false } => {
                self.fetch = None;
                self.next = epoch.batches;
                Ok(Some(Next::Done(epoch)))
            }
            Part::Done { closed: true } => {
                self.recover(Failure::Unknown(StoreError::Closed))?;
                Ok(None)
            }
        }
    }
}

/// Collects the chunks of batches.
async fn read(
    mut chunks: Incoming,
    parts: &Sender<Result<Part, Failure>>,
) -> Result<(), tonic::Status> {
    let mut pieces = Vec::new();
    while let Some(chunk) = chunks.next().await? {
        let part = if let Some(done) = chunk.done {
            Part::Done {
                closed: done.closed,
            }
        } else {
            pieces.push(chunk.data);
            if !chunk.last {
                continue;
            }
            Part::Batch(std::mem::take(&mut pieces))
        };
        let done = matches!(part, Part::Done { .. });
        if parts.send(Ok(part)).is_err() || done {
            return Ok(());
        }
    }
    Err(tonic::Status::unavailable("the batches were cut off"))
}

impl Channel for RemoteChannel {
    fn start(&mut self, epoch: u64) -> Result<Epoch, StoreError> {
        if let Some(current) = self.epoch
            && epoch <= current.epoch
        {
            return Ok(current);
        }
        let begun = loop {
            match self.begin(epoch) {
                Ok(begun) => break begun,
                Err(failure) => {
                    let lost = matches!(failure, Failure::Lost(_));
                    self.recover(failure)?;
                    if lost {
                        std::thread::sleep(AGAIN);
                    }
                }
            }
        };
        self.epoch = Some(begun);
        self.next = 0;
        self.lost = None;
        match self.fetch(begun) {
            Ok(()) => {}
            Err(failure) => self.recover(failure)?,
        }
        Ok(begun)
    }

    fn next(&mut self, wait: Duration) -> Result<Next, StoreError> {
        let epoch = self.epoch.ok_or(StoreError::NotStarted)?;
        if self.next == epoch.batches && self.fetch.is_none() {
            return Ok(Next::Done(epoch));
        }
        let deadline = Instant::now().checked_add(wait);
        let left = || {
            deadline.map_or(wait, |deadline| {
                deadline.saturating_duration_since(Instant::now())
            })
        };
        loop {
            let Some(fetch) = &self.fetch else {
                if let Err(failure) = self.fetch(epoch) {
                    let lost = matches!(failure, Failure::Lost(_));
                    self.recover(failure)?;
                    if left().is_zero() {
                        return Err(StoreError::Timeout(wait));
                    }
                    if lost {
                        std::thread::sleep(AGAIN.min(left()));
                    }
                }
                continue;
            };
            match fetch.parts.recv_timeout(left()) {
                Ok(Ok(part)) => {
                    if let Some(next) = self.part(epoch, part)? {
                        return Ok(next);
                    }
                }
                Ok(Err(failure)) => {
                    let lost = matches!(failure, Failure::Lost(_));
                    self.recover(failure)?;
                    if lost {
                        std::thread::sleep(AGAIN.min(left()));
                    }
                }
                Err(RecvTimeoutError::Timeout) => return Err(StoreError::Timeout(wait)),
                Err(RecvTimeoutError::Disconnected) => self.fetch = None,
            }
        }
    }

    fn seek(&mut self, position: u64) -> Result<(), StoreError> {
        let epoch = self.epoch.ok_or(StoreError::NotStarted)?;
        let batches = epoch.batches;
        if position > batches {
            return Err(StoreError::Position { position, batches });
        }
        self.next = position;
        self.fetch = None;
        Ok(())
    }

    fn close(mut self: Box<Self>) -> Result<(), StoreError> {
        self.fetch = None;
        let Some(channel) = self.number.take() else {
            return Ok(());
        };
        let connection = &self.opening.connection;
        let closed: Result<CloseReply, Failure> =
            connection.one("CloseChannel", CloseRequest { channel });
        closed.map(|_| ()).map_err(Failure::error)
    }
}

impl Drop for RemoteChannel {
    fn drop(&mut self) {
        let Some(channel) = self.number.take() else {
            return;
        };
        // Without an answer: the lease closes the channel if this does not.
        let connection = Arc::clone(&self.opening.connection);
        let close = {
            let connection = Arc::clone(&connection);
            async move {
                connection
                    .tell("CloseChannel", CloseRequest { channel })
                    .await
            }
        };
        connection.spawn(close);
    }
}
