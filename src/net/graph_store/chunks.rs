//! Chunks as the body of an HTTP/2 message, at both ends. The bytes of batches are not copied: a server sends them out of
//! the batch, and a client gets them in the memory that they were received in.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as _, Frame};
use prost::Message;
use tokio_stream::Stream;
use tonic::Status;
use tonic::body::Body;

use super::message::Chunk;
use super::{MOST_REQUEST, cause};

/// Chunks of an answer.
pub(super) type Chunks = Pin<Box<dyn Stream<Item = Result<Chunk, Status>> + Send>>;

/// Bytes before each message: gRPC's flag of compression, and the length of the message.
const PREFIX: usize = 5;
/// Key of the field `data`: its number, and that a length follows.
const DATA: u8 = 1 << 3 | 2;
/// Most bytes of data that are copied behind the other fields: below them, a copy costs less than another part.
const JOINED: usize = 4 << 10;

/// Body with the chunks of an answer.
pub(super) struct Outgoing {
    chunks: Chunks,
    /// Data whose other fields are sent.
    data: Option<Bytes>,
    ended: bool,
}

impl Outgoing {
    pub fn new(chunks: Chunks) -> Outgoing {
        Outgoing {
            chunks,
            data: None,
            ended: false,
        }
    }

    /// The part with a chunk's other fields; its data follow or are in it.
    fn begin(&mut self, mut chunk: Chunk) -> Frame<Bytes> {
        let data = std::mem::take(&mut chunk.data);
        let other = chunk.encode_to_vec();
        let key = match data.is_empty() {
            true => 0,
            false => 1 + prost::length_delimiter_len(data.len()),
        };
        let joined = data.len() <= JOINED;
        let behind = if joined { data.len() } else { 0 };
        let mut part = BytesMut::with_capacity(PREFIX + other.len() + key + behind);
        part.put_u8(0);
        part.put_u32((other.len() + key + data.len()) as u32);
        part.put_slice(&other);
        if key > 0 {
            part.put_u8(DATA);
            // The buffer grows.
            let _ = prost::encode_length_delimiter(data.len(), &mut part);
        }
        match joined {
            true => part.put_slice(&data),
            false => self.data = Some(data),
        }
        Frame::data(part.freeze())
    }

    fn end(&mut self, status: &Status) -> Frame<Bytes> {
        self.ended = true;
        let mut trailers = HeaderMap::new();
        // A text that no header can hold is left out.
        if status.add_header(&mut trailers).is_err() {
            trailers.insert(Status::GRPC_STATUS, (status.code() as i32).into());
        }
        Frame::trailers(trailers)
    }
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Some(data) = self.data.take() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        Poll::Ready(Some(Ok(
            match ready!(self.chunks.as_mut().poll_next(context)) {
                Some(Ok(chunk)) => self.begin(chunk),
                Some(Err(status)) => self.end(&status),
                None => self.end(&Status::ok("")),
            },
        )))
    }
}

/// Bytes in several parts, which are read as one text.
#[derive(Debug, Default)]
struct Received {
    parts: VecDeque<Bytes>,
    bytes: usize,
}

impl Received {
    fn push(&mut self, part: Bytes) {
        if !part.is_empty() {
            self.bytes += part.len();
            self.parts.push_back(part);
        }
    }
}

impl Buf for Received {
    fn remaining(&self) -> usize {
        self.bytes
    }

    fn chunk(&self) -> &[u8] {
        self.parts.front().map_or(&[], |part| part)
    }

    fn advance(&mut self, count: usize) {
        assert!(count <= self.bytes, "fewer bytes are left");
        self.bytes -= count;
        let mut count = count;
        while let Some(first) = self.parts.front_mut() {
            if count < first.len() {
                first.advance(count);
                return;
            }
            count -= first.len();
            self.parts.pop_front();
        }
    }

    /// Bytes that share the memory of their part, unless they are in several.
    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        match self.parts.front_mut() {
            Some(first) if first.len() >= count => {
                let bytes = first.slice(..count);
                self.advance(count);
                bytes
            }
            _ => {
                let mut joined = BytesMut::with_capacity(count);
                joined.put(self.take(count));
                joined.freeze()
            }
        }
    }
}

