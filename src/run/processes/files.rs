//! The files of a run that a node needs, from the leader.

use std::time::Duration;

use super::ProcessError;
use crate::cluster::messages::{Opening, send};
use crate::net::transport::Dialer;
use crate::net::{Channel, Kind, NetError};

/// Longest wait for the next part of a file.
const LIMIT: Duration = Duration::from_secs(10);

/// Fetches the files of a run to a temporary directory.
pub(super) async fn fetch_run(
    dialer: &Dialer,
    address: &str,
) -> Result<tempfile::TempDir, ProcessError> {
    let directory = tempfile::tempdir().map_err(|error| {
        ProcessError::Other(format!("no directory for the files of the run: {error}"))
    })?;
    let mut stream = dialer.open(address, Channel::Session, LIMIT).await?;
    send(&stream.sender, &Opening::Files, LIMIT).await?;
    let mut file: Option<(std::path::PathBuf, std::fs::File)> = None;
    loop {
        let refused = |reason: String| NetError::Refused {
            peer: address.to_owned(),
            reason,
        };
        let Some(frame) = stream.receiver.receive(LIMIT).await? else {
            return match file {
                Some(_) => Ok(directory),
                None => Err(refused("it does not lead a run".to_owned()).into()),
            };
        };
        match frame.header.kind {
            Kind::Refused => {
                let reason = String::from_utf8_lossy(&frame.payload).into_owned();
                return Err(refused(reason).into());
            }
            // The name of the next file.
            Kind::Control => {
                let name = String::from_utf8_lossy(&frame.payload).into_owned();
                if !crate::run::NODE_FILES.contains(&name.as_str()) {
                    return Err(refused(format!("it sent a file {name:?}")).into());
                }
                let path = directory.path().join(name);
                let created = std::fs::File::create(&path);
                let created = created.map_err(super::super::RunError::io("write", &path))?;
                file = Some((path, created));
            }
            Kind::Data => {
                let (path, file) = file
                    .as_mut()
                    .ok_or_else(|| refused("it sent a part of no file".to_owned()))?;
                let written = std::io::Write::write_all(file, &frame.payload);
                written.map_err(super::super::RunError::io("write", path))?;
            }
            kind => return Err(refused(format!("it sent {kind:?} for a file")).into()),
        }
    }
}
