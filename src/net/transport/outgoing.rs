//! Frames to the other process, as the body of an HTTP/2 message.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame as Part};
use tokio::sync::mpsc;
use tonic::{Code, Status};

use super::PREFIX;
use crate::net::Frame;
use crate::net::frame::HEADER;

/// Most bytes of a payload that is copied behind its header: below them, a copy costs less than another part.
const JOINED: usize = 4 << 10;

/// Body with the frames of a channel.
pub(super) struct Outgoing {
    frames: mpsc::Receiver<Frame>,
    /// Payload whose header is sent.
    payload: Option<Bytes>,
    /// Sentence about a frame of the other process that is not valid, by which this body ends.
    fault: Option<mpsc::Receiver<String>>,
    ended: bool,
}

impl Outgoing {
    pub fn new(frames: mpsc::Receiver<Frame>, fault: mpsc::Receiver<String>) -> Outgoing {
        Outgoing {
            frames,
            payload: None,
            fault: Some(fault),
            ended: false,
        }
    }

    /// Ends the body. Trailers of a server are gRPC's; those of a client are ours, and tell an end in order from
    /// a loss.
    fn end(&mut self, status: Status) -> Part<Bytes> {
        self.ended = true;
        self.frames.close();
        let mut trailers = HeaderMap::new();
        // A text that no header can hold is left out.
        if status.add_header(&mut trailers).is_err() {
            trailers.insert(Status::GRPC_STATUS, (status.code() as i32).into());
        }
        Part::trailers(trailers)
    }

    /// The part with a frame's header; its payload follows or is in it.
    fn begin(&mut self, frame: Frame) -> Part<Bytes> {
        let joined = frame.payload.len() <= JOINED;
        let behind = if joined { frame.payload.len() } else { 0 };
        let mut part = BytesMut::with_capacity(PREFIX + HEADER + behind);
        part.put_u8(0);
        part.put_u32(frame.size() as u32);
        part.put_slice(&frame.header_bytes());
        match joined {
            true => part.put_slice(&frame.payload),
            false => self.payload = Some(frame.payload),
        }
        Part::data(part.freeze())
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Part<Bytes>, Infallible>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Some(payload) = self.payload.take() {
            return Poll::Ready(Some(Ok(Part::data(payload))));
        }
        if let Some(fault) = &mut self.fault {
            match fault.poll_recv(context) {
                Poll::Ready(Some(sentence)) => {
                    let status = Status::new(Code::InvalidArgument, sentence);
                    return Poll::Ready(Some(Ok(self.end(status))));
                }
                Poll::Ready(None) => self.fault = None,
                Poll::Pending => {}
            }
        }
        self.frames.poll_recv(context).map(|frame| {
            Some(Ok(match frame {
                Some(frame) => self.begin(frame),
                None => self.end(Status::ok("")),
            }))
        })
    }
}
