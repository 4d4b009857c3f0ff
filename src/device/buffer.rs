//! Buffers, and the ways of bytes in and out of them.

use std::{
    collections::VecDeque,
    sync::{Mutex, mpsc},
};

use bytemuck::Pod;
use wgpu::{Buffer, BufferSize, BufferUsages, COPY_BUFFER_ALIGNMENT as WORD, MapMode};

use super::{
    DeviceError, Gpu,
    gpu::{lock, uncaptured},
};

/// Transfers go in pieces of at most this many bytes, of which [`IN_FLIGHT`] are under way, so
/// that moving a table needs little memory besides the table's own.
const CHUNK: u64 = 32 << 20;
const IN_FLIGHT: usize = 2;

/// Transfers between host and device, shared by all threads.
#[derive(Default)]
pub(super) struct Staging {
    /// Read-back buffers waiting for reuse.
    free: Mutex<Vec<Buffer>>,
    written: Mutex<Written>,
}

/// Writes that the device may not have taken over yet; wgpu holds a copy of each until then.
#[derive(Default)]
struct Written {
    bytes: u64,
    under_way: VecDeque<wgpu::SubmissionIndex>,
}

/// A piece of a read under way: its staging buffer, what wgpu will say of the mapping, and
/// how much of the destination it fills.
struct Piece {
    staging: Buffer,
    submission: wgpu::SubmissionIndex,
    mapped: mpsc::Receiver<Result<(), wgpu::BufferAsyncError>>,
    /// Bytes to skip: copies start at whole words.
    skip: usize,
    bytes: usize,
}

