//! Messages between the processes of a group.
//!
//! A message is JSON at the start of a frame's payload; the header's width has its length in bytes. Values of
//! a small call follow it.

use bytes::{BufMut, Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::collective::{CollectiveError, Term};
use crate::ids::Generation;
use crate::net::{Frame, Header, Kind};

/// Terms with which a rank comes to a call ([`Kind::Terms`]). The rank's values follow if the call is small.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Coming {
    pub rank: usize,
    /// Number of the rank's arrivals so far. Numbers rise.
    pub ticket: u64,
    /// Generation that the caller takes the group to have.
    pub generation: Generation,
    pub sequence: u64,
    pub terms: Vec<Term>,
    /// Fault of this rank alone.
    pub fault: Option<CollectiveError>,
    /// Bits of the rank's weight.
    pub weight: u64,
}

/// Decision about a rank's call ([`Kind::Verdict`]).
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Verdict {
    pub rank: usize,
    pub ticket: u64,
    pub outcome: Outcome,
}

/// Outcome of a call for one rank.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Outcome {
    /// The call has happened. The rank's result follows.
    Done,
    /// The call has happened. Ranks send each other their values.
    Exchange {
        /// Bits of the weights of a weighted mean, by rank; empty for other calls.
        weights: Vec<u64>,
    },
    /// The rank's arrival is withdrawn.
    Withdrawn,
    /// The call has failed.
    Failed(CollectiveError),
}

/// Notices between processes ([`Kind::Control`]).
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Notice {
    /// To the decider: the deadline of a rank has passed.
    Expired { rank: usize, ticket: u64 },
    /// To the decider: a rank dropped its call.
    Withdrawn { rank: usize, ticket: u64 },
    /// To the decider: the generation ends.
    Abort { next: Generation },
    /// From the decider: the generation has ended.
    Ended { next: Generation },
    /// To the decider: a process cannot be reached.
    Lost { ranks: Vec<usize>, reason: String },
    /// To all: a rank will send no more values of a call that has happened, because of `lost` ranks.
    Failed {
        rank: usize,
        sequence: u64,
        lost: Vec<usize>,
        reason: String,
    },
}

/// Makes the frame of a message, followed by `values`.
pub(super) fn frame(
    kind: Kind,
    generation: Generation,
    message: &impl Serialize,
    values: &[u8],
) -> Frame {
    let json = serde_json::to_vec(message).expect("messages have only JSON's types");
    let mut payload = BytesMut::with_capacity(json.len() + values.len());
    payload.put_slice(&json);
    payload.put_slice(values);
    let header = Header {
        last: true,
        generation: generation.0,
        width: json.len() as u32,
        ..Header::new(kind)
    };
    Frame {
        header,
        payload: payload.freeze(),
    }
}

/// Reads a message and the values that follow.
///
/// # Errors
/// The fault, as a sentence about the frame.
pub(super) fn read<M: DeserializeOwned>(frame: &Frame) -> Result<(M, Bytes), String> {
    let (length, all) = (frame.header.width as usize, frame.payload.len());
    if length > all {
        return Err(format!("a message of {length} bytes in a payload of {all}"));
    }
    let message = serde_json::from_slice(&frame.payload[..length]);
    let message = message.map_err(|error| format!("a message that is not valid: {error}"))?;
    Ok((message, frame.payload.slice(length..)))
}
