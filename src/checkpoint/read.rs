//! Reading a checkpoint: first every byte is verified, then any is believed.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::Path;

use safetensors::Dtype;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::manifest::{self, Manifest, hex};
use super::{
    Checkpoint, CheckpointError, Fault, Table, container, data_path, file_name, manifest_path,
};

/// The manifest of a checkpoint whose checksums match, or what is wrong.
pub(super) fn verify(run: &Path, epoch: u32) -> Result<Result<Manifest, Fault>, CheckpointError> {
    let path = manifest_path(run, epoch);
    let text = fs::read(&path).map_err(CheckpointError::io("read", &path))?;
    let manifest = match manifest::open(&text, epoch, &file_name(epoch)) {
        Ok(manifest) => manifest,
        Err(fault) => return Ok(Err(fault)),
    };
    let path = data_path(run, epoch);
    let file = manifest.file.clone();
    let mut data = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Err(Fault::Missing { file }));
        }
        opened => opened.map_err(CheckpointError::io("read", &path))?,
    };
    let found = data
        .metadata()
        .map_err(CheckpointError::io("read", &path))?;
    if found.len() != manifest.bytes {
        return Ok(Err(Fault::Length {
            file,
            expected: manifest.bytes,
            found: found.len(),
        }));
    }
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 1 << 18];
    loop {
        match data.read(&mut piece) {
            Ok(0) => break,
            Ok(n) => hasher.update(&piece[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(CheckpointError::io("read", &path)(error)),
        }
    }
    let found = hex(hasher);
    Ok(match found == manifest.sha256 {
        true => Ok(manifest),
        false => Err(Fault::Checksum {
            file,
            expected: manifest.sha256,
            found,
        }),
    })
}

/// Verifies a checkpoint, then reads it: no length is believed before the checksums match.
pub(super) fn load<S: DeserializeOwned>(
    run: &Path,
    epoch: u32,
) -> Result<Result<Checkpoint<S>, Fault>, CheckpointError> {
    let manifest = match verify(run, epoch)? {
        Ok(manifest) => manifest,
        Err(fault) => return Ok(Err(fault)),
    };
    let state = match serde_json::from_value(manifest.state) {
        Ok(state) => state,
        Err(error) => return Ok(Err(Fault::State(error.to_string()))),
    };
    let path = data_path(run, epoch);
    let file = File::open(&path).map_err(CheckpointError::io("read", &path))?;
    match read_tables(BufReader::new(file), manifest.bytes) {
        Ok(tables) => Ok(Ok(Checkpoint {
            epoch,
            state,
            tables,
        })),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Err(Fault::Tables {
            file: manifest.file,
            reason: error.to_string(),
        })),
        Err(error) => Err(CheckpointError::io("read", &path)(error)),
    }
}

fn read_tables(mut file: impl Read, bytes: u64) -> io::Result<Vec<Table>> {
    let header = container::read_header(&mut file, bytes)?;
    let mut tables = Vec::new();
    for name in header.offset_keys() {
        let Some(info) = header.info(&name) else {
            continue;
        };
        let (Dtype::F32, &[rows, width]) = (info.dtype, &info.shape[..]) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "table {name:?} has shape {:?} of {:?}, not rows × width of F32",
                    info.shape, info.dtype
                ),
            ));
        };
        // The header's own check has multiplied these without overflow.
        let mut data = vec![0.0; rows * width];
        file.read_exact(bytemuck::cast_slice_mut(&mut data))?;
        tables.push(Table {
            name,
            rows,
            width,
            data,
        });
    }
    tables.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tables)
}