/// Chunks of an answer, at the client.
#[derive(Debug)]
pub(super) struct Incoming {
    body: Body,
    received: Received,
    /// Length of the message whose prefix is read.
    length: Option<usize>,
    ended: bool,
}

impl Incoming {
    pub fn new(body: Body) -> Incoming {
        Incoming {
            body,
            received: Received::default(),
            length: None,
            ended: false,
        }
    }

    /// Next chunk; `None` after the last.
    ///
    /// # Errors
    /// The status by which the server has ended the answer; `UNAVAILABLE` if the answer was cut off; `INTERNAL` if the
    /// bytes are no chunks.
    pub async fn next(&mut self) -> Result<Option<Chunk>, Status> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Chunk>, Status>> {
        loop {
            if self.ended {
                return Poll::Ready(Ok(None));
            }
            if let Some(chunk) = self.decode()? {
                return Poll::Ready(Ok(Some(chunk)));
            }
            let part = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(part)) => part,
                Some(Err(status)) => {
                    self.ended = true;
                    return Poll::Ready(Err(Status::unavailable(cause(&status))));
                }
                None => {
                    self.ended = true;
                    return Poll::Ready(Err(Status::unavailable("the answer was cut off")));
                }
            };
            match part.into_data() {
                Ok(data) => self.received.push(data),
                Err(part) => {
                    self.ended = true;
                    let trailers = part.into_trailers().unwrap_or_default();
                    return Poll::Ready(self.end(Status::from_header_map(&trailers)));
                }
            }
        }
    }

    /// The end of the answer by its status.
    fn end(&self, status: Option<Status>) -> Result<Option<Chunk>, Status> {
        match status {
            Some(status) if status.code() != tonic::Code::Ok => Err(status),
            Some(_) if self.received.bytes == 0 && self.length.is_none() => Ok(None),
            Some(_) => Err(Status::unavailable("the answer ended within a chunk")),
            None => Err(Status::unavailable("the answer ended without a status")),
        }
    }

    /// The next chunk, if all of it is received.
    fn decode(&mut self) -> Result<Option<Chunk>, Status> {
        let received = &mut self.received;
        let length = match self.length {
            Some(length) => length,
            None if received.bytes < PREFIX => return Ok(None),
            None => {
                let compressed = received.get_u8();
                let length = received.get_u32() as usize;
                if compressed != 0 || length > MOST_REQUEST {
                    self.ended = true;
                    return Err(Status::internal(format!(
                        "a message of {length} bytes with the flag {compressed}; \
                         messages have at most {MOST_REQUEST}, and the flag 0"
                    )));
                }
                *self.length.insert(length)
            }
        };
        if received.bytes < length {
            return Ok(None);
        }
        self.length = None;
        let chunk = Chunk::decode(received.take(length));
        chunk.map(Some).map_err(|error| {
            self.ended = true;
            Status::internal(format!("a chunk that cannot be read: {error}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::Done;
    use super::*;

    /// Chunks of all kinds.
    fn chunks() -> Vec<Chunk> {
        let data = |bytes: usize| Bytes::from((0..bytes).map(|at| at as u8).collect::<Vec<u8>>());
        let chunk = |bytes| Chunk {
            data: data(bytes),
            ..Chunk::default()
        };
        vec![
            chunk(1),
            chunk(JOINED),
            chunk(JOINED + 1),
            chunk(1 << 16),
            Chunk::default(),
            Chunk {
                last: true,
                places: data(200),
                relations: data(8),
                ..chunk(50_000)
            },
            Chunk {
                done: Some(Done {
                    batches: 40,
                    closed: true,
                }),
                ..Chunk::default()
            },
        ]
    }

    /// Parts of a body, with the status of its trailers.
    async fn sent(mut body: Outgoing) -> (Vec<Bytes>, Option<Status>) {
        let mut parts = Vec::new();
        loop {
            let part = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context));
            match part.await.unwrap().unwrap().into_data() {
                Ok(part) => parts.push(part),
                Err(part) => {
                    let trailers = part.into_trailers().unwrap();
                    return (parts, Status::from_header_map(&trailers));
                }
            }
        }
    }

    fn outgoing(ended: Option<Status>) -> Outgoing {
        let chunks = chunks().into_iter().map(Ok).chain(ended.map(Err));
        Outgoing::new(Box::pin(tokio_stream::iter(chunks.collect::<Vec<_>>())))
    }

    /// Body of parts that ends without trailers.
    struct Parts(VecDeque<Bytes>);

    impl http_body::Body for Parts {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(|part| Ok(Frame::data(part))))
        }
    }

    #[tokio::test]
    async fn chunks_are_the_messages_that_others_read() {
        let (parts, status) = sent(outgoing(None)).await;
        assert_eq!(status.unwrap().code(), tonic::Code::Ok);
        let mut bytes = Bytes::from(parts.concat());
        for expected in chunks() {
            assert_eq!(bytes.get_u8(), 0);
            let length = bytes.get_u32() as usize;
            let message = bytes.split_to(length);
            assert_eq!(length, expected.encoded_len());
            assert_eq!(Chunk::decode(message).unwrap(), expected);
        }
        assert!(bytes.is_empty());
    }

    #[tokio::test]
    async fn chunks_arrive_and_share_the_memory_of_what_was_sent() {
        let sent = chunks();
        let stream = tokio_stream::iter(sent.clone().into_iter().map(Ok));
        let mut incoming = Incoming::new(Body::new(Outgoing::new(Box::pin(stream))));
        for expected in &sent {
            let found = incoming.next().await.unwrap().unwrap();
            assert_eq!(&found, expected);
            if found.data.len() > JOINED {
                assert_eq!(found.data.as_ptr(), expected.data.as_ptr());
            }
        }
        assert_eq!(incoming.next().await.unwrap(), None);
        let refused = outgoing(Some(Status::aborted("another fetch")));
        let mut incoming = Incoming::new(Body::new(refused));
        for _ in &sent {
            incoming.next().await.unwrap().unwrap();
        }
        let status = incoming.next().await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::Aborted);
        assert_eq!(status.message(), "another fetch");
    }

    #[tokio::test]
    async fn bodies_that_are_cut_at_any_byte_are_losses_and_parts_may_have_any_size() {
        let (parts, _) = sent(outgoing(None)).await;
        let bytes = Bytes::from(parts.concat());
        let read = async |parts: VecDeque<Bytes>| {
            let mut incoming = Incoming::new(Body::new(Parts(parts)));
            let mut read = Vec::new();
            loop {
                match incoming.next().await {
                    Ok(chunk) => read.push(chunk.expect("an end without trailers")),
                    Err(status) => return (read, status),
                }
            }
        };
        for end in (0..bytes.len()).step_by(97).chain([bytes.len()]) {
            for size in [1, 13, 70_000] {
                if size == 1 && end > 3_000 {
                    continue;
                }
                let whole = bytes.slice(..end);
                let starts = (0..end).step_by(size);
                let parts = starts.map(|at| whole.slice(at..end.min(at + size)));
                let (found, status) = read(parts.collect()).await;
                assert_eq!(found, chunks()[..found.len()]);
                assert_eq!(status.code(), tonic::Code::Unavailable);
                assert_eq!(found.len() == chunks().len(), end == bytes.len());
            }
        }
    }

    #[tokio::test]
    async fn bytes_that_are_no_chunks_are_errors() {
        let mut long = vec![0];
        long.extend(u32::MAX.to_be_bytes());
        for (bytes, told) in [
            (long, "4294967295 bytes"),
            (vec![1, 0, 0, 0, 0], "the flag 1"),
            (vec![0, 0, 0, 0, 2, 0x0a, 9], "cannot be read"),
        ] {
            let parts = Parts(VecDeque::from([Bytes::from(bytes)]));
            let mut incoming = Incoming::new(Body::new(parts));
            let status = incoming.next().await.unwrap_err();
            assert_eq!(status.code(), tonic::Code::Internal);
            assert!(status.message().contains(told), "{status}");
            assert_eq!(incoming.next().await.unwrap(), None);
        }
    }
}
