//! Memory of payloads, used again: the system takes longer to clear new memory than a copy takes.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::kernel::GradientRows;
use crate::server::PackedType;

/// Buffers that wait to be used again. A clone shares them.
#[derive(Clone, Debug, Default)]
pub(super) struct Buffers(Arc<Mutex<Vec<Vec<f32>>>>);

/// Most buffers that wait: those of the frames in a stream, and of the requests in flight.
const KEPT: usize = 16;

/// Values in a buffer, which goes back when the last reader is done.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    pub values: Vec<f32>,
    home: Buffers,
}

impl Buffers {
    /// Takes a buffer, whose content is of no meaning.
    pub fn take(&self) -> Buffer {
        let waiting = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Buffer {
            values: waiting.pop().unwrap_or_default(),
            home: self.clone(),
        }
    }

    /// Packs values into a payload.
    pub fn pack(&self, values: &[f32], value_type: PackedType) -> Bytes {
        let mut buffer = self.take();
        let bytes = values.len() * value_type.size();
        let words = bytes.div_ceil(size_of::<f32>());
        // A shorter buffer keeps its old values, which are overwritten.
        if buffer.values.len() < words {
            buffer.values.resize(words, 0.0);
        }
        let out: &mut [u8] = bytemuck::cast_slice_mut(&mut buffer.values);
        value_type.pack(values, &mut out[..bytes]);
        Bytes::from_owner(buffer).slice(..bytes)
    }
}

impl Buffer {
    /// Makes the payload of the buffer's values: without a copy where memory already has the bytes of the wire.
    pub fn pack(self, value_type: PackedType) -> Bytes {
        match value_type {
            PackedType::F32 if cfg!(target_endian = "little") => Bytes::from_owner(self),
            _ => self.home.pack(&self.values, value_type),
        }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.values)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let waiting = &mut *self.home.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < KEPT {
            waiting.push(std::mem::take(&mut self.values));
        }
    }
}

/// Values in main memory whose owner a payload keeps.
#[derive(Debug)]
pub(super) enum HostRows {
    Values(Vec<f32>),
    Pooled(Buffer),
    /// Gradient rows of a CPU.
    Gradients(GradientRows),
}

impl HostRows {
    pub fn values(&self) -> &[f32] {
        match self {
            HostRows::Values(values) => values,
            HostRows::Pooled(buffer) => &buffer.values,
            HostRows::Gradients(rows) => rows.as_host().unwrap_or_default(),
        }
    }
}

impl AsRef<[u8]> for HostRows {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(self.values())
    }
}
