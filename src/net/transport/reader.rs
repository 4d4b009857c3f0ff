//! Frames out of the bytes of a stream.

use bytes::{Buf, Bytes, BytesMut};

use super::PREFIX;
use crate::net::frame::{HEADER, MOST_PAYLOAD, RawHeader};
use crate::net::{Frame, FrameError};

/// Reader of frames. All that a header says is checked before memory for the payload is taken.
#[derive(Debug, Default)]
pub struct FrameReader {
    /// Bytes that are received and not read.
    chunk: Bytes,
    /// First bytes of a message: gRPC's prefix and the header.
    head: Head,
    /// Message whose header is read.
    begun: Option<Begun>,
}

#[derive(Debug)]
struct Head {
    bytes: [u8; PREFIX + HEADER],
    filled: usize,
}

impl Default for Head {
    fn default() -> Head {
        Head {
            bytes: [0; PREFIX + HEADER],
            filled: 0,
        }
    }
}

#[derive(Debug)]
struct Begun {
    header: RawHeader,
    /// First bytes of a payload that comes in several parts.
    payload: BytesMut,
}

impl FrameReader {
    /// Takes the next bytes of the stream. The bytes before them must be used up.
    pub fn take(&mut self, chunk: Bytes) {
        debug_assert!(self.chunk.is_empty(), "bytes are left");
        self.chunk = chunk;
    }

    /// Reads a frame out of the bytes; `None`, with the bytes used up, if the frame has more of them. Payloads share
    /// the memory of the bytes, unless they came in several parts.
    ///
    /// # Errors
    /// [`FrameError`]: the bytes are not a frame, and the stream cannot be read further.
    pub fn read(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.begun.is_none() {
            let head = &mut self.head;
            let taken = (head.bytes.len() - head.filled).min(self.chunk.len());
            self.chunk
                .copy_to_slice(&mut head.bytes[head.filled..head.filled + taken]);
            head.filled += taken;
            if head.filled < PREFIX {
                return Ok(None);
            }
            let length = message_length(&head.bytes)?;
            let Some((_, header)) = head.bytes.split_last_chunk::<HEADER>() else {
                return Ok(None);
            };
            if head.filled < head.bytes.len() {
                return Ok(None);
            }
            let header = RawHeader::read(header)?;
            let expected = HEADER + header.length;
            if length != expected {
                return Err(FrameError::Length {
                    found: length,
                    expected,
                });
            }
            head.filled = 0;
            self.begun = Some(Begun {
                header,
                payload: BytesMut::new(),
            });
        }
        let Some(mut begun) = self.begun.take() else {
            return Ok(None);
        };
        let missing = begun.header.length - begun.payload.len();
        let payload = if begun.payload.is_empty() && self.chunk.len() >= missing {
            self.chunk.split_to(missing)
        } else {
            begun.payload.reserve(missing);
            let part = self.chunk.split_to(missing.min(self.chunk.len()));
            begun.payload.extend_from_slice(&part);
            if begun.payload.len() < begun.header.length {
                self.begun = Some(begun);
                return Ok(None);
            }
            begun.payload.freeze()
        };
        begun.header.join(payload).map(Some)
    }

    /// Returns whether the reader is between two frames.
    pub(super) fn is_between(&self) -> bool {
        self.begun.is_none() && self.head.filled == 0
    }
}

/// Bytes of a gRPC message by its prefix.
fn message_length(head: &[u8; PREFIX + HEADER]) -> Result<usize, FrameError> {
    let [compressed, a, b, c, d, ..] = *head;
    if compressed != 0 {
        return Err(FrameError::Field {
            field: "flag of compression",
            found: u32::from(compressed),
        });
    }
    let found = u32::from_be_bytes([a, b, c, d]) as usize;
    match found.checked_sub(HEADER) {
        None => Err(FrameError::Length {
            found,
            expected: HEADER,
        }),
        Some(payload) if payload > MOST_PAYLOAD => Err(FrameError::Long {
            found: payload,
            most: MOST_PAYLOAD,
        }),
        Some(_) => Ok(found),
    }
}
