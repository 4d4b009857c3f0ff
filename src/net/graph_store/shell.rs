//! The shell of a session: carries out its actions on sampling threads and streams.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;

use super::CHUNK_BYTES;
use super::metrics::{Metrics, Now};
use super::outbox::Outbox;
use crate::graph::Graph;
use crate::store::session::{
    Action, CutOff, EndReason, Made, Session, SessionConfig, SessionStatus,
};
use crate::store::{ChannelPlan, Description, Epoch, Pool, Scratch, StoreError, packed};

/// A batch as it is sent.
#[derive(Clone, Debug)]
pub(super) struct Payload {
    /// Bytes of the batch, of a chunk each: memory is free chunk by chunk, as they are sent.
    pub batch: VecDeque<Bytes>,
    /// Places of the seeds.
    pub places: Bytes,
    /// Relations of seeds that are facts.
    pub relations: Bytes,
}

/// Order of the session to a stream.
#[derive(Debug)]
pub(super) enum Order {
    Send { position: u64, payload: Payload },
    Done(Epoch),
    End(EndReason),
}

/// State of a server.
#[derive(Debug)]
pub(super) struct Shell {
    pub graph: Arc<Graph>,
    pub description: Description,
    pub metrics: Metrics,
    pub lease: Duration,
    pool: Pool,
    memory: u64,
    state: Mutex<State>,
    begun: Instant,
    /// Channels that were cut off, once the session has ended.
    stopped: watch::Sender<Option<Vec<CutOff>>>,
    /// Added to the numbers of samplers and channels, so that those of an earlier process are unknown.
    offset: u64,
}

#[derive(Debug)]
struct State {
    session: Session<Payload>,
    streams: HashMap<u64, Arc<Outbox<Order>>>,
    next_stream: u64,
}

