//! Prefetches of cache lines. They change nothing but the time.

/// Bytes of a cache line.
pub const LINE: usize = 64;

/// The first-level cache, as `_mm_prefetch` numbers it: for values that are read next.
pub const L1: i32 = 3;
/// The second-level cache: for values that are read after the next ones.
pub const L2: i32 = 2;

/// Lines that are prefetched without a branch between them.
const STRETCH: usize = 8;

/// Prefetches the cache line of an address, be it valid or not.
#[inline(always)]
pub fn prefetch_line<T, const CACHE: i32>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing that the program sees and faults on no address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<CACHE>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Prefetches values.
#[inline(always)]
pub fn prefetch<T, const CACHE: i32>(values: &[T]) {
    if !values.is_empty() {
        let start = values.as_ptr();
        let offset = start.addr() % LINE;
        let lines = (offset + size_of_val(values)).div_ceil(LINE);
        let first = start.wrapping_byte_sub(offset).cast();
        prefetch_lines::<CACHE>(first, lines / STRETCH, lines % STRETCH);
    }
}

/// Prefetches stretches of lines, and `rest` more. That takes few instructions: the fewer there are, the
/// more rows a processor sees at once, and waits for at once.
#[inline(always)]
fn prefetch_lines<const CACHE: i32>(first: *const u8, stretches: usize, rest: usize) {
    let mut line = first;
    for _ in 0..stretches {
        for l in 0..STRETCH {
            prefetch_line::<_, CACHE>(line.wrapping_add(l * LINE));
        }
        line = line.wrapping_add(STRETCH * LINE);
    }
    for _ in 0..rest {
        prefetch_line::<_, CACHE>(line);
        line = line.wrapping_add(LINE);
    }
}

/// Rows of one width, in any order; the number of their lines is computed once. They are prefetched into
/// the second-level cache, which was faster than the first (benches/NOTES.md).
#[derive(Clone, Copy)]
pub struct RowLines {
    start: *const u8,
    /// Bytes from row to row.
    bytes: usize,
    /// Lines of a row, in stretches of [`STRETCH`], and more.
    stretches: usize,
    rest: usize,
}

impl RowLines {
    /// Rows of `width` values from `start` on.
    pub fn new<T>(start: *const T, width: usize) -> RowLines {
        let bytes = width * size_of::<T>();
        // One row may begin elsewhere in its line than another.
        let offset = match start.addr().is_multiple_of(LINE) && bytes.is_multiple_of(LINE) {
            true => 0,
            false => LINE - 1,
        };
        let lines = (offset + bytes).div_ceil(LINE);
        RowLines {
            start: start.cast(),
            bytes,
            stretches: lines / STRETCH,
            rest: lines % STRETCH,
        }
    }

    /// Prefetches a row.
    #[inline(always)]
    pub fn prefetch(&self, row: usize) {
        let start = self.start.wrapping_add(row * self.bytes);
        prefetch_lines::<L2>(start, self.stretches, self.rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_a_row_is_prefetched_and_no_more_than_one_beyond() {
        for start in [0, 4, 60, 64] {
            for width in 0..300 {
                let rows = RowLines::new(std::ptr::without_provenance::<f32>(start), width);
                let lines = rows.stretches * STRETCH + rows.rest;
                for row in 0..20 {
                    let bytes = start + row * width * 4..start + (row + 1) * width * 4;
                    let needed = match bytes.is_empty() {
                        true => 0,
                        false => (bytes.end - 1) / LINE - bytes.start / LINE + 1,
                    };
                    assert!(
                        (needed..=needed + 1).contains(&lines),
                        "{width}: {lines} {needed}"
                    );
                }
            }
        }
    }
}
