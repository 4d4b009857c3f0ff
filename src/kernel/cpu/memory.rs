//! Memory of tables, and how rows of it are reached.

use std::marker::PhantomData;

use super::table::Shard;
use crate::kernel::{Column, TableSpec};

/// Zeros in large pages where the system gives them: rows of a large table are reached in random
/// order, and with small pages nearly every one of them misses the address cache.
pub(super) fn zeros(len: usize) -> Vec<f32> {
    let memory = vec![0.0f32; len];
    #[cfg(target_os = "linux")]
    {
        const PAGE: usize = 4096;
        const LARGE: usize = 2 << 20;
        let (start, bytes) = (memory.as_ptr() as usize, size_of_val(&memory[..]));
        let first = start.next_multiple_of(PAGE);
        if bytes >= 2 * LARGE {
            let length = (start + bytes - first) / PAGE * PAGE;
            // SAFETY: the pages lie within `memory`, and the advice changes no byte of them. That
            // it may be refused is fine: it is about speed alone.
            unsafe { libc::madvise(first as *mut libc::c_void, length, libc::MADV_HUGEPAGE) };
        }
    }
    memory
}

/// The rows of a shard and of its optimizer states, for several threads to write at once.
pub(super) struct SharedRows<'a> {
    columns: [*mut f32; 3],
    widths: [usize; 3],
    rows: usize,
    shard: PhantomData<&'a mut Shard>,
}

// SAFETY: the pointers come from an exclusive borrow that lives as long as `self`; `SharedRows::row`
// demands of its callers that no two of them hold the same row.
unsafe impl Sync for SharedRows<'_> {}

impl<'a> SharedRows<'a> {
    pub fn new(shard: &'a mut Shard, spec: &TableSpec) -> SharedRows<'a> {
        let widths = [Column::Values, Column::First, Column::Second].map(|c| c.width(spec));
        let rows = shard.values.len() / widths[0].max(1);
        let columns = [&mut shard.values, &mut shard.first, &mut shard.second];
        for (column, width) in columns.iter().zip(widths) {
            assert_eq!(
                column.len(),
                rows * width,
                "a shard's columns have its rows"
            );
        }
        SharedRows {
            columns: columns.map(|column| column.as_mut_ptr()),
            widths,
            rows,
            shard: PhantomData,
        }
    }

    /// A row: values, first and second state.
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

    /// Asks for a row that is needed soon.
    #[inline(always)]
    pub fn prefetch(&self, row: usize) {
        if row < self.rows {
            for (column, width) in self.columns.iter().zip(self.widths) {
                prefetch(column.wrapping_add(row * width), width);
            }
        }
    }
}

/// Asks for `len` values from `start` on.
#[inline(always)]
fn prefetch(start: *const f32, len: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..len).step_by(16) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing that the program sees and faults on no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(line).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (start, len);
}

/// Asks for the values of a row that is copied soon.
#[inline(always)]
pub(super) fn prefetch_row(row: &[f32]) {
    prefetch(row.as_ptr(), row.len());
}
