//! Memory that begins where a cache line or a large page begins.

use std::ops::{Deref, DerefMut};

use half::f16;
use half::vec::HalfBitsVecExt;

use super::prefetch::LINE;

/// Bytes of a large page, on most systems.
const LARGE: usize = 2 << 20;

/// Values that begin where a cache line begins, so that no row of 16·n values shares one with its
/// neighbours; if they are many, where a large page begins.
///
/// The crate aligned-vec does not serve: it fills memory with zeros itself, which touches it before large
/// pages are requested, and it cannot take over a `Vec` or become one without a copy.
#[derive(Debug, Default)]
pub struct AlignedVec {
    memory: Vec<f32>,
    start: usize,
    len: usize,
}

impl AlignedVec {
    /// `len` zeros.
    pub fn zeros(len: usize) -> AlignedVec {
        let bytes = len * size_of::<f32>();
        let (align, room) = match bytes < LARGE / 2 {
            true => (LINE, bytes),
            false => (LARGE, bytes.next_multiple_of(LARGE)),
        };
        let memory = match len {
            0 => Vec::new(),
            _ => zeros((room + align) / size_of::<f32>()),
        };
        let address = memory.as_ptr() as usize;
        let start = match len {
            0 => 0,
            _ => (address.next_multiple_of(align) - address) / size_of::<f32>(),
        };
        AlignedVec { memory, start, len }
    }

    /// Sets the length. The values are unspecified: they are to be overwritten.
    pub fn resize_for_overwrite(&mut self, len: usize) -> &mut [f32] {
        if self.memory.len() - self.start < len {
            // Its memory first, so that both are never there at once.
            *self = AlignedVec::default();
            *self = AlignedVec::zeros(len);
        }
        self.len = len;
        self
    }

    /// Replaces all values, and the length.
    pub(crate) fn replace(&mut self, values: &[f32]) {
        self.resize_for_overwrite(values.len())
            .copy_from_slice(values);
    }
}

impl From<&[f32]> for AlignedVec {
    fn from(values: &[f32]) -> AlignedVec {
        let mut own = AlignedVec::default();
        own.replace(values);
        own
    }
}

/// Values that have come from elsewhere stay where they are.
impl From<Vec<f32>> for AlignedVec {
    fn from(memory: Vec<f32>) -> AlignedVec {
        let len = memory.len();
        AlignedVec {
            memory,
            start: 0,
            len,
        }
    }
}

impl From<AlignedVec> for Vec<f32> {
    fn from(values: AlignedVec) -> Vec<f32> {
        match values.start {
            0 => {
                let mut memory = values.memory;
                memory.truncate(values.len);
                memory
            }
            _ => values.to_vec(),
        }
    }
}

impl Clone for AlignedVec {
    fn clone(&self) -> AlignedVec {
        self[..].into()
    }
}

impl Deref for AlignedVec {
    type Target = [f32];

    #[inline(always)]
    fn deref(&self) -> &[f32] {
        &self.memory[self.start..][..self.len]
    }
}

impl DerefMut for AlignedVec {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.memory[self.start..][..self.len]
    }
}

/// Zeros in large pages where the system gives them: rows of a large table are reached in random
/// order, and with small pages nearly every one of them misses the address cache.
fn zeros(len: usize) -> Vec<f32> {
    let memory = vec![0.0f32; len];
    advise(&memory);
    memory
}

/// The same for halves.
pub fn zero_halves(len: usize) -> Vec<f16> {
    let memory = vec![0u16; len];
    advise(&memory);
    memory.reinterpret_into()
}

/// Requests large pages for memory that has not been touched yet.
fn advise<T>(memory: &[T]) {
    #[cfg(target_os = "linux")]
    {
        const PAGE: usize = 4096;
        let (start, bytes) = (memory.as_ptr() as usize, size_of_val(memory));
        let first = start.next_multiple_of(PAGE);
        if bytes >= 2 * LARGE {
            let length = (start + bytes - first) / PAGE * PAGE;
            // SAFETY: the pages lie within `memory`, and the advice changes no byte of them. That
            // it may be refused is fine: it is about speed alone.
            unsafe { libc::madvise(first as *mut libc::c_void, length, libc::MADV_HUGEPAGE) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = memory;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_begin_where_lines_and_pages_begin() {
        for (len, align) in [(0, 1), (1, LINE), (1000, LINE), (1_000_000, LARGE)] {
            let mut values = AlignedVec::zeros(len);
            assert_eq!(values.len(), len);
            assert!(values.iter().all(|&x| x == 0.0));
            values.fill(1.0);
            assert_eq!(values.as_ptr() as usize % align, 0);
        }
    }

    #[test]
    fn values_are_replaced_whatever_their_number() {
        let mut own = AlignedVec::default();
        assert!(own.is_empty());
        for len in [3, 1_000_000, 0, 700_001, 5] {
            let values: Vec<f32> = (0..len).map(|i| i as f32).collect();
            own.replace(&values);
            assert_eq!(own[..], values[..]);
        }
        let memory = own.memory.as_ptr();
        own.replace(&vec![1.0; 1_000_000]);
        assert_eq!(own.memory.as_ptr(), memory, "there was room");
        assert_eq!(own.as_ptr() as usize % LARGE, 0);
        assert_eq!(own.clone()[..], own[..]);
    }
}
