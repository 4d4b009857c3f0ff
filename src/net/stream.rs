//! Streams of frames between two processes, or within one.

use std::fmt;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Frame, NetError};

/// Frames that wait in a stream, at most: a sender that is ahead waits.
pub const WAITING: usize = 4;

/// Source of the frames of a stream.
pub trait Incoming: Send {
    /// Polls for the next frame; `None` if the other side has ended the stream in order.
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame, NetError>>>;
}

impl Incoming for mpsc::Receiver<Frame> {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame, NetError>>> {
        self.poll_recv(context).map(|frame| frame.map(Ok))
    }
}

/// Both ends of a stream that this process holds: frames to the other process, and from it.
#[derive(Debug)]
pub struct FrameStream {
    /// Sends frames.
    pub sender: FrameSender,
    /// Receives frames.
    pub receiver: FrameReceiver,
}

/// Sender of a stream's frames. Clones send on the same stream.
#[derive(Clone, Debug)]
pub struct FrameSender {
    peer: String,
    frames: mpsc::Sender<Frame>,
}

/// Receiver of a stream's frames.
pub struct FrameReceiver {
    peer: String,
    frames: Box<dyn Incoming>,
}

impl fmt::Debug for FrameReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameReceiver")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl FrameStream {
    /// Joins the two directions of a stream to `peer`, which is a name or an address.
    pub fn new(
        peer: String,
        sender: mpsc::Sender<Frame>,
        receiver: Box<dyn Incoming>,
    ) -> FrameStream {
        FrameStream {
            sender: FrameSender {
                peer: peer.clone(),
                frames: sender,
            },
            receiver: FrameReceiver {
                peer,
                frames: receiver,
            },
        }
    }

    /// Name or address of the other process.
    pub fn peer(&self) -> &str {
        &self.sender.peer
    }
}

impl FrameSender {
    /// Name or address of the other process.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// Sends a frame; waits while [`WAITING`] frames are on their way.
    ///
    /// # Errors
    /// [`NetError::Lost`] if the stream is broken; [`NetError::Deadline`] if the other process takes no frames
    /// for `limit`.
    pub async fn send(&self, frame: Frame, limit: Duration) -> Result<(), NetError> {
        // Most frames find room, and need no timer.
        let frame = match self.frames.try_send(frame) {
            Ok(()) => return Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(self.lost()),
            Err(mpsc::error::TrySendError::Full(frame)) => frame,
        };
        match timeout(limit, self.frames.send(frame)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(self.lost()),
            Err(_) => Err(NetError::Deadline {
                peer: self.peer.clone(),
                after: limit,
            }),
        }
    }

    /// Waits until the stream is broken or has ended.
    pub async fn closed(&self) {
        self.frames.closed().await;
    }

    fn lost(&self) -> NetError {
        NetError::Lost {
            peer: self.peer.clone(),
            reason: "the stream is closed".to_owned(),
        }
    }
}

impl FrameReceiver {
    /// Name or address of the other process.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// Receives the next frame; `None` if the other process has ended the stream in order. A future that is
    /// dropped loses no frame.
    ///
    /// # Errors
    /// [`NetError::Deadline`] if no frame comes for `limit`; the failure of the stream.
    pub async fn receive(&mut self, limit: Duration) -> Result<Option<Frame>, NetError> {
        let next = std::future::poll_fn(|context| self.frames.poll_frame(context));
        match timeout(limit, next).await {
            Ok(frame) => frame.transpose(),
            Err(_) => Err(NetError::Deadline {
                peer: self.peer.clone(),
                after: limit,
            }),
        }
    }
}

/// Makes the two ends of a stream within this process, between `names`.
pub fn pair(names: [&str; 2]) -> [FrameStream; 2] {
    let (to_second, second) = mpsc::channel(WAITING);
    let (to_first, first) = mpsc::channel(WAITING);
    [
        FrameStream::new(names[1].to_owned(), to_second, Box::new(first)),
        FrameStream::new(names[0].to_owned(), to_first, Box::new(second)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Header, Kind};

    const LIMIT: Duration = Duration::from_millis(50);

    fn frame(request: u32) -> Frame {
        Frame::empty(Header {
            request,
            ..Header::new(Kind::Ack)
        })
    }

    #[tokio::test(start_paused = true)]
    async fn frames_come_in_order_and_every_wait_ends() {
        let [mut a, mut b] = pair(["a", "b"]);
        for request in 0..WAITING as u32 {
            a.sender.send(frame(request), LIMIT).await.unwrap();
        }
        let full = a.sender.send(frame(9), LIMIT).await.unwrap_err();
        assert_eq!(full.to_string(), "b did not answer within 50ms");
        for request in 0..WAITING as u32 {
            let next = b.receiver.receive(LIMIT).await.unwrap().unwrap();
            assert_eq!(next.header.request, request);
        }
        let silent = b.receiver.receive(LIMIT).await.unwrap_err();
        assert_eq!(silent.to_string(), "a did not answer within 50ms");
        drop(b);
        assert_eq!(a.receiver.receive(LIMIT).await, Ok(None));
        let lost = a.sender.send(frame(0), LIMIT).await.unwrap_err();
        assert!(lost.is_lost(), "{lost}");
    }
}
