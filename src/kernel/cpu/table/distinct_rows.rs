//! Rows that are updated, each of them once.

use std::ops::Range;

use super::shared_rows::SharedRows;
use crate::kernel::{KernelError, Places, TableSpec};

/// Values of rows that are prefetched ahead of their use.
const PREFETCH_VALUES: usize = 32 * 128;

/// Rows of `width` values that are prefetched ahead.
fn prefetch_rows(width: usize) -> usize {
    (PREFETCH_VALUES / width).clamp(1, 32)
}

/// The rows that an update is for, each of them once.
#[derive(Clone, Copy, Debug)]
pub struct DistinctRows<'a> {
    places: Places<'a>,
    base: u32,
}

impl<'a> DistinctRows<'a> {
    /// All rows of a shard.
    pub const ALL: DistinctRows<'static> = DistinctRows {
        places: Places::All,
        base: 0,
    };

    /// Ascending rows of the shard that starts with row `base`.
    ///
    /// # Errors
    /// [`KernelError::Repeated`] if they do not ascend.
    pub fn ascending(
        spec: &TableSpec,
        rows: &'a [u32],
        base: usize,
    ) -> Result<DistinctRows<'a>, KernelError> {
        if let Some(pair) = rows.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(KernelError::Repeated {
                table: spec.name,
                row: pair[1],
            });
        }
        Ok(DistinctRows {
            places: Places::Listed(rows),
            base: base as u32,
        })
    }

    /// The places of a merge, or of what [`Merger::distinct`](crate::kernel::merge::Merger::distinct) found distinct.
    pub fn known(places: &'a [u32]) -> DistinctRows<'a> {
        DistinctRows {
            places: Places::Listed(places),
            base: 0,
        }
    }

    /// Number of rows, of a shard with `rows` rows.
    pub fn count(&self, rows: usize) -> usize {
        self.places.count(rows)
    }

    /// The place of the row at index `i`.
    #[inline(always)]
    pub fn place(&self, i: usize) -> usize {
        match self.places {
            Places::All => i,
            Places::Listed(rows) => (rows[i] - self.base) as usize,
        }
    }
}

/// A few rows of a shard, for one thread alone.
pub struct TableBlock<'a> {
    pub shared: &'a SharedRows<'a>,
    pub rows: DistinctRows<'a>,
    items: Range<usize>,
}

impl<'a> TableBlock<'a> {
    /// The rows at these indices.
    ///
    /// # Safety
    /// No two blocks, and no other code, may have the same row at the same time.
    pub unsafe fn new(
        shared: &'a SharedRows<'a>,
        rows: DistinctRows<'a>,
        items: Range<usize>,
    ) -> TableBlock<'a> {
        TableBlock {
            shared,
            rows,
            items,
        }
    }

    /// Calls `update` for every row: with its index, its values and its states. `also` is called when the
    /// row at an index is prefetched.
    #[inline(always)]
    pub fn each(
        self,
        width: usize,
        also: impl Fn(usize),
        mut update: impl FnMut(usize, [&mut [f32]; 3]),
    ) {
        let (end, ahead) = (self.items.end, prefetch_rows(width));
        let mut next = self.items.start;
        for i in self.items {
            // Before the first one all that are ahead of it, then one by one.
            while next < end && next <= i + ahead {
                self.shared.prefetch(self.rows.place(next));
                also(next);
                next += 1;
            }
            // SAFETY: rows are distinct, and no other block has this one.
            update(i, unsafe { self.shared.row(self.rows.place(i)) });
        }
    }
}
