//! Cache lines that are asked for ahead of their use. It changes nothing but the time.

/// Bytes of a cache line.
pub const LINE: usize = 64;

/// Which cache something is asked for, as `_mm_prefetch` numbers them.
const FIRST: i32 = 3;
const SECOND: i32 = 2;

/// Rows of the same width, to be asked for when they are needed soon: for the second cache, where it
/// was faster than for the first (benches/NOTES.md).
#[derive(Clone, Copy)]
pub struct RowLines {
    start: *const u8,
    /// Bytes from row to row.
    bytes: usize,
    lines: Lines,
}

impl RowLines {
    /// Rows of so many values from `start` on.
    pub fn new<T>(start: *const T, width: usize) -> RowLines {
        let bytes = width * size_of::<T>();
        // One row may begin elsewhere in its line than another.
        let begins = match start.addr().is_multiple_of(LINE) && bytes.is_multiple_of(LINE) {
            true => 0,
            false => LINE - 1,
        };
        RowLines {
            start: start.cast(),
            bytes,
            lines: Lines::of(begins + bytes),
        }
    }

    /// Asks for a row.
    #[inline(always)]
    pub fn ask(&self, row: usize) {
        let start = self.start.wrapping_add(row * self.bytes);
        self.lines.ask::<SECOND>(start);
    }
}

/// How many cache lines to ask for. That takes few instructions: the fewer there are, the more rows a
/// processor sees at once, and waits for at once.
#[derive(Clone, Copy)]
struct Lines {
    /// Times [`STRETCH`].
    stretches: usize,
    rest: usize,
}

/// Lines that are asked for one after the other.
const STRETCH: usize = 8;

impl Lines {
    /// Lines of so many bytes from the beginning of one on.
    #[inline(always)]
    fn of(bytes: usize) -> Lines {
        let lines = bytes.div_ceil(LINE);
        Lines {
            stretches: lines / STRETCH,
            rest: lines % STRETCH,
        }
    }

    /// Asks for them, whether or not there is anything at `start`.
    #[inline(always)]
    fn ask<const CACHE: i32>(self, start: *const u8) {
        let mut line = start;
        for _ in 0..self.stretches {
            for l in 0..STRETCH {
                prefetch_at::<CACHE>(line.wrapping_add(l * LINE));
            }
            line = line.wrapping_add(STRETCH * LINE);
        }
        for _ in 0..self.rest {
            prefetch_at::<CACHE>(line);
            line = line.wrapping_add(LINE);
        }
    }
}

/// Asks for the cache line of an address.
#[inline(always)]
fn prefetch_at<const CACHE: i32>(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing that the program sees and faults on no address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<CACHE>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Asks for `len` values from `start` on.
#[inline(always)]
fn prefetch<T, const CACHE: i32>(start: *const T, len: usize) {
    if len > 0 {
        let begins = start.addr() % LINE;
        Lines::of(begins + len * size_of::<T>())
            .ask::<CACHE>(start.wrapping_byte_sub(begins).cast());
    }
}

/// Asks for the cache line of an address, be it valid or not.
#[inline(always)]
pub fn prefetch_line<T>(address: *const T) {
    prefetch_at::<FIRST>(address.cast());
}

/// Asks for values that are read after the next ones.
#[inline(always)]
pub fn prefetch_later<T>(values: &[T]) {
    prefetch::<_, SECOND>(values.as_ptr(), values.len());
}

/// Asks for the values of a row that is read soon.
#[inline(always)]
pub fn prefetch_row<T>(row: &[T]) {
    prefetch::<_, FIRST>(row.as_ptr(), row.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_a_row_is_asked_for_and_no_more_than_one_beyond() {
        for start in [0, 4, 60, 64] {
            for width in 0..300 {
                let rows = RowLines::new(std::ptr::without_provenance::<f32>(start), width);
                let lines = rows.lines.stretches * STRETCH + rows.lines.rest;
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
