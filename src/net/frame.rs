//! Frames: a header of 64 bytes and a payload, little-endian, on every channel.
//!
//! | bytes | field |
//! |---|---|
//! | 0..4 | magic, `SLF1` |
//! | 4..6 | version of the protocol |
//! | 6 | [`Kind`] |
//! | 7 | [`WireType`] of the values in the payload |
//! | 8 | table: 0 entities, 1 relations |
//! | 9 | flags: 1 for the last frame of a message |
//! | 10..12 | 0 |
//! | 12..16 | shard |
//! | 16..20 | request |
//! | 20..24 | epoch of leadership |
//! | 24..32 | generation |
//! | 32..40 | step |
//! | 40..44 | worker |
//! | 44..48 | rows |
//! | 48..52 | values of a row |
//! | 52..56 | bytes of the payload |
//! | 56..64 | XXH3 of the payload |

use bytes::{BufMut, Bytes, BytesMut};
use twox_hash::XxHash3_64;

use crate::ids::TableName;

/// Version of the protocol. Processes of other versions are refused.
pub const PROTOCOL: u16 = 1;
/// Bytes of a header: a multiple of 64, so that values behind it are aligned.
pub const HEADER: usize = 64;
/// Most bytes of a payload.
pub const MOST_PAYLOAD: usize = 256 << 10;

const MAGIC: [u8; 4] = *b"SLF1";
const LAST: u8 = 1;

/// Purpose of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    /// Membership, steps and votes: between the leader and a node.
    Session,
    /// Pulls and pushes of rows: from a worker to an owner of shards.
    Rows,
    /// Collective communication: from rank to rank.
    Collective,
}

/// Meaning of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A message in JSON.
    Control = 1,
    /// Part of a file or of another long message.
    Data = 2,
    /// Request for rows.
    Pull = 3,
    /// Rows that a pull asked for.
    Rows = 4,
    /// Gradient rows for a shard.
    Push = 5,
    /// Success of a request.
    Ack = 6,
    /// Refusal of a request; the payload has the error in JSON.
    Refused = 7,
    /// Terms of a collective call, from one rank.
    Terms = 8,
    /// Outcome of the comparison of terms.
    Verdict = 9,
    /// Values of a collective call.
    Values = 10,
    /// Withdrawal of a request by its sender.
    Cancel = 11,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 11] = [
        Kind::Control,
        Kind::Data,
        Kind::Pull,
        Kind::Rows,
        Kind::Push,
        Kind::Ack,
        Kind::Refused,
        Kind::Terms,
        Kind::Verdict,
        Kind::Values,
        Kind::Cancel,
    ];

    fn read(byte: u8) -> Option<Kind> {
        Kind::ALL.into_iter().find(|&kind| kind as u8 == byte)
    }
}

/// Type of the values in a payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum WireType {
    /// Bytes without a type.
    #[default]
    Bytes = 0,
    /// `f32`.
    F32 = 1,
    /// IEEE binary16.
    F16 = 2,
    /// bfloat16.
    Bf16 = 3,
    /// `f64`.
    F64 = 4,
    /// `u32`.
    U32 = 5,
    /// `u64`.
    U64 = 6,
}

impl WireType {
    /// All types.
    pub const ALL: [WireType; 7] = [
        WireType::Bytes,
        WireType::F32,
        WireType::F16,
        WireType::Bf16,
        WireType::F64,
        WireType::U32,
        WireType::U64,
    ];

    /// Bytes of a value.
    pub fn size(self) -> usize {
        match self {
            WireType::Bytes => 1,
            WireType::F16 | WireType::Bf16 => 2,
            WireType::F32 | WireType::U32 => 4,
            WireType::F64 | WireType::U64 => 8,
        }
    }

    fn read(byte: u8) -> Option<WireType> {
        WireType::ALL.into_iter().find(|&kind| kind as u8 == byte)
    }
}

/// Fields of a frame's header. Fields that a kind does not use are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Meaning of the frame.
    pub kind: Kind,
    /// Type of the values in the payload.
    pub wire_type: WireType,
    /// Table of the rows.
    pub table: TableName,
    /// True for the last frame of a message.
    pub last: bool,
    /// Shard of the rows; rank in collective communication.
    pub shard: u32,
    /// Number of a request on its stream. Answers repeat it.
    pub request: u32,
    /// Epoch of leadership.
    pub epoch: u32,
    /// Generation of workers.
    pub generation: u64,
    /// Step, or number of a collective call.
    pub step: u64,
    /// Worker, or lane.
    pub worker: u32,
    /// Number of rows.
    pub rows: u32,
    /// Values of a row.
    pub width: u32,
}

