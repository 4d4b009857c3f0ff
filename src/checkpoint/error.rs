//! What can be wrong with a checkpoint.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a checkpoint could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The disk refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried: "write", "read", "list", "remove".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The state has no form in JSON.
    #[error("cannot write checkpoint {}: its state has no form in JSON: {source}", stem(*epoch))]
    State {
        /// The checkpoint.
        epoch: u32,
        /// The reason.
        source: serde_json::Error,
    },
    /// A table to write whose name, shape and values do not fit.
    #[error("cannot write checkpoint {}: table {name:?} {reason}", stem(*epoch))]
    Unwritable {
        /// The checkpoint.
        epoch: u32,
        /// The table.
        name: String,
        /// What does not fit.
        reason: String,
    },
    /// There is no checkpoint in the run.
    #[error("{} has no checkpoint", run.display())]
    NoCheckpoint {
        /// The folder of the run.
        run: PathBuf,
    },
    /// There is no checkpoint of that epoch.
    #[error("{} has no checkpoint {}{}", run.display(), stem(*epoch), there_are(available))]
    Absent {
        /// The folder of the run.
        run: PathBuf,
        /// The epoch asked for.
        epoch: u32,
        /// The epochs there are, ascending.
        available: Vec<u32>,
    },
    /// The checkpoint is torn or altered.
    #[error("checkpoint {} of {} is damaged: {fault}{}", stem(*epoch), run.display(), offer(run, *intact))]
    Damaged {
        /// The folder of the run.
        run: PathBuf,
        /// The checkpoint.
        epoch: u32,
        /// What is wrong with it.
        fault: Fault,
        /// The newest earlier checkpoint that is whole.
        intact: Option<u32>,
    },
    /// The checkpoint is whole but lacks a table.
    #[error("checkpoint {} has no table {name:?}", stem(*epoch))]
    NoTable {
        /// The checkpoint.
        epoch: u32,
        /// The table asked for.
        name: String,
    },
}

/// What is wrong with a damaged checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The manifest is no manifest.
    #[error("its manifest is unreadable: {0}")]
    Manifest(String),
    /// The manifest was altered.
    #[error("the checksum of its manifest differs: {expected} expected, {found} found")]
    Seal {
        /// The SHA-256 the manifest states.
        expected: String,
        /// Its own.
        found: String,
    },
    /// The manifest is of another version of the format.
    #[error("it has format version {found}, this program reads version {expected}")]
    Version {
        /// The version this program reads.
        expected: u32,
        /// The manifest's.
        found: u32,
    },
    /// The tables are not there.
    #[error("{file} is missing")]
    Missing {
        /// The name of the file.
        file: String,
    },
    /// The tables are cut short, or something was appended.
    #[error("{file} is {}: {expected} bytes expected, {found} found", if found < expected { "truncated" } else { "too long" })]
    Length {
        /// The name of the file.
        file: String,
        /// Bytes by the manifest.
        expected: u64,
        /// Bytes on the disk.
        found: u64,
    },
    /// The tables were altered.
    #[error("the checksum of {file} differs: {expected} expected, {found} found")]
    Checksum {
        /// The name of the file.
        file: String,
        /// The SHA-256 by the manifest.
        expected: String,
        /// The file's own.
        found: String,
    },
    /// The file holds something else than tables of f32.
    #[error("{file} does not hold its tables: {reason}")]
    Tables {
        /// The name of the file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// The state is not the one asked for.
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

/// The name of a checkpoint's files, without extension.
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
