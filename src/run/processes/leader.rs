//! The leader of a run, by the records in its directory.

use std::path::Path;

use super::ProcessError;
use super::lead::run_name;
use crate::net::registry::{LeaderRecord, Registry, StoreRegistry};

/// Returns the record of the last process that led the run in a directory, which may be lost; `None` if none did.
///
/// # Errors
/// [`ProcessError`] if the record cannot be read.
pub fn leader_of(path: &Path) -> Result<Option<LeaderRecord>, ProcessError> {
    if !path.is_dir() {
        return Ok(None);
    }
    let registry = StoreRegistry::open(path, run_name(path))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| ProcessError::Other(format!("no threads for files: {error}")))?;
    Ok(runtime.block_on(registry.current())?)
}
