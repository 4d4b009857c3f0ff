//! The way to the ranks of a process: messages and values go out, frames come in.

use std::convert::Infallible;
use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::group::{ANSWER, Group, Over};
use super::values::{Source, most_values};
use crate::net::{Frame, FrameReceiver, FrameSender, Header, NetError};

/// Longest wait for a process to take a frame.
const STALLED: Duration = Duration::from_secs(30);
/// Time after which a reader looks again. Groups may rest for any time.
const REST: Duration = Duration::from_secs(60);

/// Values that one rank sends to another. Frames are made when they are sent.
pub(super) struct Job {
    /// Header of every frame; the number of the first in `request`.
    pub header: Header,
    pub source: Arc<dyn Source>,
    /// Values still to be sent.
    pub range: Range<usize>,
    /// Whether the last value of the range ends a message.
    pub last: bool,
    /// Dropped when all is sent.
    pub _sent: mpsc::Sender<Infallible>,
}

impl Job {
    /// Makes the next frame. Returns the job too if more follow.
    fn next(mut self) -> (Frame, Option<Job>) {
        let most = most_values(self.header.wire_type);
        let Range { start, end } = self.range;
        let stop = end.min(start.saturating_add(most));
        let header = Header {
            last: self.last && stop == end,
            rows: (stop - start) as u32,
            ..self.header
        };
        let payload = self.source.encode(start..stop);
        let frame = Frame { header, payload };
        self.header.request = self.header.request.wrapping_add(1);
        self.range = stop..end;
        (frame, (stop < end).then_some(self))
    }
}

/// Queues to a process. Neither grows without bound: a rank has one call at a time and one withdrawal, and a
/// job is a range of values that its call holds anyway.
#[derive(Clone)]
pub(super) struct Link {
    /// Ranks of the process, ascending.
    pub ranks: Arc<[usize]>,
    /// Name or address of the process.
    pub peer: Arc<str>,
    pub messages: mpsc::UnboundedSender<Frame>,
    pub values: mpsc::UnboundedSender<Job>,
}

/// Other ends of a link's queues.
pub(super) struct Queues {
    messages: mpsc::UnboundedReceiver<Frame>,
    values: mpsc::UnboundedReceiver<Job>,
}

impl Link {
    pub(super) fn new(ranks: &[usize], peer: &str) -> (Link, Queues) {
        let (messages, messages_out) = mpsc::unbounded_channel();
        let (values, values_out) = mpsc::unbounded_channel();
        let link = Link {
            ranks: ranks.into(),
            peer: peer.into(),
            messages,
            values,
        };
        let queues = Queues {
            messages: messages_out,
            values: values_out,
        };
        (link, queues)
    }
}

/// Receiver of a link's frames.
pub(super) enum Sink {
    /// Another process.
    Stream(FrameSender),
    /// Ranks of this process, for values of one for another.
    Here(Weak<Group>),
}

impl Sink {
    async fn send(&self, frame: Frame) -> Result<(), NetError> {
        match self {
            Sink::Stream(sender) => sender.send(frame, STALLED).await,
            Sink::Here(group) => {
                if let Some(group) = group.upgrade() {
                    group.deliver(frame).await;
                }
                Ok(())
            }
        }
    }
}

/// Sends what a link's queues hold, messages first, until the group is dropped or the process lost. Then the other
/// process sees that the stream has ended.
pub(super) async fn write(
    sink: Sink,
    mut queues: Queues,
    mut over: watch::Receiver<Over>,
    group: Weak<Group>,
    link: usize,
) {
    let mut job: Option<Job> = None;
    // False once the group is dropped: what its queues hold is still sent.
    let mut lives = true;
    loop {
        if over.borrow_and_update().lost[link].is_some() {
            return;
        }
        let frame = if let Some(current) = job.take() {
            match queues.messages.try_recv() {
                Ok(message) => {
                    job = Some(current);
                    message
                }
                Err(_) => {
                    let (frame, rest) = current.next();
                    job = rest;
                    frame
                }
            }
        } else {
            tokio::select! {
                biased;
                changed = over.changed(), if lives => {
                    lives = changed.is_ok();
                    continue;
                }
                Some(message) = queues.messages.recv() => message,
                Some(next) = queues.values.recv() => {
                    job = Some(next);
                    continue;
                }
                else => return,
            }
        };
        if let Err(error) = sink.send(frame).await {
            // What a process that is gone has sent before still counts: the reader finds its end.
            if !matches!(error, NetError::Deadline { .. }) {
                let read = over.wait_for(|over| over.lost[link].is_some());
                let _ = timeout(ANSWER, read).await;
            }
            if let Some(group) = group.upgrade() {
                group.lose(link, &error.to_string());
            }
            return;
        }
    }
}

/// Takes in the frames of a link until the group is dropped or the link broken.
pub(super) async fn read(mut receiver: FrameReceiver, group: Weak<Group>, link: usize) {
    loop {
        let frame = match receiver.receive(REST).await {
            Err(NetError::Deadline { .. }) => continue,
            Err(error) => Err(error.to_string()),
            Ok(None) => Err(format!("{} has left the group", receiver.peer())),
            Ok(Some(frame)) => Ok(frame),
        };
        let Some(group) = group.upgrade() else { return };
        let taken = match frame {
            Ok(frame) => group
                .take(link, frame)
                .await
                .map_err(|fault| format!("{} sent {fault}", receiver.peer())),
            Err(reason) => Err(reason),
        };
        if let Err(reason) = taken {
            group.lose(link, &reason);
            return;
        }
    }
}
