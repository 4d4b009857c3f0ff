//! Reading a checkpoint: every byte is verified before any value is used.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::manifest::{self, Manifest, hex};
use super::{Checkpoint, CheckpointError, Fault, container, data_path, file_name, manifest_path};

/// Returns the manifest of a checkpoint whose checksums match, or the damage.
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

/// Verifies a checkpoint, then reads it. No length is used before the checksums match.
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
    match Tables::open(file, path.clone(), manifest.bytes) {
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

/// Open file of tables. Stays readable if the file is removed meanwhile.
#[derive(Debug)]
pub(super) struct Tables {
    file: File,
    path: PathBuf,
    /// The tables by name.
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    rows: usize,
    width: usize,
    /// Offset of the first value in the file, in bytes.
    at: u64,
}

impl Tables {
    /// Reads the header, but no values.
    fn open(mut file: File, path: PathBuf, bytes: u64) -> io::Result<Tables> {
        let header = container::read_header(BufReader::new(&mut file), bytes)?;
        let first = bytes - header.data_len() as u64;
        let mut entries = BTreeMap::new();
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
            let at = first + info.data_offsets.0 as u64;
            entries.insert(name, Entry { rows, width, at });
        }
        Ok(Tables {
            file,
            path,
            entries,
        })
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Returns the number of rows and the width of table `name`, if the file has it.
    pub fn shape(&self, name: &str) -> Option<(usize, usize)> {
        self.entries
            .get(name)
            .map(|table| (table.rows, table.width))
    }

    /// Reads rows of table `name`. Returns false if the file does not have the table.
    pub fn read(
        &mut self,
        name: &str,
        rows: Range<usize>,
        out: &mut Vec<f32>,
    ) -> Result<bool, CheckpointError> {
        let Some(&Entry {
            rows: all,
            width,
            at,
        }) = self.entries.get(name)
        else {
            return Ok(false);
        };
        // The check of the header has multiplied rows and width without overflow.
        let read = if rows.end > all {
            Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("table {name:?} has {all} rows, not {}", rows.end),
            ))
        } else {
            out.resize(rows.len() * width, 0.0);
            let first = at + (rows.start * width * size_of::<f32>()) as u64;
            let bytes = bytemuck::cast_slice_mut(out);
            let sought = self.file.seek(SeekFrom::Start(first));
            sought.and_then(|_| self.file.read_exact(bytes))
        };
        read.map_err(CheckpointError::io("read", &self.path))?;
        Ok(true)
    }
}