impl Header {
    /// A header without any values.
    pub fn new(kind: Kind) -> Header {
        Header {
            kind,
            wire_type: WireType::Bytes,
            table: TableName::Entities,
            last: false,
            shard: 0,
            request: 0,
            epoch: 0,
            generation: 0,
            step: 0,
            worker: 0,
            rows: 0,
            width: 0,
        }
    }
}

/// A message, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Header without length and digest, which follow from the payload.
    pub header: Header,
    /// At most [`MOST_PAYLOAD`] bytes.
    pub payload: Bytes,
}

/// A fault of a frame's bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The bytes are no frame.
    #[error("it begins with {found:02x?}, not with the mark of a frame")]
    Magic {
        /// First bytes.
        found: [u8; 4],
    },
    /// The other process has another version of the protocol.
    #[error(
        "its protocol has version {found}, this one {expected}: use the same release everywhere"
    )]
    Version {
        /// Version of the frame.
        found: u16,
        /// Version of this process.
        expected: u16,
    },
    /// A field of the header has a value without a meaning.
    #[error("its {field} is {found}, which has no meaning")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// Value of the field.
        found: u32,
    },
    /// The payload is longer than it may be.
    #[error("its payload has {found} bytes, of at most {most}")]
    Long {
        /// Bytes of the payload.
        found: usize,
        /// Most bytes.
        most: usize,
    },
    /// The bytes end before the frame does, or go on after it.
    #[error("it has {found} bytes, and its header says {expected}")]
    Length {
        /// Bytes of the frame.
        found: usize,
        /// Bytes by the header.
        expected: usize,
    },
    /// The payload does not have its digest.
    #[error("its payload has digest {found:016x}, and its header says {expected:016x}")]
    Digest {
        /// Digest of the payload.
        found: u64,
        /// Digest by the header.
        expected: u64,
    },
}

/// A header as it travels: with the payload's length and digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawHeader {
    /// Fields.
    pub header: Header,
    /// Bytes of the payload.
    pub length: usize,
    /// XXH3 of the payload.
    pub digest: u64,
}

impl RawHeader {
    /// Reads and checks a header. Nothing is allocated.
    ///
    /// # Errors
    /// [`FrameError`], for anything but a wrong digest.
    pub fn read(bytes: &[u8; HEADER]) -> Result<RawHeader, FrameError> {
        let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let u32_at = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        let found = [bytes[0], bytes[1], bytes[2], bytes[3]];
        if found != MAGIC {
            return Err(FrameError::Magic { found });
        }
        let (found, expected) = (u16_at(4), PROTOCOL);
        if found != expected {
            return Err(FrameError::Version { found, expected });
        }
        let field = |field, found| FrameError::Field { field, found };
        let unknown = |name, byte: u8| field(name, u32::from(byte));
        let kind = Kind::read(bytes[6]).ok_or_else(|| unknown("kind", bytes[6]))?;
        let wire_type = WireType::read(bytes[7]).ok_or_else(|| unknown("type", bytes[7]))?;
        let table = match bytes[8] {
            0 => TableName::Entities,
            1 => TableName::Relations,
            other => return Err(unknown("table", other)),
        };
        if bytes[9] & !LAST != 0 {
            return Err(unknown("flags", bytes[9]));
        }
        if u16_at(10) != 0 {
            return Err(field("reserved field", u32::from(u16_at(10))));
        }
        let (length, most) = (u32_at(52) as usize, MOST_PAYLOAD);
        if length > most {
            return Err(FrameError::Long {
                found: length,
                most,
            });
        }
        Ok(RawHeader {
            header: Header {
                kind,
                wire_type,
                table,
                last: bytes[9] & LAST != 0,
                shard: u32_at(12),
                request: u32_at(16),
                epoch: u32_at(20),
                generation: u64_at(24),
                step: u64_at(32),
                worker: u32_at(40),
                rows: u32_at(44),
                width: u32_at(48),
            },
            length,
            digest: u64_at(56),
        })
    }

    /// Joins the header and its payload.
    ///
    /// # Errors
    /// [`FrameError::Length`] and [`FrameError::Digest`].
    pub fn join(self, payload: Bytes) -> Result<Frame, FrameError> {
        if payload.len() != self.length {
            return Err(FrameError::Length {
                found: HEADER + payload.len(),
                expected: HEADER + self.length,
            });
        }
        let (found, expected) = (XxHash3_64::oneshot(&payload), self.digest);
        if found != expected {
            return Err(FrameError::Digest { found, expected });
        }
        Ok(Frame {
            header: self.header,
            payload,
        })
    }
}

impl Frame {
    /// A frame without a payload.
    pub fn empty(header: Header) -> Frame {
        Frame {
            header,
            payload: Bytes::new(),
        }
    }

