//! Checkpoints, which are complete or absent.
//!
//! A checkpoint is two files in `RUN/checkpoints`: the tables, `epoch-000012.safetensors`, and a
//! manifest, `epoch-000012.json`, with the state of the run and the checksums of both files. Each
//! file is written under a temporary name, synced and renamed; the manifest comes last. So a
//! checkpoint exists if its manifest does, and a crash never damages the earlier checkpoints.

pub(crate) mod atomic_file;
pub(crate) mod container;
mod error;
mod manifest;
mod read;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use atomic_file::AtomicFile;
use error::stem;
pub use error::{CheckpointError, Fault};
use manifest::hex;
use read::{Tables, load, verify};

/// Shape of a table to write: `rows` × `width` values, row by row.
#[derive(Clone, Copy, Debug)]
pub struct TableShape<'a> {
    /// Name of the table in the file. "__metadata__" is reserved.
    pub name: &'a str,
    /// Number of rows.
    pub rows: usize,
    /// Values in a row.
    pub width: usize,
}

/// Values written at a time; a single row may have more.
const BLOCK: usize = 1 << 20;

/// Table read from a checkpoint, with the bits that were written.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Name of the table.
    pub name: String,
    /// Number of rows.
    pub rows: usize,
    /// Values in a row.
    pub width: usize,
    /// `rows` × `width` values, row by row.
    pub data: Vec<f32>,
}

/// Checkpoint whose checksums match. The tables stay on disk until they are read.
#[derive(Debug)]
pub struct Checkpoint<S> {
    /// Number of the checkpoint: the epoch that was running or just complete when it was written.
    pub epoch: u32,
    /// State of the run.
    pub state: S,
    tables: Tables,
}

impl<S> Checkpoint<S> {
    /// Returns the number of rows and the values in a row of table `name`.
    ///
    /// # Errors
    /// [`CheckpointError::NoTable`].
    pub fn shape(&self, name: &str) -> Result<(usize, usize), CheckpointError> {
        self.tables.shape(name).ok_or_else(|| self.no_table(name))
    }

    /// Reads table `name`.
    ///
    /// # Errors
    /// [`CheckpointError::NoTable`], or [`CheckpointError::Io`].
    pub fn table(&mut self, name: &str) -> Result<Table, CheckpointError> {
        let (rows, width) = self.shape(name)?;
        let mut data = Vec::new();
        self.read(name, 0..rows, &mut data)?;
        Ok(Table {
            name: name.to_owned(),
            rows,
            width,
            data,
        })
    }

    /// Reads successive rows of table `name`. Replaces the content of `out`.
    ///
    /// # Errors
    /// [`CheckpointError::NoTable`], or [`CheckpointError::Io`], also if the table does not have
    /// these rows.
    pub fn read(
        &mut self,
        name: &str,
        rows: Range<usize>,
        out: &mut Vec<f32>,
    ) -> Result<(), CheckpointError> {
        match self.tables.read(name, rows, out)? {
            true => Ok(()),
            false => Err(self.no_table(name)),
        }
    }

    fn no_table(&self, name: &str) -> CheckpointError {
        CheckpointError::NoTable {
            epoch: self.epoch,
            name: name.to_owned(),
        }
    }

    /// Names of the tables, ascending.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tables.names()
    }
}

