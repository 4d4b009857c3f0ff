//! Failures of registries.

use std::time::Duration;

/// A registry that cannot be read or written, or that holds a record which is of no use here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// The operating system or the object store refused.
    #[error("cannot {action} {path}: {reason}")]
    Io {
        /// The operation: "open", "list", "read", "write", "protect".
        action: &'static str,
        /// The file or folder.
        path: String,
        /// Reason of the system.
        reason: String,
    },
    /// The operating system or the object store did not answer in time.
    #[error("cannot {action} {path}: no answer within {after:?}")]
    Deadline {
        /// The operation.
        action: &'static str,
        /// The file or folder.
        path: String,
        /// Time that the call waited.
        after: Duration,
    },
    /// The record of the highest epoch is cut short or altered.
    #[error("{path} is damaged: {reason}; leadership epoch {epoch} counts as used")]
    Damaged {
        /// The file.
        path: String,
        /// Epoch by the file's name.
        epoch: u32,
        /// The damage.
        reason: String,
    },
    /// The record of the highest epoch is of another release.
    #[error(
        "{path} is of release {found}, and this program is {expected}: use the same release everywhere"
    )]
    OtherRelease {
        /// The file.
        path: String,
        /// Epoch of the record.
        epoch: u32,
        /// Release of the record.
        found: String,
        /// Release of this program.
        expected: String,
    },
    /// The record of the highest epoch is of another run.
    #[error("{path} is of run {found:?}, not of {expected:?}")]
    OtherRun {
        /// The file.
        path: String,
        /// Epoch of the record.
        epoch: u32,
        /// Run of the record.
        found: String,
        /// Run that the registry was opened for.
        expected: String,
    },
    /// The caller knows an epoch that the registry does not have.
    #[error(
        "{path} has leadership epoch {newest} as its highest, and {after} was seen before: the records of a run must stay"
    )]
    Unknown {
        /// The folder.
        path: String,
        /// Highest epoch of the registry.
        newest: u32,
        /// Epoch that the caller knows.
        after: u32,
    },
    /// No epoch is left.
    #[error("{path} has used all leadership epochs: begin a new run")]
    Exhausted {
        /// The folder.
        path: String,
    },
}

impl RegistryError {
    /// Epoch whose record is of no use; a candidate may acquire the epoch after it.
    pub fn epoch(&self) -> Option<u32> {
        match *self {
            RegistryError::Damaged { epoch, .. }
            | RegistryError::OtherRelease { epoch, .. }
            | RegistryError::OtherRun { epoch, .. } => Some(epoch),
            _ => None,
        }
    }
}