    /// Bytes of the frame.
    pub fn size(&self) -> usize {
        HEADER + self.payload.len()
    }

    /// Writes the header, with the payload's length and digest.
    pub fn header_bytes(&self) -> [u8; HEADER] {
        let header = &self.header;
        let mut out = [0; HEADER];
        let mut put = &mut out[..];
        put.put_slice(&MAGIC);
        put.put_u16_le(PROTOCOL);
        put.put_u8(header.kind as u8);
        put.put_u8(header.wire_type as u8);
        put.put_u8(match header.table {
            TableName::Entities => 0,
            TableName::Relations => 1,
        });
        put.put_u8(if header.last { LAST } else { 0 });
        put.put_u16_le(0);
        put.put_u32_le(header.shard);
        put.put_u32_le(header.request);
        put.put_u32_le(header.epoch);
        put.put_u64_le(header.generation);
        put.put_u64_le(header.step);
        put.put_u32_le(header.worker);
        put.put_u32_le(header.rows);
        put.put_u32_le(header.width);
        put.put_u32_le(self.payload.len() as u32);
        put.put_u64_le(XxHash3_64::oneshot(&self.payload));
        out
    }

    /// Writes the frame.
    pub fn write(&self, out: &mut BytesMut) {
        out.reserve(self.size());
        out.put_slice(&self.header_bytes());
        out.put_slice(&self.payload);
    }

    /// Reads a frame that `bytes` hold whole. The payload shares their memory.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn read(bytes: Bytes) -> Result<Frame, FrameError> {
        let Some(header) = bytes.first_chunk::<HEADER>() else {
            return Err(FrameError::Length {
                found: bytes.len(),
                expected: HEADER,
            });
        };
        RawHeader::read(header)?.join(bytes.slice(HEADER..))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames() -> impl Strategy<Value = Frame> {
        let header = (
            (
                0..Kind::ALL.len(),
                0..WireType::ALL.len(),
                0..2usize,
                any::<bool>(),
            ),
            any::<[u32; 6]>(),
            any::<[u64; 2]>(),
        );
        let payload = prop::collection::vec(any::<u8>(), 0..300);
        (header, payload).prop_map(|((small, words, longs), payload)| Frame {
            header: Header {
                kind: Kind::ALL[small.0],
                wire_type: WireType::ALL[small.1],
                table: TableName::ALL[small.2],
                last: small.3,
                shard: words[0],
                request: words[1],
                epoch: words[2],
                generation: longs[0],
                step: longs[1],
                worker: words[3],
                rows: words[4],
                width: words[5],
            },
            payload: payload.into(),
        })
    }

    fn written(frame: &Frame) -> BytesMut {
        let mut bytes = BytesMut::new();
        frame.write(&mut bytes);
        bytes
    }

    proptest! {
        #[test]
        fn frames_survive_the_way(frame in frames()) {
            let bytes = written(&frame).freeze();
            prop_assert_eq!(bytes.len(), frame.size());
            prop_assert_eq!(Frame::read(bytes), Ok(frame));
        }

        #[test]
        fn a_changed_frame_is_refused_or_differs_in_its_header(
            frame in frames(), at in any::<prop::sample::Index>(), flip in 1u8..,
        ) {
            let mut bytes = written(&frame);
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            match Frame::read(bytes.freeze()) {
                Err(_) => {}
                Ok(read) => {
                    prop_assert!(at < 52, "byte {} is covered by no check", at);
                    prop_assert_ne!(read.header, frame.header);
                }
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Frame::read(bytes.into());
        }
    }

    #[test]
    fn faults_have_a_sentence_with_both_values() {
        let frame = Frame {
            payload: Bytes::from_static(b"values"),
            ..Frame::empty(Header::new(Kind::Rows))
        };
        let refused = |change: &dyn Fn(&mut BytesMut)| {
            let mut bytes = written(&frame);
            change(&mut bytes);
            Frame::read(bytes.freeze()).unwrap_err().to_string()
        };
        assert_eq!(
            refused(&|b| b[4] = 9),
            "its protocol has version 9, this one 1: use the same release everywhere"
        );
        assert_eq!(
            refused(&|b| b[6] = 77),
            "its kind is 77, which has no meaning"
        );
        assert_eq!(
            refused(&|b| b[52..56].copy_from_slice(&u32::MAX.to_le_bytes())),
            "its payload has 4294967295 bytes, of at most 262144"
        );
        assert_eq!(
            refused(&|b| b.truncate(67)),
            "it has 67 bytes, and its header says 70"
        );
        assert!(refused(&|b| b[66] ^= 1).starts_with("its payload has digest "));
    }
}