impl Shell {
    /// Makes a shell whose numbers of samplers and channels are above `offset`.
    pub fn new(graph: Arc<Graph>, pool: Pool, config: SessionConfig, offset: u64) -> Shell {
        Shell {
            description: Description::of(&graph, pool.most_facts()),
            graph,
            metrics: Metrics::default(),
            lease: config.lease,
            pool,
            memory: config.memory,
            state: Mutex::new(State {
                session: Session::new(config),
                streams: HashMap::new(),
                next_stream: 1,
            }),
            begun: Instant::now(),
            stopped: watch::Sender::new(None),
            offset,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The session changes in calls that do not panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time since the start.
    pub fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Number of a sampler or channel for clients.
    pub fn told(&self, number: u64) -> u64 {
        self.offset + number
    }

    /// Number of a sampler or channel for the session; 0, which is none, for that of another process.
    pub fn known(&self, number: u64) -> u64 {
        number.saturating_sub(self.offset)
    }

    /// Calls the session, and carries out its actions.
    pub fn call<R>(self: &Arc<Self>, call: impl FnOnce(&mut Session<Payload>, Duration) -> R) -> R {
        let mut state = self.lock();
        let now = self.now();
        let result = call(&mut state.session, now);
        self.act(&mut state);
        result
    }

    fn act(self: &Arc<Self>, state: &mut State) {
        while let Some(action) = state.session.next_action() {
            let (stream, order) = match action {
                Action::Sample {
                    job,
                    plan,
                    epoch,
                    position,
                } => {
                    self.sample(job, plan, epoch, position);
                    continue;
                }
                Action::Stop { cut_off } => {
                    self.stopped.send_replace(Some(cut_off));
                    continue;
                }
                Action::Send {
                    stream,
                    position,
                    payload,
                    ..
                } => (stream, Order::Send { position, payload }),
                Action::Done { stream, epoch } => (stream, Order::Done(epoch)),
                Action::End { stream, reason } => (stream, Order::End(reason)),
            };
            let Some(outbox) = state.streams.get(&stream) else {
                continue;
            };
            match order {
                // The session no longer counts what was not sent, and the client may never take it.
                Order::End(
                    EndReason::Lapsed
                    | EndReason::Closed
                    | EndReason::Replaced
                    | EndReason::NewEpoch,
                ) => outbox.replace(order),
                order => outbox.push(order),
            }
        }
    }

    fn sample(self: &Arc<Self>, job: u64, plan: Arc<ChannelPlan>, epoch: u64, position: u64) {
        let (shell, done) = (Arc::clone(self), Arc::clone(self));
        let work = move |scratch: &mut Scratch| {
            let begun = Instant::now();
            let sampled = plan.sample(&*shell.graph, scratch, epoch, position)?;
            let origins = plan.origins(&*shell.graph, epoch, position)?;
            let batch = packed::encode_pieces(&sampled, CHUNK_BYTES);
            let facts = sampled.batch.facts() as u64;
            shell.metrics.drawn(begun.elapsed());
            let numbers = |of: &[u32]| Bytes::copy_from_slice(bytemuck::cast_slice(of));
            Ok(Made {
                bytes: batch.iter().map(|piece| piece.len() as u64).sum(),
                facts,
                payload: Payload {
                    batch: batch.into_iter().map(Bytes::from).collect(),
                    places: numbers(&origins.places),
                    relations: numbers(&origins.relations),
                },
            })
        };
        self.pool.submit(work, move |made| {
            done.call(|session, now| session.sampled(now, job, made));
        });
    }

    /// Opens a way for orders to a stream.
    pub fn open_stream(&self) -> (u64, Arc<Outbox<Order>>) {
        let orders = Arc::new(Outbox::new());
        let mut state = self.lock();
        let number = state.next_stream;
        state.next_stream += 1;
        state.streams.insert(number, Arc::clone(&orders));
        (number, orders)
    }

    /// Ends a stream of a channel.
    pub fn close_stream(self: &Arc<Self>, channel: u64, stream: u64) {
        let mut state = self.lock();
        state.streams.remove(&stream);
        let now = self.now();
        state.session.ended(now, channel, stream);
        self.act(&mut state);
    }

    /// Refuses new work from now on, and ends after `limit`. Returns the number of channels.
    pub fn drain(self: &Arc<Self>, limit: Duration) -> u64 {
        self.call(|session, now| {
            session.drain(now, now.saturating_add(limit));
            session.status().channels.len() as u64
        })
    }

    /// Counts the bytes of an answer as long as the result lives.
    ///
    /// # Errors
    /// [`StoreError::Limit`] if too many answers wait to be sent.
    pub fn hold_answer(self: &Arc<Self>, bytes: u64) -> Result<Held, StoreError> {
        self.lock().session.hold_answer(bytes)?;
        Ok(Held(Arc::clone(self), bytes))
    }

    /// Tells when the session has ended.
    pub fn stopped(&self) -> watch::Receiver<Option<Vec<CutOff>>> {
        self.stopped.subscribe()
    }

    /// Returns whether the server takes no new work.
    pub fn is_draining(&self) -> bool {
        self.lock().session.is_draining()
    }

    /// State of the session.
    pub fn status(&self) -> SessionStatus {
        let mut status = self.lock().session.status();
        for channel in &mut status.channels {
            channel.channel = self.told(channel.channel);
        }
        status
    }

    /// Counts as text.
    pub fn metrics(&self) -> String {
        self.metrics.text(&Now {
            session: self.status(),
            queue: self.pool.waiting() as u64,
            memory_limit: self.memory,
            running_for: self.now(),
        })
    }

    /// Works on a sampling thread.
    ///
    /// # Errors
    /// Those of `work`; [`StoreError::Draining`] if the server has ended.
    pub async fn on_pool<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Scratch) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (sender, result) = tokio::sync::oneshot::channel();
        // A caller that has left wants no result.
        self.pool
            .submit(work, move |drawn| drop(sender.send(drawn)));
        result.await.unwrap_or(Err(StoreError::Draining))
    }
}

/// Bytes of an answer, which count towards the limit of memory.
#[derive(Debug)]
pub(super) struct Held(Arc<Shell>, u64);

impl Drop for Held {
    fn drop(&mut self) {
        self.0
            .call(|session, now| session.release_answer(now, self.1));
    }
}
