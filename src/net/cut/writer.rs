//! Writes the file of a shard, in parts of any size.

use std::io::{self, Write};
use std::path::PathBuf;

use half::f16;
use half::slice::HalfFloatSliceExt;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::shard_file::{self, Attempt, BLOCK, Digest, ShardFile, ShardShape, value_bytes};
use super::{CutError, Cuts};
use crate::checkpoint::atomic_file::AtomicFile;
use crate::ids::{Incarnation, Step};
use crate::value_type::ValueType;

/// Values that are narrowed at once.
const NARROWED: usize = 1 << 14;

/// Place of the bytes.
enum Target {
    File(Box<AtomicFile>),
    /// Nowhere: only the digest is wanted.
    Nothing,
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Target::File(file) => file.write(bytes),
            Target::Nothing => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writer of a shard's file. The file gets its name in [`ShardWriter::finish`]; a writer that is dropped before
/// leaves nothing behind. Calls block on the disk.
pub struct ShardWriter {
    target: Target,
    path: PathBuf,
    name: String,
    shape: ShardShape,
    /// XXH3 of the current block so far, and its bytes.
    hasher: Xxh3,
    in_block: usize,
    digests: Vec<u64>,
    bytes: u64,
    /// Bytes of values that have been written.
    values: u64,
    narrowed: Vec<f16>,
}

impl std::fmt::Debug for ShardWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShardWriter")
            .field("path", &self.path)
            .field("shape", &self.shape)
            .field("values", &self.values)
            .finish_non_exhaustive()
    }
}

impl Cuts {
    /// Begins the file of a shard. Creates the folder of the cut, but not the run's directory.
    ///
    /// # Errors
    /// [`CutError::Unwritable`] if no file can hold the shape; [`CutError::Full`] and [`CutError::Io`].
    pub fn writer(&self, attempt: &Attempt, shape: ShardShape) -> Result<ShardWriter, CutError> {
        let folder = self.create_folder(attempt.step)?;
        let name = attempt.file_name(shape.shard);
        let path = folder.join(&name);
        let file = AtomicFile::create(&path).map_err(CutError::io("write", &path))?;
        let target = Target::File(Box::new(file));
        ShardWriter::begin(target, path, name, self.run(), attempt.step, shape)
    }
}

impl ShardWriter {
    /// Makes a writer that computes the digest of the file of a shard and writes nothing.
    ///
    /// # Errors
    /// [`CutError::Unwritable`] if no file can hold the shape.
    pub fn digest_only(run: &str, step: Step, shape: ShardShape) -> Result<ShardWriter, CutError> {
        let name = shape.shard.to_string();
        let path = PathBuf::from(&name);
        ShardWriter::begin(Target::Nothing, path, name, run, step, shape)
    }

    fn begin(
        target: Target,
        path: PathBuf,
        name: String,
        run: &str,
        step: Step,
        shape: ShardShape,
    ) -> Result<ShardWriter, CutError> {
        let Some(header) = shard_file::header(run, step, &shape) else {
            let reason = format!(
                "no file can hold {} rows of {:?}",
                shape.rows,
                shape.columns()
            );
            let path = path.display().to_string();
            return Err(CutError::Unwritable { path, reason });
        };
        let mut writer = ShardWriter {
            target,
            path,
            name,
            shape,
            hasher: Xxh3::new(),
            in_block: 0,
            digests: Vec::new(),
            bytes: 0,
            values: 0,
            narrowed: Vec::new(),
        };
        writer.put(&header)?;
        Ok(writer)
    }

    /// Shape of the shard.
    pub fn shape(&self) -> &ShardShape {
        &self.shape
    }

    /// Appends bytes of the columns, as [`ShardReader::chunk`](super::ShardReader::chunk) yields them. Parts may end
    /// anywhere.
    ///
    /// # Errors
    /// [`CutError::Values`] for more bytes than the shape has; [`CutError::Full`] and [`CutError::Io`].
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), CutError> {
        let after = self.values + bytes.len() as u64;
        if after > self.shape.bytes() {
            return Err(self.wrong(after));
        }
        self.values = after;
        self.put(bytes)
    }

    /// Appends values of the columns. A column of binary16 rounds to the nearest; values that came from binary16
    /// keep their bits, NaN excepted.
    ///
    /// # Errors
    /// [`CutError::Values`] for more values than the shape has; [`CutError::Full`] and [`CutError::Io`].
    pub fn values(&mut self, mut values: &[f32]) -> Result<(), CutError> {
        while !values.is_empty() {
            let Some((value_type, left)) = self.column() else {
                let found = self.values + size_of_val(values) as u64;
                return Err(self.wrong(found));
            };
            let here = usize::try_from(left / value_bytes(value_type)).unwrap_or(usize::MAX);
            let (here, rest) = values.split_at(here.min(values.len()));
            match value_type {
                ValueType::F32 => self.bytes(bytemuck::cast_slice(here))?,
                ValueType::F16 => {
                    for part in here.chunks(NARROWED) {
                        let mut narrowed = std::mem::take(&mut self.narrowed);
                        narrowed.resize(part.len(), f16::ZERO);
                        narrowed.convert_from_f32_slice(part);
                        let written = self.bytes(bytemuck::cast_slice(&narrowed));
                        self.narrowed = narrowed;
                        written?;
                    }
                }
            }
            values = rest;
        }
        Ok(())
    }

    /// Ends the file: syncs it and gives it its name. Returns the file's record for the manifest.
    ///
    /// # Errors
    /// [`CutError::Values`] if values are missing; [`CutError::Full`] and [`CutError::Io`]. No file is left then.
    pub fn finish(mut self, holder: Incarnation) -> Result<ShardFile, CutError> {
        if self.values != self.shape.bytes() {
            return Err(self.wrong(self.values));
        }
        if self.in_block > 0 {
            self.end_block();
        }
        let digests: &[u8] = bytemuck::cast_slice(&self.digests);
        let failed = CutError::io("write", &self.path);
        let digest = Digest(xxh3_64(digests));
        let written = self.target.write_all(digests);
        let bytes = self.bytes + digests.len() as u64;
        let committed = written.and_then(|()| match self.target {
            Target::File(file) => file.commit(),
            Target::Nothing => Ok(()),
        });
        committed.map_err(failed)?;
        Ok(ShardFile {
            shard: self.shape.shard,
            holder,
            file: self.name,
            bytes,
            digest,
        })
    }

    /// Type of the column that comes next, and bytes that it has left.
    fn column(&self) -> Option<(ValueType, u64)> {
        let mut end = 0;
        for column in self.shape.columns() {
            end += self.shape.column_bytes(column);
            if self.values < end {
                return Some((column.value_type, end - self.values));
            }
        }
        None
    }

    fn wrong(&self, found: u64) -> CutError {
        CutError::Values {
            path: self.path.display().to_string(),
            expected: self.shape.bytes(),
            found,
        }
    }

    fn put(&mut self, mut bytes: &[u8]) -> Result<(), CutError> {
        while !bytes.is_empty() {
            let here = (BLOCK - self.in_block).min(bytes.len());
            let (part, rest) = bytes.split_at(here);
            self.hasher.update(part);
            self.target
                .write_all(part)
                .map_err(CutError::io("write", &self.path))?;
            self.bytes += part.len() as u64;
            self.in_block += part.len();
            if self.in_block == BLOCK {
                self.end_block();
            }
            bytes = rest;
        }
        Ok(())
    }

    fn end_block(&mut self) {
        self.digests.push(self.hasher.digest());
        self.hasher.reset();
        self.in_block = 0;
    }
}
