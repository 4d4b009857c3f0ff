//! Frames from the other process, out of the body of an HTTP/2 message.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::HeaderMap;
use http_body::Body as _;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tonic::body::Body;
use tonic::{Code, Status};

use super::refusals::{Counters, count};
use super::{FrameReader, cause};
use crate::net::stream::Incoming;
use crate::net::{Frame, FrameError, NetError};

/// Time that the other process has to end its direction of a stream that this process has ended.
const LINGER: Duration = Duration::from_secs(5);

/// Frames of a body.
pub(super) struct Frames {
    peer: String,
    body: Body,
    reader: FrameReader,
    /// Way to the stream's other direction, which tells the other process about a frame that is not valid. Closed
    /// when that direction has ended.
    fault: mpsc::Sender<String>,
    counters: Arc<Counters>,
    /// Runtime of a client's body, which must outlive the frames that are on their way to the server.
    lingers: Option<Handle>,
    end: Option<Result<(), NetError>>,
}

impl Frames {
    /// Frames of a client's request, at a server.
    pub fn of_request(
        peer: String,
        body: Body,
        fault: mpsc::Sender<String>,
        counters: Arc<Counters>,
    ) -> Frames {
        Frames {
            peer,
            body,
            reader: FrameReader::default(),
            fault,
            counters,
            lingers: None,
            end: None,
        }
    }

    /// Frames of a server's response, at a client with its connection on `runtime`.
    pub fn of_response(
        peer: String,
        body: Body,
        fault: mpsc::Sender<String>,
        counters: Arc<Counters>,
        runtime: Handle,
    ) -> Frames {
        let mut frames = Frames::of_request(peer, body, fault, counters);
        frames.lingers = Some(runtime);
        frames
    }

    /// Reads no more frames. A client that dropped the body of a response would cancel the call, and cancelling
    /// discards what waits to be sent: the body is read to its end instead.
    fn close(&mut self) {
        let mut body = std::mem::take(&mut self.body);
        let Some(runtime) = &self.lingers else { return };
        let fault = self.fault.clone();
        runtime.spawn(async move {
            let mut ended = std::pin::pin!(async {
                fault.closed().await;
                tokio::time::sleep(LINGER).await;
            });
            std::future::poll_fn(|context| {
                while let Poll::Ready(part) = Pin::new(&mut body).poll_frame(context) {
                    if !part.is_some_and(|part| part.is_ok_and(|part| part.is_data())) {
                        return Poll::Ready(());
                    }
                }
                ended.as_mut().poll(context)
            })
            .await;
        });
    }

    fn lost(&self, reason: impl Into<String>) -> NetError {
        NetError::Lost {
            peer: self.peer.clone(),
            reason: reason.into(),
        }
    }

    /// Ends the stream because of a frame.
    fn refuse(&mut self, source: FrameError) -> NetError {
        count(&self.counters.frames);
        // The other direction may have ended already.
        let _ = self
            .fault
            .try_send(format!("a frame is not valid: {source}"));
        self.close();
        NetError::Frame {
            peer: self.peer.clone(),
            source,
        }
    }

    /// The end of the stream by its trailers.
    fn ended(&self, trailers: &HeaderMap) -> Result<(), NetError> {
        let Some(status) = Status::from_header_map(trailers) else {
            return Err(self.lost("the stream ended without a status"));
        };
        match status.code() {
            Code::Ok if self.reader.is_between() => Ok(()),
            Code::Ok => Err(self.lost("the stream ended within a frame")),
            Code::InvalidArgument => Err(NetError::Refused {
                peer: self.peer.clone(),
                reason: status.message().to_owned(),
            }),
            code => Err(self.lost(format!("{code}: {}", status.message()))),
        }
    }
}

impl Incoming for Frames {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame, NetError>>> {
        loop {
            if let Some(end) = &self.end {
                return Poll::Ready(end.clone().err().map(Err));
            }
            match self.reader.read() {
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(None) => {}
                Err(source) => {
                    self.end = Some(Err(self.refuse(source)));
                    continue;
                }
            }
            let end = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(part)) => match part.into_data() {
                    Ok(chunk) => {
                        self.reader.take(chunk);
                        continue;
                    }
                    Err(part) => self.ended(&part.into_trailers().unwrap_or_default()),
                },
                // Whatever the status: Unknown and Cancelled are losses, too.
                Some(Err(status)) => Err(self.lost(cause(&status))),
                None => Err(self.lost("the stream was cut")),
            };
            self.end = Some(end);
        }
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        if self.end.is_none() {
            self.close();
        }
    }
}
