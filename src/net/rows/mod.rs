//! Rows of shards over a stream: pulls and pushes between a worker and an owner of shards.
//!
//! [`serve`] answers the requests of a stream from any [`ShardClient`](crate::server::ShardClient).
//! [`RemoteShards`] is the other end, and a `ShardClient` again.
//!
//! A request is one frame, or several with one number; `last` marks the end. Frames of several requests may mix.
//! Every frame has the leadership epoch, and the generation, step and worker of its caller.
//!
//! | request | frames | answer |
//! |---|---|---|
//! | layout, begin, commit, abort | `Control` | `Control` with the layout; `Ack` |
//! | pull | `Pull`: layout, type of values, row numbers | `Rows`, one frame for each [`CHUNK`] values |
//! | push | `Push`: a head, then for each part its places and gradients; small pushes have all in the head's frame | `Ack` |
//!
//! A request that fails is answered by `Refused` with the [`ServerError`] in JSON. Every
//! request has one answer, which ends with a frame that is `last`, and at most [`IN_FLIGHT`] requests of a stream
//! wait for theirs. `Cancel` withdraws a request; a request that has not been answered is then refused with
//! [`Stopped`](crate::server::ServerError::Stopped).
//!
//! Counts are checked before memory is taken for them, and memory is taken for values that have come only.

mod buffers;
mod call;
mod client;
mod fence;
mod gradients;
mod message;
mod push;
mod serve;

pub use client::{RemoteOptions, RemoteShards};
pub use fence::{Fence, NoFence};
pub use serve::{ServeOptions, serve};

use super::{NetError, WireType};
use crate::server::{PackedType, ServerError};

/// Most requests of a stream that wait for their answers.
pub const IN_FLIGHT: usize = 4;
/// Most values of a frame.
pub const CHUNK: usize = 65_536;
/// Most rows of a frame.
pub const MOST_ROWS: usize = 65_536;

impl From<PackedType> for WireType {
    fn from(packed: PackedType) -> WireType {
        match packed {
            PackedType::F32 => WireType::F32,
            PackedType::F16 => WireType::F16,
            PackedType::Bf16 => WireType::Bf16,
        }
    }
}

/// The packed type of values; `None` for types that rows do not have.
fn packed_type(wire: WireType) -> Option<PackedType> {
    match wire {
        WireType::F32 => Some(PackedType::F32),
        WireType::F16 => Some(PackedType::F16),
        WireType::Bf16 => Some(PackedType::Bf16),
        _ => None,
    }
}

impl From<NetError> for ServerError {
    fn from(error: NetError) -> ServerError {
        match error {
            NetError::Lost { peer, reason }
            | NetError::Unreachable { peer, reason }
            | NetError::Refused { peer, reason } => ServerError::Lost { peer, reason },
            NetError::Deadline { peer, after } => ServerError::Lost {
                peer,
                reason: format!("no answer within {after:?}"),
            },
            NetError::Frame { peer, source } => ServerError::Lost {
                peer,
                reason: format!("it sent a frame that is not valid: {source}"),
            },
            NetError::Options(message) => ServerError::Remote { message },
        }
    }
}

#[cfg(test)]
mod tests;
