//! Errors of stores.

use std::time::Duration;

use super::packed::PackedError;
use crate::graph::RowError;
use crate::neighborhood::SampleError;

/// Request that a store does not fulfil.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StoreError {
    /// A batch that cannot be drawn.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// A setting that is out of range.
    #[error("{field}: {what}")]
    Setting {
        /// Field of the specification.
        field: &'static str,
        /// Found and allowed.
        what: String,
    },
    /// A relation that the graph does not have.
    #[error("relation {id}, and the graph has {relations} relations, numbered from 0")]
    Relation {
        /// Number given.
        id: u32,
        /// Number of relations.
        relations: u32,
    },
    /// A channel that was never opened.
    #[error("unknown channel {0}")]
    UnknownChannel(u64),
    /// A sampler that is not open.
    #[error("unknown sampler {0}")]
    UnknownSampler(u64),
    /// Another sampler has the key.
    #[error(
        "sampler '{key}' is open with another {field}; all ranks of a loader send equal settings"
    )]
    KeyTaken {
        /// Key of both.
        key: String,
        /// First field that differs.
        field: &'static str,
    },
    /// The store takes no new work.
    #[error("the store ends: no new samplers, channels or epochs")]
    Draining,
    /// A batch was asked for before the first epoch.
    #[error("no epoch has begun: call start first")]
    NotStarted,
    /// Another epoch than the current one was asked for.
    #[error("epoch {asked}, and the channel is in epoch {current}")]
    OtherEpoch {
        /// Epoch asked for.
        asked: u64,
        /// Current epoch.
        current: u64,
    },
    /// The channel is closed.
    #[error("the channel is closed")]
    Closed,
    /// A position beyond the rank's batches.
    #[error("position {position}, and the epoch has {batches} batches of this rank")]
    Position {
        /// Position asked for.
        position: u64,
        /// Number of batches.
        batches: u64,
    },
    /// A limit of the store.
    #[error("{what}: {found}, and the store allows {most}")]
    Limit {
        /// Thing that is limited.
        what: &'static str,
        /// Number that there would be.
        found: u64,
        /// Largest number.
        most: u64,
    },
    /// Time that passed without a batch or an answer.
    #[error("nothing after {0:?}")]
    Timeout(Duration),
    /// Bytes that are no batch.
    #[error(transparent)]
    Packed(#[from] PackedError),
    /// The store serves another graph than before.
    #[error(
        "the graph's digest is {found:016x}, and it was {expected:016x}: this is another graph"
    )]
    OtherGraph {
        /// Digest of the graph that is served.
        found: u64,
        /// Digest of the graph that was served before.
        expected: u64,
    },
    /// Parts that are not those of one graph.
    #[error("parts of a graph: {0}")]
    Parts(String),
    /// A part that does not answer, or refuses.
    #[error("part {part} of {of}, at {at}: {cause}")]
    Part {
        /// Number of the part, from 0.
        part: u32,
        /// Number of parts.
        of: u32,
        /// Name of the part, such as its address.
        at: String,
        /// Fault.
        cause: Box<StoreError>,
    },
    /// The store cannot be reached.
    #[error("{address}: {what}")]
    Unreachable {
        /// Address of the store.
        address: String,
        /// Fault.
        what: String,
    },
    /// The store has refused a request.
    #[error("{0}")]
    Refused(String),
    /// A fault of the store itself.
    #[error("the store failed: {0}")]
    Failed(String),
}

impl StoreError {
    /// Setting that is out of range.
    pub(super) fn setting(field: &'static str, what: impl Into<String>) -> StoreError {
        let what = what.into();
        StoreError::Setting { field, what }
    }
}

impl From<RowError> for StoreError {
    fn from(error: RowError) -> StoreError {
        StoreError::Sample(error.into())
    }
}
