//! Failures of streams between processes.

use std::time::Duration;

use super::FrameError;

/// A failure of a stream, or of a call over a stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    /// The other process is gone.
    #[error("{peer} is lost: {reason}")]
    Lost {
        /// Name or address of the other process.
        peer: String,
        /// Failure of the connection.
        reason: String,
    },
    /// No process of this program answers at the address.
    #[error("{peer} cannot be reached: {reason}")]
    Unreachable {
        /// Address of the other process.
        peer: String,
        /// Failure of the connection, and advice.
        reason: String,
    },
    /// The other process did not answer in time.
    #[error("{peer} did not answer within {after:?}")]
    Deadline {
        /// Name or address of the other process.
        peer: String,
        /// Time that the call waited.
        after: Duration,
    },
    /// The other process sent a frame that is not valid.
    #[error("{peer} sent a frame that is not valid: {source}")]
    Frame {
        /// Name or address of the other process.
        peer: String,
        /// Fault of the frame.
        source: FrameError,
    },
    /// The other process refused the connection or the call.
    #[error("{peer} refused: {reason}")]
    Refused {
        /// Name or address of the other process.
        peer: String,
        /// Sentence of the other process.
        reason: String,
    },
    /// The process cannot listen or connect with these options.
    #[error("{0}")]
    Options(String),
}

impl NetError {
    /// Returns whether the other process counts as lost.
    pub fn is_lost(&self) -> bool {
        matches!(
            self,
            NetError::Lost { .. } | NetError::Unreachable { .. } | NetError::Deadline { .. }
        )
    }
}
