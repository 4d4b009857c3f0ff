//! The rows of a shard, for several threads to write at once.

use std::marker::PhantomData;
use std::sync::Arc;

use half::f16;

use super::Shard;
use super::prefetch::RowLines;
use crate::kernel::{Column, TableSpec};

/// The rows of a shard and of its optimizer states, for several threads to write at once.
pub struct SharedRows<'a> {
    columns: [*mut f32; 3],
    halves: *mut f16,
    /// Values in a row of `halves`.
    half_width: usize,
    names: Arc<[u32]>,
    widths: [usize; 3],
    /// Cache lines of the columns that the table has.
    lines: [Option<RowLines>; 3],
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
        let mut lines =
            [0, 1, 2].map(|c| (widths[c] > 0).then(|| RowLines::new(columns[c], widths[c])));
        if half_width > 0 {
            lines[0] = Some(RowLines::new(halves, half_width));
        }
        SharedRows {
            columns,
            halves,
            lines,
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

    /// Key of the row's random bits, where rows are rounded stochastically.
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

    /// Prefetches a row that is needed soon.
    #[inline(always)]
    pub fn prefetch(&self, row: usize) {
        if row < self.rows {
            for column in self.lines.iter().flatten() {
                column.prefetch(row);
            }
        }
    }
}
