//! Reads the file of a shard, in parts; every byte is checked before it is handed out.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use half::f16;
use half::slice::HalfFloatSliceExt;
use xxhash_rust::xxh3::xxh3_64;

use super::shard_file::{self, BLOCK, Digest, ShardFile, ShardShape, value_bytes};
use super::{CutError, CutFault};
use crate::checkpoint::container;
use crate::kernel::Column;
use crate::value_type::ValueType;

/// Reader of a shard's file, from the first value to the last. The file stays readable if the cut is removed
/// meanwhile. Calls block on the disk.
#[derive(Debug)]
pub struct ShardReader {
    file: File,
    path: PathBuf,
    shape: ShardShape,
    digests: Vec<u64>,
    /// Bytes before the digests.
    end: u64,
    /// The current block, and the position of the next byte in it.
    block: Vec<u8>,
    at: usize,
    /// Number of blocks that were read.
    blocks: usize,
    /// Bytes of values that were handed out.
    values: u64,
    halves: Vec<f16>,
    /// Whether the last frame was made.
    sent: bool,
}

impl ShardReader {
    /// Opens the file that a manifest names. Checks the file's length, the digests of its blocks, and its origin.
    pub(super) fn open(
        path: &Path,
        record: &ShardFile,
        origin: &str,
    ) -> Result<ShardReader, CutError> {
        let damaged = |fault| CutError::damaged(path, fault);
        let failed = || CutError::io("read", path);
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(damaged(CutFault::Missing));
            }
            opened => opened.map_err(failed())?,
        };
        let (expected, found) = (record.bytes, file.metadata().map_err(failed())?.len());
        if expected != found {
            return Err(damaged(CutFault::Length { expected, found }));
        }
        let Some((end, count)) = shard_file::split_length(found) else {
            let fault = CutFault::Content(format!("no file of a shard has {found} bytes"));
            return Err(damaged(fault));
        };
        let mut reader = ShardReader {
            file,
            path: path.to_owned(),
            shape: ShardShape::new(record.shard, 0, []),
            digests: vec![0; count as usize],
            end,
            block: Vec::new(),
            at: 0,
            blocks: 0,
            values: 0,
            halves: Vec::new(),
            sent: false,
        };
        let bytes = bytemuck::cast_slice_mut(&mut reader.digests);
        let sought = reader.file.seek(SeekFrom::Start(end));
        let read = sought.and_then(|_| reader.file.read_exact(bytes));
        read.map_err(failed())?;
        compare("the list of its digests", record.digest, bytes).map_err(damaged)?;
        let start = reader.file.seek(SeekFrom::Start(0));
        start.map_err(failed())?;

        let header = container::read_header(&mut Header(&mut reader), found);
        let header = header.map_err(|error| match error.get_ref() {
            // The reader's own failures travel as they are.
            Some(inner) => match inner.downcast_ref::<CutError>() {
                Some(error) => error.clone(),
                None => damaged(CutFault::Content(inner.to_string())),
            },
            None => damaged(CutFault::Content(error.to_string())),
        })?;
        let parts = shard_file::parts(&header, found, origin, record.shard).map_err(damaged)?;
        reader.shape = parts;
        Ok(reader)
    }

    /// Shape of the shard.
    pub fn shape(&self) -> &ShardShape {
        &self.shape
    }

    /// Returns the next bytes of the columns, at most `most`, which is not 0; `None` at the end.
    ///
    /// # Errors
    /// [`CutError::Damaged`] and [`CutError::Io`].
    pub fn chunk(&mut self, most: usize) -> Result<Option<&[u8]>, CutError> {
        if self.is_at_end() {
            return Ok(None);
        }
        self.next_block()?;
        let here = most.min(self.block.len() - self.at);
        self.values += here as u64;
        self.at += here;
        Ok(Some(&self.block[self.at - here..self.at]))
    }

    /// Reads the next `count` values of a column, widened to `f32`. Replaces the content of `out`.
    ///
    /// # Errors
    /// [`CutError::Values`] if the column has fewer values left; [`CutError::Damaged`] and [`CutError::Io`].
    pub fn values(&mut self, count: usize, out: &mut Vec<f32>) -> Result<(), CutError> {
        out.clear();
        if count == 0 {
            return Ok(());
        }
        let (value_type, left) = self.column();
        let bytes = (count as u64).saturating_mul(value_bytes(value_type));
        if bytes > left {
            return Err(CutError::Values {
                path: self.path.display().to_string(),
                expected: self.values + bytes,
                found: self.values + left,
            });
        }
        out.resize(count, 0.0);
        match value_type {
            ValueType::F32 => self.fill(bytemuck::cast_slice_mut(out)),
            ValueType::F16 => {
                let mut halves = std::mem::take(&mut self.halves);
                halves.resize(count, f16::ZERO);
                let filled = self.fill(bytemuck::cast_slice_mut(&mut halves));
                halves.convert_to_f32_slice(out);
                self.halves = halves;
                filled
            }
        }
    }

    /// Continues with a row of a column. Returns false, and changes nothing, if the file does not have the column.
    ///
    /// # Errors
    /// [`CutError::Values`] if the column has fewer rows; [`CutError::Damaged`] and [`CutError::Io`].
    pub fn start_at(&mut self, column: Column, row: usize) -> Result<bool, CutError> {
        let mut before = 0;
        for shape in self.shape.columns() {
            let bytes = self.shape.column_bytes(shape);
            if shape.column != column {
                before += bytes;
                continue;
            }
            let each = bytes / (self.shape.rows.max(1) as u64);
            if row > self.shape.rows {
                return Err(CutError::Values {
                    path: self.path.display().to_string(),
                    expected: row as u64 * each,
                    found: bytes,
                });
            }
            self.values = before + row as u64 * each;
            let at = self.end - self.shape.bytes() + self.values;
            self.blocks = (at / BLOCK as u64) as usize;
            self.block.clear();
            self.at = 0;
            let start = SeekFrom::Start((self.blocks * BLOCK) as u64);
            let sought = self.file.seek(start);
            sought.map_err(CutError::io("read", &self.path))?;
            if !self.is_at_end() {
                self.next_block()?;
                self.at = (at % BLOCK as u64) as usize;
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// Reads to the end, so that every byte is checked.
    ///
    /// # Errors
    /// [`CutError::Damaged`] and [`CutError::Io`].
    pub fn verify(mut self) -> Result<(), CutError> {
        while self.chunk(BLOCK)?.is_some() {}
        Ok(())
    }

    /// Whether all values have been handed out.
    pub(super) fn is_at_end(&self) -> bool {
        self.values == self.shape.bytes()
    }

    pub(super) fn is_sent(&self) -> bool {
        self.sent
    }

    pub(super) fn set_sent(&mut self, sent: bool) {
        self.sent = sent;
    }

    fn fill(&mut self, mut out: &mut [u8]) -> Result<(), CutError> {
        while !out.is_empty() {
            let Some(chunk) = self.chunk(out.len())? else {
                return Err(CutError::damaged(&self.path, CutFault::Missing));
            };
            let (here, rest) = out.split_at_mut(chunk.len());
            here.copy_from_slice(chunk);
            out = rest;
        }
        Ok(())
    }

    /// Type of the column that comes next, and bytes that it has left.
    fn column(&self) -> (ValueType, u64) {
        let mut end = 0;
        for column in self.shape.columns() {
            end += self.shape.column_bytes(column);
            if self.values < end {
                return (column.value_type, end - self.values);
            }
        }
        (ValueType::F32, 0)
    }

    /// Reads and checks the next block, if the current one is used up.
    fn next_block(&mut self) -> Result<(), CutError> {
        if self.at < self.block.len() {
            return Ok(());
        }
        let first = (self.blocks * BLOCK) as u64;
        let length = (self.end - first).min(BLOCK as u64) as usize;
        self.block.resize(length, 0);
        self.file
            .read_exact(&mut self.block)
            .map_err(CutError::io("read", &self.path))?;
        let expected = Digest(self.digests[self.blocks]);
        compare(&format!("the block at byte {first}"), expected, &self.block)
            .map_err(|fault| CutError::damaged(&self.path, fault))?;
        self.blocks += 1;
        self.at = 0;
        Ok(())
    }
}

/// The checked bytes of a file before its first value.
struct Header<'a>(&'a mut ShardReader);

impl Read for Header<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let reader = &mut self.0;
        if reader.at == reader.block.len() && reader.blocks == reader.digests.len() {
            return Ok(0);
        }
        reader.next_block().map_err(io::Error::other)?;
        let here = out.len().min(reader.block.len() - reader.at);
        out[..here].copy_from_slice(&reader.block[reader.at..reader.at + here]);
        reader.at += here;
        Ok(here)
    }
}

/// Compares the digest of bytes with the one that they should have.
fn compare(part: &str, expected: Digest, bytes: &[u8]) -> Result<(), CutFault> {
    let found = Digest(xxh3_64(bytes));
    match found == expected {
        true => Ok(()),
        false => Err(CutFault::Digest {
            part: part.to_owned(),
            expected: expected.to_string(),
            found: found.to_string(),
        }),
    }
}