/// Writes a checkpoint, creating `RUN/checkpoints`, and returns the path of the manifest. Replaces
/// a checkpoint of the same epoch. Other checkpoints stay; see [`prune`].
///
/// `values` is called with the index of a table, a range of rows, and a buffer, and replaces the
/// content of the buffer by these rows. The calls cover all tables in order, some rows at a time,
/// so that no table need be in memory as a whole. The state becomes JSON, which has no NaN and no
/// infinities: hold such a value as an `Option`.
///
/// # Errors
/// [`CheckpointError::Unwritable`] if the values of a table do not fill its shape or its name is
/// taken, [`CheckpointError::State`] if the state cannot be written as JSON,
/// [`CheckpointError::Io`], and the errors of `values`. No file is left behind.
pub fn write<S: Serialize, E: From<CheckpointError>>(
    run: &Path,
    epoch: u32,
    state: &S,
    tables: &[TableShape],
    mut values: impl FnMut(usize, Range<usize>, &mut Vec<f32>) -> Result<(), E>,
) -> Result<PathBuf, E> {
    check(epoch, tables)?;
    let data_path = data_path(run, epoch);
    let manifest_path = manifest_path(run, epoch);
    let folder = atomic_file::folder(&data_path);
    fs::create_dir_all(folder).map_err(CheckpointError::io("create", folder))?;

    let no_json = |source| CheckpointError::State { epoch, source };
    let shapes = tables
        .iter()
        .map(|table| (table.name, table.rows, table.width));
    let header = container::header(&BTreeMap::new(), Dtype::F32, shapes).map_err(no_json)?;
    let mut hasher = Sha256::new();
    let mut bytes = 0;
    let mut data =
        AtomicFile::create(&data_path).map_err(CheckpointError::io("write", &data_path))?;
    let mut put = |part: &[u8]| {
        // Pieces that stay in the cache between the hasher and the file.
        for piece in part.chunks(1 << 18) {
            hasher.update(piece);
            bytes += piece.len() as u64;
            data.write_all(piece)
                .map_err(CheckpointError::io("write", &data_path))?;
        }
        Ok::<_, CheckpointError>(())
    };
    put(&header)?;
    let mut block = Vec::new();
    for (number, table) in tables.iter().enumerate() {
        let rows_each = (BLOCK / table.width.max(1)).max(1);
        for first in (0..table.rows).step_by(rows_each) {
            let rows = first..table.rows.min(first + rows_each);
            let expected = rows.len() * table.width;
            values(number, rows, &mut block)?;
            if block.len() != expected {
                let found = block.len();
                let reason = format!("has {found} values where its shape has {expected}");
                return Err(unwritable(epoch, table, reason).into());
            }
            put(bytemuck::cast_slice(&block))?;
        }
    }
    let text = manifest::seal(epoch, file_name(epoch), bytes, hex(hasher), state);
    let text = text.map_err(no_json)?;

    let put = |mut file: AtomicFile, path: &Path| {
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync());
        written.map_err(CheckpointError::io("write", path))?;
        Ok(file)
    };
    let manifest =
        AtomicFile::create(&manifest_path).map_err(CheckpointError::io("write", &manifest_path))?;
    let manifest = put(manifest, &manifest_path)?;
    data.sync()
        .map_err(CheckpointError::io("write", &data_path))?;
    // A crash here must not leave an older manifest with newer tables.
    remove(&manifest_path)?;
    data.commit()
        .map_err(CheckpointError::io("write", &data_path))?;
    manifest
        .commit()
        .map_err(CheckpointError::io("write", &manifest_path))?;
    Ok(manifest_path)
}

/// Returns the epochs that have a manifest, ascending; none if the run does not have a folder yet.
///
/// # Errors
/// [`CheckpointError::Io`].
pub fn list(run: &Path) -> Result<Vec<u32>, CheckpointError> {
    let mut epochs: Vec<u32> = names(run)?
        .iter()
        .filter_map(|name| epoch_of(name, "json"))
        .collect();
    epochs.sort_unstable();
    Ok(epochs)
}

/// Reads the checkpoint of an epoch, after both checksums have been compared.
///
/// # Errors
/// [`CheckpointError::Absent`], [`CheckpointError::Damaged`] with the newest earlier checkpoint
/// that is intact, or [`CheckpointError::Io`].
pub fn read<S: DeserializeOwned>(run: &Path, epoch: u32) -> Result<Checkpoint<S>, CheckpointError> {
    let available = list(run)?;
    if !available.contains(&epoch) {
        return Err(CheckpointError::Absent {
            run: run.to_owned(),
            epoch,
            available,
        });
    }
    load(run, epoch)?.map_err(|fault| {
        let mut earlier = available.into_iter().rev().filter(|&other| other < epoch);
        CheckpointError::Damaged {
            run: run.to_owned(),
            epoch,
            fault,
            intact: earlier.find(|&other| matches!(verify(run, other), Ok(Ok(_)))),
        }
    })
}

