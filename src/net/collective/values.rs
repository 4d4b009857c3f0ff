//! Values in payloads of frames.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use half::{bf16, f16};

use crate::collective::{Element, ElementType, Wire};
use crate::net::WireType;
use crate::net::frame::MOST_PAYLOAD;

/// Type of values on the wire.
pub(super) fn wire_type(element: ElementType, wire: Wire) -> WireType {
    match (element, wire) {
        (ElementType::F32, Wire::F16) => WireType::F16,
        (ElementType::F32, Wire::Bf16) => WireType::Bf16,
        (ElementType::F32, _) => WireType::F32,
        (ElementType::F64, _) => WireType::F64,
        (ElementType::U32, _) => WireType::U32,
        (ElementType::U64, _) => WireType::U64,
    }
}

/// Most values in a frame.
pub(super) fn most_values(kind: WireType) -> usize {
    MOST_PAYLOAD / kind.size()
}

/// Halves that own the memory of a payload.
struct Halves<H>(Vec<H>);

impl<H: bytemuck::Pod> AsRef<[u8]> for Halves<H> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

/// Writes values as they travel. A half format loses nothing: values have been rounded to it.
pub(super) fn encode<T: Element>(values: &[T], wire: Wire) -> Bytes {
    match wire_type(T::TYPE, wire) {
        WireType::F16 => {
            let mut halves = vec![f16::ZERO; values.len()];
            halves.convert_from_f32_slice(bytemuck::cast_slice(values));
            Bytes::from_owner(Halves(halves))
        }
        WireType::Bf16 => {
            let mut halves = vec![bf16::ZERO; values.len()];
            halves.convert_from_f32_slice(bytemuck::cast_slice(values));
            Bytes::from_owner(Halves(halves))
        }
        _ => Bytes::copy_from_slice(bytemuck::cast_slice(values)),
    }
}

/// Reads values that have travelled. The payload has as many values as `into`.
pub(super) fn decode<T: Element>(payload: &[u8], wire: Wire, into: &mut [T]) {
    // Payloads may be unaligned; halves are read a block at a time.
    const BLOCK: usize = 1024;
    match wire_type(T::TYPE, wire) {
        kind @ (WireType::F16 | WireType::Bf16) => {
            let blocks = payload.chunks(2 * BLOCK);
            let into: &mut [f32] = bytemuck::cast_slice_mut(into);
            let mut bits = [0u16; BLOCK];
            for (block, into) in blocks.zip(into.chunks_mut(BLOCK)) {
                let bits = &mut bits[..into.len()];
                bytemuck::cast_slice_mut(bits).copy_from_slice(block);
                if kind == WireType::F16 {
                    bits.reinterpret_cast::<f16>().convert_to_f32_slice(into);
                } else {
                    bits.reinterpret_cast::<bf16>().convert_to_f32_slice(into);
                }
            }
        }
        _ => bytemuck::cast_slice_mut(into).copy_from_slice(payload),
    }
}

/// Returns whether a payload has `len` values.
pub(super) fn has_values<T: Element>(payload: &[u8], wire: Wire, len: usize) -> bool {
    payload.len() == len * wire_type(T::TYPE, wire).size()
}

/// Reads values that have travelled, behind those of `into`.
pub(super) fn append<T: Element>(payload: &[u8], wire: Wire, into: &mut Vec<T>) {
    let start = into.len();
    let count = payload.len() / wire_type(T::TYPE, wire).size();
    into.resize(start + count, T::zeroed());
    decode(payload, wire, &mut into[start..]);
}

/// Source of the frames of a job.
pub(super) trait Source: Send + Sync {
    /// Writes a range of values as they travel.
    fn encode(&self, range: Range<usize>) -> Bytes;
}

/// Values of a rank while they are sent, and while results are written over them.
pub(super) struct Shared<T> {
    values: Mutex<Vec<T>>,
    wire: Wire,
}

impl<T: Element> Shared<T> {
    pub(super) fn new(values: Vec<T>, wire: Wire) -> Arc<Shared<T>> {
        let values = Mutex::new(values);
        Arc::new(Shared { values, wire })
    }

    /// Reads or writes the values. Others wait meanwhile.
    pub(super) fn with<R>(&self, work: impl FnOnce(&mut Vec<T>) -> R) -> R {
        work(&mut self.values.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T: Element> Source for Shared<T> {
    fn encode(&self, range: Range<usize>) -> Bytes {
        self.with(|values| encode(&values[range], self.wire))
    }
}
