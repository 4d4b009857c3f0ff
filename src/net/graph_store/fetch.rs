//! A fetch: batches of an epoch, in order, as the client's credits allow.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use tokio_stream::Stream;
use tonic::{Status, Streaming};

use super::CHUNK_BYTES;
use super::message::{Chunk, Credit, Done};
use super::metrics::add;
use super::outbox::{Bounds, Outbox, Room};
use super::registry::Attached;
use super::shared::Shared;
use super::status::status;
use crate::store::{Scratch, StoreError, packed};

/// Answers of a fetch.
pub(super) struct Fetch {
    shared: Arc<Shared>,
    attached: Attached,
    /// Credits of the client; `None` after their end.
    credits: Option<Streaming<Credit>>,
    outbox: Arc<Outbox>,
    generation: u64,
    /// Position of the batch that is sent.
    next: u64,
    /// Bytes of it that are sent.
    offset: usize,
    /// Position of the next batch to draw.
    asked: u64,
    /// Position behind the last batch that the credits allow.
    allowed: u64,
    ended: bool,
}

impl Fetch {
    /// Begins with the first credit.
    pub fn new(
        shared: Arc<Shared>,
        attached: Attached,
        first: &Credit,
        rest: Streaming<Credit>,
    ) -> Fetch {
        let outbox = shared.outboxes.open();
        Fetch {
            outbox,
            shared,
            attached,
            credits: Some(rest),
            generation: 0,
            next: first.from,
            offset: 0,
            asked: first.from,
            allowed: first.from.saturating_add(u64::from(first.batches)),
            ended: false,
        }
    }

    /// Takes the credits that have come.
    fn take_credits(&mut self, context: &mut Context<'_>) {
        while let Some(credits) = &mut self.credits {
            match Pin::new(credits).poll_next(context) {
                Poll::Pending => return,
                Poll::Ready(Some(Ok(more))) => {
                    self.allowed = self.allowed.saturating_add(u64::from(more.batches));
                }
                // A client that is lost drops the answers, too.
                Poll::Ready(_) => self.credits = None,
            }
        }
    }

    /// Has batches drawn while there is room.
    fn fill(&mut self, context: &Context<'_>) {
        let end = self.allowed.min(self.attached.epoch.batches);
        let window = self.attached.window;
        let bounds = Bounds {
            batches: u64::from(window.batches.get()),
            // One more than can be drawn at once, so that no thread waits for this one to submit.
            in_flight: self.shared.threads + 1,
            bytes: window.bytes,
        };
        while self.asked < end {
            let generation = match self.outbox.room(bounds, context) {
                Room::Yes(generation) => generation,
                Room::Enough => return,
                Room::Full => {
                    add(
                        &self.shared.metrics.dropped,
                        self.shared.outboxes.drop_stalled(),
                    );
                    return;
                }
            };
            let position = self.asked;
            self.asked += 1;
            let (outbox, graph) = (Arc::clone(&self.outbox), Arc::clone(&self.shared.graph));
            let (plan, epoch) = (Arc::clone(&self.attached.plan), self.attached.epoch.epoch);
            let (metrics, to) = (Arc::clone(&self.shared.metrics), Arc::clone(&self.outbox));
            let work = move |scratch: &mut Scratch| {
                if !outbox.wants(generation) {
                    return Err(StoreError::Closed);
                }
                let begun = Instant::now();
                let sampled = plan.sample(&graph, scratch, epoch, position)?;
                let bytes = Bytes::from(packed::encode(&sampled));
                metrics.drawn(sampled.batch.facts(), begun.elapsed());
                Ok(bytes)
            };
            let done = move |batch| to.arrive(generation, position, batch);
            self.shared.pool.submit(work, done);
        }
    }

    /// Last chunk.
    fn end(&mut self, closed: bool) -> Poll<Option<Result<Chunk, Status>>> {
        self.ended = true;
        if !closed {
            self.attached.progress.finish(self.attached.epoch.epoch);
        }
        let batches = self.attached.epoch.batches;
        Poll::Ready(Some(Ok(Chunk {
            done: Some(Done { batches, closed }),
            ..Chunk::default()
        })))
    }

    fn fail(&mut self, error: &StoreError) -> Poll<Option<Result<Chunk, Status>>> {
        self.ended = true;
        Poll::Ready(Some(Err(status(error))))
    }

    /// Next chunk of a batch.
    fn chunk(&mut self, batch: &Bytes) -> Chunk {
        let end = batch.len().min(self.offset + CHUNK_BYTES);
        let data = batch.slice(self.offset..end);
        let last = end == batch.len();
        add(&self.shared.metrics.sent_bytes, data.len() as u64);
        if last {
            self.outbox.sent(self.next);
            self.next += 1;
            self.offset = 0;
        } else {
            self.outbox.progress();
            self.offset = end;
        }
        Chunk {
            data,
            last,
            done: None,
        }
    }
}

impl Stream for Fetch {
    type Item = Result<Chunk, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        this.take_credits(context);
        if this.attached.progress.is_closed() {
            return this.end(true);
        }
        let (asked, current) = (this.attached.epoch.epoch, this.attached.progress.epoch());
        if asked != current {
            return this.fail(&StoreError::OtherEpoch { asked, current });
        }
        if this.next == this.attached.epoch.batches {
            return this.end(false);
        }
        let (generation, batch) = this.outbox.peek(this.next, context);
        if generation != this.generation {
            // The batches were dropped; they are drawn again.
            this.generation = generation;
            this.asked = this.next;
        }
        this.fill(context);
        match batch {
            Some(Ok(batch)) => Poll::Ready(Some(Ok(this.chunk(&batch)))),
            Some(Err(error)) => this.fail(&error),
            None if this.next == this.allowed && this.credits.is_none() => {
                this.ended = true;
                Poll::Ready(None)
            }
            None => Poll::Pending,
        }
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.outbox.clear();
        let now = self.shared.now();
        self.shared.registry().detach(&self.attached.client, now);
    }
}