/// Reads the newest checkpoint. A damaged one is an error, not skipped.
///
/// # Errors
/// [`CheckpointError::NoCheckpoint`], or the errors of [`read`].
pub fn read_latest<S: DeserializeOwned>(run: &Path) -> Result<Checkpoint<S>, CheckpointError> {
    match list(run)?.last() {
        Some(&epoch) => read(run, epoch),
        None => Err(CheckpointError::NoCheckpoint {
            run: run.to_owned(),
        }),
    }
}

/// Removes every checkpoint except those of the epochs in `keep`, and the files of unfinished
/// writes. Returns the removed epochs, ascending. No other thread may write to the same run
/// meanwhile.
///
/// # Errors
/// [`CheckpointError::Io`]. Checkpoints removed before the error stay removed.
pub fn prune(run: &Path, keep: &[u32]) -> Result<Vec<u32>, CheckpointError> {
    let names = names(run)?;
    let kept: BTreeSet<u32> = keep.iter().copied().collect();
    let (whole, mut removed) = list(run)?
        .into_iter()
        .partition::<Vec<u32>, _>(|epoch| kept.contains(epoch));
    // Manifests first: tables without one are not a checkpoint.
    for &epoch in &removed {
        remove(&manifest_path(run, epoch))?;
    }
    for name in &names {
        let stray = name.starts_with(atomic_file::PREFIX) && name.ends_with(atomic_file::SUFFIX);
        let orphan = epoch_of(name, "safetensors").is_some_and(|epoch| !whole.contains(&epoch));
        if stray || orphan {
            remove(&folder(run).join(name))?;
        }
    }
    removed.sort_unstable();
    Ok(removed)
}

fn folder(run: &Path) -> PathBuf {
    run.join("checkpoints")
}

fn file_name(epoch: u32) -> String {
    format!("{}.safetensors", stem(epoch))
}

fn data_path(run: &Path, epoch: u32) -> PathBuf {
    folder(run).join(file_name(epoch))
}

fn manifest_path(run: &Path, epoch: u32) -> PathBuf {
    folder(run).join(format!("{}.json", stem(epoch)))
}

/// Returns the epoch in the name of a checkpoint's file.
fn epoch_of(name: &str, extension: &str) -> Option<u32> {
    let epoch = name.strip_prefix("epoch-")?.strip_suffix(extension)?;
    let epoch = epoch.strip_suffix('.')?.parse().ok()?;
    (name == format!("{}.{extension}", stem(epoch))).then_some(epoch)
}

/// Returns the names of the files in the folder of checkpoints.
fn names(run: &Path) -> Result<Vec<String>, CheckpointError> {
    let folder = folder(run);
    let names = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.and_then(|mut entries| {
            entries.try_fold(Vec::new(), |mut names, entry| {
                names.extend(entry?.file_name().into_string().ok());
                Ok(names)
            })
        }),
    };
    names.map_err(CheckpointError::io("list", &folder))
}

/// Removes a file and syncs the folder. A missing file is not an error.
fn remove(path: &Path) -> Result<(), CheckpointError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        removed => removed.and_then(|()| atomic_file::sync_folder(atomic_file::folder(path))),
    }
    .map_err(CheckpointError::io("remove", path))
}

fn check(epoch: u32, tables: &[TableShape]) -> Result<(), CheckpointError> {
    let mut seen = BTreeSet::from(["__metadata__"]);
    let mut bytes = Some(0usize);
    for table in tables {
        let TableShape { name, rows, width } = *table;
        let size = (rows.checked_mul(width)).and_then(|values| values.checked_mul(4));
        bytes = bytes
            .zip(size)
            .and_then(|(all, size)| all.checked_add(size));
        let reason = if !seen.insert(name) {
            "has a name that is taken".to_owned()
        } else if bytes.is_none() {
            format!("is {rows} × {width}, which no file can hold")
        } else {
            continue;
        };
        return Err(unwritable(epoch, table, reason));
    }
    Ok(())
}

fn unwritable(epoch: u32, table: &TableShape, reason: String) -> CheckpointError {
    CheckpointError::Unwritable {
        epoch,
        name: table.name.to_owned(),
        reason,
    }
}
