//! The manifest of a checkpoint: the state of the run, and checksums of the checkpoint's two files.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Fault;

const VERSION: u32 = 1;
/// Value of the seal while the checksum is computed.
const UNSEALED: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Manifest of a checkpoint. The fields are in the file's order.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Manifest<S = serde_json::Value> {
    version: u32,
    /// SHA-256 of this file with 64 zeros in place of the seal. The seal precedes the state, so
    /// that its digits occur here first.
    seal: String,
    epoch: u32,
    /// Name of the file with the tables.
    pub(super) file: String,
    /// Length of that file, in bytes.
    pub(super) bytes: u64,
    /// SHA-256 of that file, in hexadecimal.
    pub(super) sha256: String,
    /// State of the run.
    pub(super) state: S,
}

/// Returns the text of a manifest, sealed.
pub(super) fn seal<S: Serialize>(
    epoch: u32,
    file: String,
    bytes: u64,
    sha256: String,
    state: &S,
) -> Result<String, serde_json::Error> {
    let manifest = Manifest {
        version: VERSION,
        seal: UNSEALED.to_owned(),
        epoch,
        file,
        bytes,
        sha256,
        state,
    };
    let text = serde_json::to_string_pretty(&manifest)? + "\n";
    let seal = hex(Sha256::new_with_prefix(&text));
    Ok(text.replacen(UNSEALED, &seal, 1))
}

/// Parses a manifest and checks its version, its seal, its epoch and the name of its file.
pub(super) fn open(text: &[u8], epoch: u32, file: &str) -> Result<Manifest, Fault> {
    let unreadable = |error: &dyn std::fmt::Display| Fault::Manifest(error.to_string());
    let text = std::str::from_utf8(text).map_err(|e| unreadable(&e))?;
    // Another version may have other fields and another seal.
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let Version { version } = serde_json::from_str(text).map_err(|e| unreadable(&e))?;
    if version != VERSION {
        return Err(Fault::Version {
            expected: VERSION,
            found: version,
        });
    }
    let manifest: Manifest = serde_json::from_str(text).map_err(|e| unreadable(&e))?;
    let found = hex(Sha256::new_with_prefix(text.replacen(
        &manifest.seal,
        UNSEALED,
        1,
    )));
    if found != manifest.seal {
        return Err(Fault::Seal {
            expected: manifest.seal,
            found,
        });
    }
    if manifest.epoch != epoch || manifest.file != file {
        return Err(unreadable(&format_args!(
            "it is of epoch {} and {}",
            manifest.epoch, manifest.file
        )));
    }
    Ok(manifest)
}

/// Returns the digest in hexadecimal.
pub(super) fn hex(hasher: Sha256) -> String {
    hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