impl Gpu {
    /// Makes a zeroed buffer. Its size is rounded up to whole four-byte words, at least one.
    ///
    /// # Errors
    /// [`DeviceError::NeverFits`] if larger than any buffer of this adapter may be;
    /// [`DeviceError::Full`] if there is no room now, after which the device lives on;
    /// [`DeviceError::Lost`].
    pub fn buffer(
        &self,
        label: &str,
        bytes: u64,
        usage: BufferUsages,
    ) -> Result<Buffer, DeviceError> {
        let limit = self.limits().max_buffer_size;
        if bytes > limit {
            return Err(never_fits(label, bytes, limit, "the largest buffer"));
        }
        self.0.tally.buffers.add(1);
        let made = self.guarded(|| {
            self.device().create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size: bytes.next_multiple_of(WORD).max(WORD),
                usage,
                mapped_at_creation: false,
            })
        });
        // A lost device raises no error there.
        self.notice_loss()?;
        made.map_err(|error| match error {
            wgpu::Error::OutOfMemory { .. } => DeviceError::Full {
                label: label.into(),
                bytes,
            },
            error => uncaptured(error),
        })
    }

    /// Makes a zeroed storage buffer that fits one binding and can be copied from and to.
    ///
    /// # Errors
    /// As [`buffer`](Self::buffer); also [`DeviceError::NeverFits`] over the
    /// [binding limit](Self::binding_limit).
    pub fn storage(&self, label: &str, bytes: u64) -> Result<Buffer, DeviceError> {
        let limit = self.binding_limit();
        if bytes > limit {
            return Err(never_fits(
                label,
                bytes,
                limit,
                "the largest storage binding",
            ));
        }
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
        self.buffer(label, bytes, usage)
    }

    /// Makes a [storage](Self::storage) buffer with these contents.
    ///
    /// # Errors
    /// As [`storage`](Self::storage) and [`write`](Self::write).
    pub fn upload<T: Pod>(&self, label: &str, data: &[T]) -> Result<Buffer, DeviceError> {
        let buffer = self.storage(label, size_of_val(data) as u64)?;
        self.write(&buffer, 0, data)?;
        Ok(buffer)
    }

    /// Makes a uniform buffer with these contents, padded with zeros to a multiple of 16 bytes.
    /// For parameters that change with every step use a [`ParamsArena`](super::ParamsArena).
    ///
    /// # Errors
    /// As [`buffer`](Self::buffer).
    pub fn uniform<T: Pod>(&self, label: &str, value: &T) -> Result<Buffer, DeviceError> {
        let bytes = (size_of::<T>() as u64).next_multiple_of(16);
        let buffer = self.buffer(label, bytes, BufferUsages::UNIFORM | BufferUsages::COPY_DST)?;
        self.write(&buffer, 0, std::slice::from_ref(value))?;
        Ok(buffer)
    }

    /// Writes `data` at a byte offset, after all work submitted so far and before all work
    /// submitted later. `data` may be dropped at once.
    ///
    /// # Errors
    /// [`DeviceError::Range`] unless offset and length are multiples of four (the last bytes of
    /// the buffer may be fewer) within the buffer. Writes of many megabytes wait for
    /// the device, so [`DeviceError::Timeout`] and [`DeviceError::Lost`].
    pub fn write<T: Pod>(
        &self,
        buffer: &Buffer,
        offset: u64,
        data: &[T],
    ) -> Result<(), DeviceError> {
        let bytes: &[u8] = bytemuck::cast_slice(data);
        in_range(buffer, offset, bytes.len() as u64)?;
        let padded = (bytes.len() as u64).next_multiple_of(WORD);
        let whole_words = padded == bytes.len() as u64 || offset + padded == buffer.size();
        if !offset.is_multiple_of(WORD) || !whole_words {
            let why = "writes cover whole words of four bytes";
            return Err(range_error(buffer, offset, bytes.len() as u64, why));
        }
        let (whole, rest) = bytes.split_at(bytes.len() / WORD as usize * WORD as usize);
        let mut at = offset;
        for chunk in whole.chunks(CHUNK as usize) {
            self.put(buffer, at, chunk);
            at += chunk.len() as u64;
            self.bound_writes(chunk.len() as u64)?;
        }
        if !rest.is_empty() {
            let mut word = [0; WORD as usize];
            word[..rest.len()].copy_from_slice(rest);
            self.put(buffer, at, &word);
        }
        self.known_loss()
    }

    /// [Writes](Self::write) words that lie in several places one after the other, from the start of
    /// the buffer on. They are copied once, to where the device takes them from.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_parts(
        &self,
        buffer: &Buffer,
        parts: &[impl AsRef<[u32]>],
    ) -> Result<(), DeviceError> {
        let parts = parts.iter().map(|part| bytemuck::cast_slice(part.as_ref()));
        let bytes: usize = parts.clone().map(<[u8]>::len).sum();
        in_range(buffer, 0, bytes as u64)?;
        let mut at = 0;
        match BufferSize::new(bytes as u64) {
            Some(size) if size.get() <= CHUNK => {
                // Why there is none, if so, the next check tells.
                if let Some(mut view) = self.queue().write_buffer_with(buffer, 0, size) {
                    for part in parts {
                        view.slice(at..at + part.len()).copy_from_slice(part);
                        at += part.len();
                    }
                }
                self.0.tally.writes.add(1);
                self.0.tally.written_bytes.add(size.get());
                self.bound_writes(size.get())?;
            }
            _ => {
                for part in parts {
                    self.write(buffer, at as u64, part)?;
                    at += part.len();
                }
            }
        }
        self.known_loss()
    }

    /// Writes whole words, unchecked.
    pub(super) fn put(&self, buffer: &Buffer, offset: u64, bytes: &[u8]) {
        self.0.tally.writes.add(1);
        self.0.tally.written_bytes.add(bytes.len() as u64);
        self.queue().write_buffer(buffer, offset, bytes);
    }

    /// Sends writes on their way once they add up to a chunk, and waits when too many are.
    fn bound_writes(&self, bytes: u64) -> Result<(), DeviceError> {
        let mut written = lock(&self.0.staging.written);
        written.bytes += bytes;
        if written.bytes < CHUNK {
            return Ok(());
        }
        written.bytes = 0;
        self.0.tally.submissions.add(1);
        written.under_way.push_back(self.queue().submit([]));
        let oldest = (written.under_way.len() > IN_FLIGHT)
            .then(|| written.under_way.pop_front())
            .flatten();
        drop(written);
        oldest.map_or(Ok(()), |oldest| self.wait(oldest))
    }

    /// Waits for all work submitted so far that touches `buffer`, then copies `count` values
    /// from any byte offset. The buffer needs [`BufferUsages::COPY_SRC`].
    ///
    /// # Errors
    /// [`DeviceError::Range`] outside of the buffer; [`DeviceError::Timeout`] past the deadline
    /// (for each 32 MiB); [`DeviceError::Lost`]; and whatever [`check`](Self::check) has to report.
    pub fn read<T: Pod>(
        &self,
        buffer: &Buffer,
        offset: u64,
        count: usize,
    ) -> Result<Vec<T>, DeviceError> {
        // Before allocating what a nonsensical count asks for.
        let bytes = (count as u64).saturating_mul(size_of::<T>() as u64);
        in_range(buffer, offset, bytes)?;
        let mut values = vec![T::zeroed(); count];
        self.read_into(buffer, offset, &mut values)?;
        Ok(values)
    }

    /// [Reads](Self::read) into memory that is already there.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_into<T: Pod>(
        &self,
        buffer: &Buffer,
        offset: u64,
        into: &mut [T],
    ) -> Result<(), DeviceError> {
        let into: &mut [u8] = bytemuck::cast_slice_mut(into);
        in_range(buffer, offset, into.len() as u64)?;
        let (mut asked, mut filled) = (0, 0);
        let mut under_way = VecDeque::new();
        while filled < into.len() {
            while asked < into.len() && under_way.len() < IN_FLIGHT {
                let from = offset + asked as u64;
                let bytes = (into.len() - asked).min((CHUNK - from % WORD) as usize);
                under_way.push_back(self.ask(buffer, from, bytes)?);
                asked += bytes;
            }
            if let Some(piece) = under_way.pop_front() {
                let bytes = piece.bytes;
                self.receive(piece, &mut into[filled..filled + bytes])?;
                filled += bytes;
            }
        }
        // A copy that wgpu refused leaves zeros behind and a fault on record.
        self.check()
    }

    fn ask(&self, buffer: &Buffer, offset: u64, bytes: usize) -> Result<Piece, DeviceError> {
        self.0.tally.reads.add(1);
        let start = offset / WORD * WORD;
        let skip = (offset - start) as usize;
        let length = (skip as u64 + bytes as u64).next_multiple_of(WORD);
        let staging = self.staging(length)?;
        let mut encoder = self.encoder("read");
        encoder.copy_buffer_to_buffer(buffer, start, &staging, 0, length);
        let submission = self.submit(encoder);
        let (tell, mapped) = mpsc::channel();
        staging.map_async(MapMode::Read, ..length, move |result| {
            // Nobody listens any more if the read was given up.
            let _ = tell.send(result);
        });
        Ok(Piece {
            staging,
            submission,
            mapped,
            skip,
            bytes,
        })
    }

    fn receive(&self, piece: Piece, into: &mut [u8]) -> Result<(), DeviceError> {
        self.wait(piece.submission)?;
        // Another thread's poll may have taken the callback and be about to run it.
        let mapped = piece.mapped.recv_timeout(self.0.deadline);
        if mapped.map_err(|_| self.timeout())?.is_err() {
            self.check()?;
            return Err(DeviceError::Internal("a buffer could not be read".into()));
        }
        let words = ((piece.skip + piece.bytes) as u64).next_multiple_of(WORD);
        let view = piece.staging.get_mapped_range(..words);
        let view = view.map_err(|error| DeviceError::Internal(error.to_string()))?;
        into.copy_from_slice(&view[piece.skip..piece.skip + piece.bytes]);
        drop(view);
        piece.staging.unmap();
        let mut free = lock(&self.0.staging.free);
        if free.len() < 2 * IN_FLIGHT {
            free.push(piece.staging);
        }
        Ok(())
    }

    /// A read-back buffer of at least this size; the smallest free one that will do, if any.
    fn staging(&self, bytes: u64) -> Result<Buffer, DeviceError> {
        let mut free = lock(&self.0.staging.free);
        let fits = (0..free.len()).filter(|&i| free[i].size() >= bytes);
        if let Some(i) = fits.min_by_key(|&i| free[i].size()) {
            return Ok(free.swap_remove(i));
        }
        // None will do: let a smaller one go, so that the pool grows with the demand.
        free.pop();
        drop(free);
        let size = bytes.next_power_of_two().max(4096);
        self.buffer(
            "staging",
            size,
            BufferUsages::MAP_READ | BufferUsages::COPY_DST,
        )
    }
}

fn never_fits(label: &str, bytes: u64, limit: u64, what: &'static str) -> DeviceError {
    DeviceError::NeverFits {
        label: label.into(),
        bytes,
        limit,
        what,
    }
}

fn in_range(buffer: &Buffer, offset: u64, bytes: u64) -> Result<(), DeviceError> {
    match offset.checked_add(bytes) {
        Some(end) if end <= buffer.size() => Ok(()),
        _ => Err(range_error(buffer, offset, bytes, "it ends before that")),
    }
}

fn range_error(buffer: &Buffer, offset: u64, bytes: u64, why: &'static str) -> DeviceError {
    DeviceError::Range {
        offset,
        bytes,
        size: buffer.size(),
        why,
    }
}
