//! Changes of bytes and frames that were valid.

use proptest::prelude::*;
use proptest::sample::Index;
use shardloom::net::{Frame, Kind, WireType};

/// Change of a sequence of bytes.
#[derive(Clone, Debug)]
pub enum Change {
    /// Flips bits of one byte.
    Flip(Index, u8),
    /// Writes a number over four or eight bytes, little-endian.
    Number(Index, u64, bool),
    /// Ends the bytes.
    Cut(Index),
    /// Puts bytes in.
    Insert(Index, Vec<u8>),
    /// Replaces a run of digits.
    Digits(Index, &'static str),
}

/// Numbers at which counts overflow, and what is no number where JSON has one.
const WORDS: [&str; 12] = [
    "0",
    "1",
    "-1",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "1e308",
    "null",
    "[]",
    "\"7\"",
];

fn extreme() -> impl Strategy<Value = u64> {
    let powers =
        (0..64u32, -1..2i64).prop_map(|(bit, more)| (1u64 << bit).wrapping_add_signed(more));
    prop_oneof![powers, any::<u64>(), 0..300u64]
}

pub fn change() -> impl Strategy<Value = Change> {
    let index = any::<Index>;
    prop_oneof![
        1 => (index(), 1u8..).prop_map(|(at, bits)| Change::Flip(at, bits)),
        1 => (index(), extreme(), any::<bool>()).prop_map(|(at, number, long)| Change::Number(at, number, long)),
        1 => index().prop_map(Change::Cut),
        1 => (index(), prop::collection::vec(any::<u8>(), 1..20)).prop_map(|(at, more)| Change::Insert(at, more)),
        4 => (index(), 0..WORDS.len()).prop_map(|(at, word)| Change::Digits(at, WORDS[word])),
    ]
}

pub fn changes() -> impl Strategy<Value = Vec<Change>> {
    prop::collection::vec(change(), 1..4)
}

/// Applies changes one after the other.
pub fn changed(bytes: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for change in changes {
        if bytes.is_empty() {
            return bytes;
        }
        let length = bytes.len();
        match change {
            Change::Flip(at, bits) => bytes[at.index(length)] ^= bits,
            Change::Number(at, number, long) => {
                let at = at.index(length);
                let number = &number.to_le_bytes()[..if *long { 8 } else { 4 }];
                let end = length.min(at + number.len());
                bytes[at..end].copy_from_slice(&number[..end - at]);
            }
            Change::Cut(at) => bytes.truncate(at.index(length)),
            Change::Insert(at, more) => {
                let at = at.index(length);
                bytes.splice(at..at, more.iter().copied());
            }
            Change::Digits(at, word) => {
                let at = at.index(length);
                let Some(start) = (at..length).find(|&i| bytes[i].is_ascii_digit()) else {
                    continue;
                };
                let end = (start..length)
                    .find(|&i| !bytes[i].is_ascii_digit())
                    .unwrap_or(length);
                bytes.splice(start..end, word.bytes());
            }
        }
    }
    bytes
}

/// Change of a frame of a sequence.
#[derive(Clone, Debug)]
pub enum FrameChange {
    Payload(Vec<Change>),
    Number(usize, u64),
    Kind(usize),
    Type(usize),
    Last,
    Remove,
    Repeat,
    /// Exchanges the frame with the next one.
    Swap,
}

pub fn frame_change() -> impl Strategy<Value = FrameChange> {
    prop_oneof![
        3 => changes().prop_map(FrameChange::Payload),
        3 => (0..8usize, extreme()).prop_map(|(field, number)| FrameChange::Number(field, number)),
        1 => (0..Kind::ALL.len()).prop_map(FrameChange::Kind),
        1 => (0..WireType::ALL.len()).prop_map(FrameChange::Type),
        1 => Just(FrameChange::Last),
        1 => Just(FrameChange::Remove),
        1 => Just(FrameChange::Repeat),
        1 => Just(FrameChange::Swap),
    ]
}

pub fn frame_changes() -> impl Strategy<Value = Vec<(Index, FrameChange)>> {
    prop::collection::vec((any::<Index>(), frame_change()), 1..4)
}

/// Applies changes to a sequence of frames, as it may come from a process with faults: digests and lengths fit.
pub fn changed_frames(frames: &[Frame], changes: &[(Index, FrameChange)]) -> Vec<Frame> {
    let mut frames = frames.to_vec();
    for (at, change) in changes {
        if frames.is_empty() {
            return frames;
        }
        let at = at.index(frames.len());
        let frame = &mut frames[at];
        let header = &mut frame.header;
        match change {
            FrameChange::Payload(changes) => {
                frame.payload = changed(&frame.payload, changes).into()
            }
            FrameChange::Number(field, number) => match field {
                0 => header.shard = *number as u32,
                1 => header.request = *number as u32,
                2 => header.epoch = *number as u32,
                3 => header.generation = *number,
                4 => header.step = *number,
                5 => header.worker = *number as u32,
                6 => header.rows = *number as u32,
                _ => header.width = *number as u32,
            },
            FrameChange::Kind(kind) => header.kind = Kind::ALL[*kind],
            FrameChange::Type(kind) => header.wire_type = WireType::ALL[*kind],
            FrameChange::Last => header.last = !header.last,
            FrameChange::Remove => drop(frames.remove(at)),
            FrameChange::Repeat => {
                let again = frame.clone();
                frames.insert(at, again);
            }
            FrameChange::Swap => {
                let next = (at + 1) % frames.len();
                frames.swap(at, next);
            }
        }
    }
    frames
}
