//! Memory of tables, and how rows of it are reached.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use half::f16;
use half::vec::HalfBitsVecExt;

use crate::kernel::cpu::table::Shard;
use crate::kernel::cpu::table::prefetch::{LINE, RowLines};
use crate::kernel::{Column, TableSpec};

/// Bytes of a large page, on most systems.
const LARGE: usize = 2 << 20;

/// Rows of a table, or gradients of some. They begin where a cache line begins, so that no row of
/// 16·n values shares one with its neighbours; if they are many, where a large page begins.
#[derive(Debug, Default)]
pub struct Values {
    memory: Vec<f32>,
    start: usize,
    len: usize,
}

impl Values {
    /// So many zeros.
    pub fn zeros(len: usize) -> Values {
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
        Values { memory, start, len }
    }

    /// Makes room for `len` values; what they are is anybody's guess.
    pub fn room(&mut self, len: usize) -> &mut [f32] {
        if self.memory.len() - self.start < len {
            // Its memory first, so that both are never there at once.
            *self = Values::default();
            *self = Values::zeros(len);
        }
        self.len = len;
        self
    }

    /// Replaces them all.
    pub(crate) fn replace(&mut self, values: &[f32]) {
        self.room(values.len()).copy_from_slice(values);
    }
}

impl From<&[f32]> for Values {
    fn from(values: &[f32]) -> Values {
        let mut own = Values::default();
        own.replace(values);
        own
    }
}

/// Values that have come from elsewhere stay where they are.
impl From<Vec<f32>> for Values {
    fn from(memory: Vec<f32>) -> Values {
        let len = memory.len();
        Values {
            memory,
            start: 0,
            len,
        }
    }
}

impl From<Values> for Vec<f32> {
    fn from(values: Values) -> Vec<f32> {
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

impl Clone for Values {
    fn clone(&self) -> Values {
        self[..].into()
    }
}

impl Deref for Values {
    type Target = [f32];

    #[inline(always)]
    fn deref(&self) -> &[f32] {
        &self.memory[self.start..][..self.len]
    }
}

impl DerefMut for Values {
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

/// Asks for large pages. The memory has not been touched yet.
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

/// The rows of a shard and of its optimizer states, for several threads to write at once.
pub struct SharedRows<'a> {
    columns: [*mut f32; 3],
    halves: *mut f16,
    /// Values in a row of `halves`.
    half_width: usize,
    names: Arc<[u32]>,
    widths: [usize; 3],
    /// Those of the columns that there are.
    asked: [Option<RowLines>; 3],
    rows: usize,
    shard: PhantomData<&'a mut Shard>,
}

// SAFETY: the pointers come from an exclusive borrow that lives as long as `self`; `SharedRows::row`
// demands of its callers that no two of them hold the same row.
unsafe impl Sync for SharedRows<'_> {}

impl<'a> SharedRows<'a> {
    pub fn new(shard: &'a mut Shard, spec: &TableSpec) -> SharedRows<'a> {
        let mut widths = [Column::Values, Column::First, Column::Second].map(|c| c.width(spec));
        let rows = shard.rows(spec);
        let mut half_width = 0;
        if spec.dtype.is_half() {
            std::mem::swap(&mut half_width, &mut widths[0]);
        }
        assert_eq!(
            shard.halves.len(),
            rows * half_width,
            "a shard's halves have its rows"
        );
        let columns = [&mut shard.values, &mut shard.first, &mut shard.second];
        for (column, width) in columns.iter().zip(widths) {
            assert_eq!(
                column.len(),
                rows * width,
                "a shard's columns have its rows"
            );
        }
        let columns = columns.map(|column| column.as_mut_ptr());
        let halves = shard.halves.as_mut_ptr();
        let mut asked =
            [0, 1, 2].map(|c| (widths[c] > 0).then(|| RowLines::new(columns[c], widths[c])));
        if half_width > 0 {
            asked[0] = Some(RowLines::new(halves, half_width));
        }
        SharedRows {
            columns,
            halves,
            asked,
            half_width,
            names: Arc::clone(&shard.names),
            widths,
            rows,
            shard: PhantomData,
        }
    }

    /// Whether values are halves.
    #[inline(always)]
    pub fn is_half(&self) -> bool {
        self.half_width > 0
    }

    /// What the row is called, where its random bits depend on it.
    #[inline(always)]
    pub fn name(&self, row: usize) -> Option<u32> {
        self.names.get(row).copied()
    }

    /// A row: values (none where they are halves), first and second state.
    ///
    /// # Safety
    /// No other borrow of the same row may be alive.
    #[inline(always)]
    #[allow(
        clippy::mut_from_ref,
        reason = "that is what the safety condition is for"
    )]
    pub unsafe fn row(&self, row: usize) -> [&mut [f32]; 3] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        let column = |c: usize| {
            // SAFETY: the row is in range, so its slice lies within the column; the caller sees to
            // it that the slice is the only one.
            unsafe {
                let start = self.columns[c].add(row * self.widths[c]);
                std::slice::from_raw_parts_mut(start, self.widths[c])
            }
        };
        [column(0), column(1), column(2)]
    }

    /// The values of a row of halves; none where they are `f32`.
    ///
    /// # Safety
    /// No other borrow of the same row may be alive.
    #[inline(always)]
    #[allow(
        clippy::mut_from_ref,
        reason = "that is what the safety condition is for"
    )]
    pub unsafe fn halves(&self, row: usize) -> &mut [f16] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        // SAFETY: as in `row`.
        unsafe {
            let start = self.halves.add(row * self.half_width);
            std::slice::from_raw_parts_mut(start, self.half_width)
        }
    }

    /// Asks for a row that is needed soon.
    #[inline(always)]
    pub fn prefetch(&self, row: usize) {
        if row < self.rows {
            for column in self.asked.iter().flatten() {
                column.ask(row);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_begin_where_lines_and_pages_begin() {
        for (len, align) in [(0, 1), (1, LINE), (1000, LINE), (1_000_000, LARGE)] {
            let mut values = Values::zeros(len);
            assert_eq!(values.len(), len);
            assert!(values.iter().all(|&x| x == 0.0));
            values.fill(1.0);
            assert_eq!(values.as_ptr() as usize % align, 0);
        }
    }

    #[test]
    fn values_are_replaced_whatever_their_number() {
        let mut own = Values::default();
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
