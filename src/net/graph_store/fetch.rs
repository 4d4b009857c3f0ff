//! A fetch: batches of an epoch, in order, as the client's credits allow.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::mpsc::UnboundedReceiver;
use tokio_stream::Stream;
use tonic::{Status, Streaming};

use super::CHUNK_BYTES;
use super::message::{self, Chunk, Done};
use super::metrics::add;
use super::shell::{Order, Payload, Shell};
use super::status::status;
use crate::store::StoreError;
use crate::store::session::{Credit, EndReason, Fetch as Fetched};

/// Answers of a fetch.
pub(super) struct Fetch {
    shell: Arc<Shell>,
    /// Number of the channel in the session.
    channel: u64,
    stream: u64,
    orders: UnboundedReceiver<Order>,
    /// Credits of the client; `None` after their end.
    credits: Option<Streaming<message::Credit>>,
    sending: Option<Sending>,
    ended: bool,
}

/// A batch that is sent.
struct Sending {
    position: u64,
    payload: Payload,
}

/// A credit of a client, which counts batches alone.
fn credit(of: &message::Credit) -> Credit {
    Credit {
        batches: u64::from(of.batches),
        bytes: u64::MAX,
    }
}

/// End of an epoch, or of its channel.
pub(super) fn end(batches: u64, closed: bool) -> Chunk {
    Chunk {
        done: Some(Done { batches, closed }),
        ..Chunk::default()
    }
}

impl Fetch {
    /// Begins with the first credit; `None` if the channel is closed.
    ///
    /// # Errors
    /// If the channel is unknown, or not in the epoch.
    pub fn begin(
        shell: Arc<Shell>,
        first: &message::Credit,
        rest: Streaming<message::Credit>,
    ) -> Result<Option<Fetch>, StoreError> {
        let channel = shell.known(first.channel);
        let (stream, orders) = shell.open_stream();
        let fetch = Fetch {
            channel,
            stream,
            orders,
            credits: Some(rest),
            sending: None,
            ended: false,
            shell: Arc::clone(&shell),
        };
        let fetched = shell.call(|session, now| {
            session.fetch(now, channel, stream, first.epoch, first.from, credit(first))
        });
        Ok(match fetched? {
            Fetched::Open => Some(fetch),
            Fetched::Closed => None,
        })
    }

    /// Takes the credits that have come.
    fn take_credits(&mut self, context: &mut Context<'_>) {
        while let Some(credits) = &mut self.credits {
            match Pin::new(credits).poll_next(context) {
                Poll::Pending => return,
                Poll::Ready(Some(Ok(more))) => {
                    let (channel, stream) = (self.channel, self.stream);
                    self.shell
                        .call(|session, now| session.credit(now, channel, stream, credit(&more)));
                }
                // A client that is lost drops the answers, too.
                Poll::Ready(_) => self.credits = None,
            }
        }
    }

    /// Next chunk of the batch that is sent.
    fn chunk(&mut self, mut sending: Sending) -> Chunk {
        let Payload {
            batch,
            places,
            relations,
        } = &mut sending.payload;
        let data = batch.split_to(batch.len().min(CHUNK_BYTES));
        add(&self.shell.metrics.sent_bytes, data.len() as u64);
        if !batch.is_empty() {
            self.sending = Some(sending);
            return Chunk {
                data,
                ..Chunk::default()
            };
        }
        let (places, relations) = (std::mem::take(places), std::mem::take(relations));
        let (channel, stream, position) = (self.channel, self.stream, sending.position);
        self.shell
            .call(|session, now| session.taken(now, channel, stream, position));
        Chunk {
            data,
            last: true,
            done: None,
            places,
            relations,
        }
    }

    /// Last answer, by the reason for the end.
    fn last(&self, reason: EndReason) -> Result<Chunk, Status> {
        match reason {
            EndReason::Closed | EndReason::Lapsed => Ok(end(0, true)),
            EndReason::Failed(error) => Err(status(&error)),
            EndReason::Replaced => Err(Status::aborted("another fetch of the channel has begun")),
            EndReason::NewEpoch => Err(Status::aborted("a later epoch of the channel has begun")),
            EndReason::CutOff => Err(Status::unavailable("the server ends")),
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
        if let Some(sending) = this.sending.take() {
            return Poll::Ready(Some(Ok(this.chunk(sending))));
        }
        let chunk = match ready!(this.orders.poll_recv(context)) {
            Some(Order::Send { position, payload }) => {
                let sending = Sending { position, payload };
                return Poll::Ready(Some(Ok(this.chunk(sending))));
            }
            Some(Order::Done(epoch)) => Ok(end(epoch.batches, false)),
            Some(Order::End(reason)) => this.last(reason),
            None => Err(Status::unavailable("the server ends")),
        };
        this.ended = true;
        Poll::Ready(Some(chunk))
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.shell.close_stream(self.channel, self.stream);
    }
}
