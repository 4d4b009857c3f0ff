//! Failures of cuts.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::ids::{ShardId, Step};

/// Reason why a cut cannot be written or used. Earlier cuts stay as they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum CutError {
    /// The disk, the user's share of the disk, or the file has no room left.
    #[error("cannot write {path}, the disk is full: {reason}; earlier cuts stay")]
    Full {
        /// The file.
        path: String,
        /// Reason of the system.
        reason: String,
    },
    /// The operating system refused.
    #[error("cannot {action} {path}: {reason}")]
    Io {
        /// The operation: "create", "list", "read", "remove", "write".
        action: String,
        /// The file or folder.
        path: String,
        /// Reason of the system.
        reason: String,
    },
    /// The values of a shard do not fill its shape.
    #[error("{path} needs {expected} bytes of values, and {found} were handed over")]
    Values {
        /// The file.
        path: String,
        /// Bytes by the shape.
        expected: u64,
        /// Bytes handed over.
        found: u64,
    },
    /// A cut has no file, or more than one, for a shard of its layout.
    #[error("a cut of {step} needs one file for {shard}, and has {found}")]
    Files {
        /// Step of the cut.
        step: Step,
        /// The shard.
        shard: ShardId,
        /// Number of files.
        found: usize,
    },
    /// The content has no form in a file.
    #[error("cannot write {path}: {reason}")]
    Unwritable {
        /// The file.
        path: String,
        /// The obstacle.
        reason: String,
    },
    /// The step has a complete cut already, with other content.
    #[error("{step} has a cut of leadership epoch {epoch} already, with other values")]
    Taken {
        /// Step of the cut.
        step: Step,
        /// Leadership epoch of the cut that exists.
        epoch: u32,
    },
    /// A leader of a newer epoch has saved a cut.
    #[error("leadership epoch {epoch} has ended: epoch {newer} has saved a cut of {step}")]
    Superseded {
        /// Epoch of the cut that was to be saved.
        epoch: u32,
        /// The newer epoch.
        newer: u32,
        /// Step of the cut of the newer epoch.
        step: Step,
    },
    /// A file is missing, cut short, altered or of another origin.
    #[error("{path} {fault}")]
    Damaged {
        /// The file.
        path: String,
        /// The damage.
        fault: CutFault,
    },
}

/// Damage of a file of a cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum CutFault {
    /// The file does not exist.
    #[error("is missing")]
    Missing,
    /// The file is too short or too long.
    #[error("is {}: it has {found} bytes, of {expected}", if found < expected { "cut short" } else { "too long" })]
    Length {
        /// Bytes that the file should have.
        expected: u64,
        /// Bytes that the file has.
        found: u64,
    },
    /// Bytes of the file were altered.
    #[error("is altered: {part} has digest {found}, not {expected}")]
    Digest {
        /// The bytes.
        part: String,
        /// Digest that they should have.
        expected: String,
        /// Digest that they have.
        found: String,
    },
    /// The content cannot be parsed, or contradicts itself.
    #[error("is not readable: {0}")]
    Content(String),
    /// The file has another version of the format.
    #[error("has format {found}, and this program reads format {expected}")]
    Format {
        /// Version that this program reads.
        expected: u32,
        /// Version of the file.
        found: u32,
    },
    /// The file belongs to something else.
    #[error("is of {found}, not of {expected}")]
    Foreign {
        /// Origin that the file should have.
        expected: String,
        /// Origin of the file.
        found: String,
    },
}

impl CutError {
    pub(super) fn io(action: &str, path: &Path) -> impl FnOnce(io::Error) -> CutError {
        move |error| {
            let (path, reason) = (path.display().to_string(), error.to_string());
            match error.kind() {
                io::ErrorKind::StorageFull
                | io::ErrorKind::QuotaExceeded
                | io::ErrorKind::FileTooLarge => CutError::Full { path, reason },
                _ => CutError::Io {
                    action: action.to_owned(),
                    path,
                    reason,
                },
            }
        }
    }

    pub(super) fn damaged(path: &Path, fault: CutFault) -> CutError {
        CutError::Damaged {
            path: path.display().to_string(),
            fault,
        }
    }
}
