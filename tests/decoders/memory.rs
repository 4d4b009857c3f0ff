//! Memory that a thread takes, counted by the allocator of this program.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    /// Bytes that this thread has taken and not given back, and the most since the last measurement.
    static LIVE: Cell<[isize; 2]> = const { Cell::new([0, 0]) };
}

fn count(bytes: isize) {
    // Threads that end have no counter any more.
    let _ = LIVE.try_with(|live| {
        let [now, most] = live.get();
        let now = now + bytes;
        live.set([now, most.max(now)]);
    });
}

// SAFETY: all calls go to the system's allocator as they are; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Old and new memory exist at once while values are copied.
        count(size as isize);
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise.
        unsafe { System.realloc(at, layout, size) }
    }
}

/// Runs `work`; returns its result, and the most bytes that this thread held more than before.
pub fn peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.with(|live| {
        let now = live.get()[0];
        live.set([now, now]);
        now
    });
    let done = work();
    let most = LIVE.with(|live| live.get()[1]);
    (done, (most - before).max(0) as usize)
}

#[test]
fn memory_is_counted() {
    let (_, peak) = peak(|| drop(vec![1u8; 1 << 20]));
    assert!((1 << 20..(1 << 20) + 4096).contains(&peak), "{peak}");
}
