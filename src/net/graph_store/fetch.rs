//! A fetch: batches of an epoch, in order, as the client's credits allow.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio_stream::Stream;
use tonic::{Status, Streaming};

use super::message::{self, Chunk, Done};
use super::metrics::add;
use super::outbox::{Outbox, Used};
use super::shell::{Order, Shell};
use super::status::status;
use crate::store::StoreError;
use crate::store::session::{Credit, EndReason, Fetch as Fetched, Session};

/// Credits that are taken before the next chunk.
const MOST_CREDITS: usize = 64;

/// Answers of a fetch.
pub(super) struct Fetch {
    shell: Arc<Shell>,
    /// Number of the channel in the session.
    channel: u64,
    stream: u64,
    orders: Arc<Outbox<Order>>,
    /// Credits of the client; `None` after their end.
    credits: Option<Streaming<message::Credit>>,
    ended: bool,
}

/// Answer to an order, or to a part of it.
enum Answer {
    /// A chunk of a batch; the position, if the chunk is its last.
    Chunk(Chunk, Option<u64>),
    Last(Result<Chunk, Status>),
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
        for _ in 0..MOST_CREDITS {
            let Some(credits) = &mut self.credits else {
                return;
            };
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
        // Other streams come first, then the credits that are left.
        context.waker().wake_by_ref();
    }
}

/// Takes a chunk of a batch, or another order.
fn take(order: &mut Order) -> (Answer, Used) {
    let (position, payload) = match order {
        Order::Send { position, payload } => (*position, payload),
        Order::Done(epoch) => {
            return (Answer::Last(Ok(end(epoch.batches, false))), Used::Up);
        }
        Order::End(reason) => return (Answer::Last(last(reason)), Used::Up),
    };
    let data = payload.batch.pop_front().unwrap_or_default();
    let mut chunk = Chunk {
        data,
        ..Chunk::default()
    };
    if !payload.batch.is_empty() {
        return (Answer::Chunk(chunk, None), Used::InPart);
    }
    chunk.last = true;
    chunk.places = std::mem::take(&mut payload.places);
    chunk.relations = std::mem::take(&mut payload.relations);
    (Answer::Chunk(chunk, Some(position)), Used::Up)
}

/// Last answer, by the reason for the end.
fn last(reason: &EndReason) -> Result<Chunk, Status> {
    match reason {
        EndReason::Closed | EndReason::Lapsed => Ok(end(0, true)),
        EndReason::Failed(error) => Err(status(error)),
        EndReason::Replaced => Err(Status::aborted("another fetch of the channel has begun")),
        EndReason::NewEpoch => Err(Status::aborted("a later epoch of the channel has begun")),
        EndReason::CutOff => Err(Status::unavailable("the server ends")),
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
        match ready!(this.orders.poll(context, take)) {
            Answer::Chunk(chunk, position) => {
                add(&this.shell.metrics.sent_bytes, chunk.data.len() as u64);
                if let Some(position) = position {
                    let (channel, stream) = (this.channel, this.stream);
                    let taken = |session: &mut Session<_>, now| {
                        session.taken(now, channel, stream, position);
                    };
                    this.shell.call(taken);
                }
                Poll::Ready(Some(Ok(chunk)))
            }
            Answer::Last(answer) => {
                this.ended = true;
                Poll::Ready(Some(answer))
            }
        }
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.shell.close_stream(self.channel, self.stream);
    }
}
