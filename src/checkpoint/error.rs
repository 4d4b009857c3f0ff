//! Errors of reading and writing checkpoints.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Reason why a checkpoint could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The operating system refused to read or write.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The operation: "write", "read", "list", "remove".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The state cannot be written as JSON.
    #[error("cannot write checkpoint {}: its state has no form in JSON: {source}", stem(*epoch))]
    State {
        /// Epoch of the checkpoint.
        epoch: u32,
        /// Error of the serializer.
        source: serde_json::Error,
    },
    /// The name, shape and values of a table to write do not fit each other.
    #[error("cannot write checkpoint {}: table {name:?} {reason}", stem(*epoch))]
    Unwritable {
        /// Epoch of the checkpoint.
        epoch: u32,
        /// Name of the table.
        name: String,
        /// The mismatch.
        reason: String,
    },
    /// The run has no checkpoint.
    #[error("{} has no checkpoint", run.display())]
    NoCheckpoint {
        /// The folder of the run.
        run: PathBuf,
    },
    /// The run has no checkpoint of that epoch.
    #[error("{} has no checkpoint {}{}", run.display(), stem(*epoch), there_are(available))]
    Absent {
        /// The folder of the run.
        run: PathBuf,
        /// The requested epoch.
        epoch: u32,
        /// The epochs with a checkpoint, ascending.
        available: Vec<u32>,
    },
    /// The checkpoint is truncated or altered.
    #[error("checkpoint {} of {} is damaged: {fault}{}", stem(*epoch), run.display(), offer(run, *intact))]
    Damaged {
        /// The folder of the run.
        run: PathBuf,
        /// Epoch of the checkpoint.
        epoch: u32,
        /// The damage.
        fault: Fault,
        /// Newest earlier checkpoint that is intact.
        intact: Option<u32>,
    },
    /// The checkpoint is intact but does not have the table.
    #[error("checkpoint {} has no table {name:?}", stem(*epoch))]
    NoTable {
        /// Epoch of the checkpoint.
        epoch: u32,
        /// The requested table.
        name: String,
    },
}

/// Damage of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The manifest cannot be parsed.
    #[error("its manifest is unreadable: {0}")]
    Manifest(String),
    /// The checksum of the manifest differs from the one that it states.
    #[error("the checksum of its manifest differs: {expected} expected, {found} found")]
    Seal {
        /// SHA-256 that the manifest states.
        expected: String,
        /// SHA-256 of the manifest.
        found: String,
    },
    /// The manifest has another version of the format.
    #[error("it has format version {found}, this program reads version {expected}")]
    Version {
        /// Version that this program reads.
        expected: u32,
        /// Version of the manifest.
        found: u32,
    },
    /// The file of tables is missing.
    #[error("{file} is missing")]
    Missing {
        /// Name of the file.
        file: String,
    },
    /// The file of tables is truncated or too long.
    #[error("{file} is {}: {expected} bytes expected, {found} found", if found < expected { "truncated" } else { "too long" })]
    Length {
        /// Name of the file.
        file: String,
        /// Bytes that the manifest states.
        expected: u64,
        /// Bytes on the disk.
        found: u64,
    },
    /// The tables were altered.
    #[error("the checksum of {file} differs: {expected} expected, {found} found")]
    Checksum {
        /// Name of the file.
        file: String,
        /// SHA-256 that the manifest states.
        expected: String,
        /// SHA-256 of the file.
        found: String,
    },
    /// The file does not hold tables of f32.
    #[error("{file} does not hold its tables: {reason}")]
    Tables {
        /// Name of the file.
        file: String,
        /// The mismatch.
        reason: String,
    },
    /// The state does not have the requested type.
    #[error("its state cannot be read: {0}")]
    State(String),
}

impl CheckpointError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| CheckpointError::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

/// Name of a checkpoint's files, without extension.
pub(super) fn stem(epoch: u32) -> String {
    format!("epoch-{epoch:06}")
}

fn there_are(epochs: &[u32]) -> impl fmt::Display {
    match epochs {
        [] => String::new(),
        [only] => format!("; there is {}", stem(*only)),
        [first, .., last] => format!(
            "; there are {}, from {} to {}",
            epochs.len(),
            stem(*first),
            stem(*last)
        ),
    }
}

fn offer(run: &Path, intact: Option<u32>) -> impl fmt::Display {
    match intact {
        Some(epoch) => format!(
            "; the previous checkpoint, {}, is intact: pass --resume {} --checkpoint {epoch}",
            stem(epoch),
            run.display()
        ),
        None => "; no earlier checkpoint is intact".to_owned(),
    }
}
