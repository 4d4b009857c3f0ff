//! Work that a thread shares with others, if they have nothing better to do.

use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Threads that are at work which could be shared.
static BUSY: AtomicUsize = AtomicUsize::new(0);

/// This thread is at such work.
pub(super) struct Busy(());

impl Busy {
    pub fn enter() -> Busy {
        BUSY.fetch_add(1, Ordering::Relaxed);
        Busy(())
    }

    fn alone(&self) -> bool {
        BUSY.load(Ordering::Relaxed) == 1
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        BUSY.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Does the work of all items, in blocks of at most `block`, on this thread and, if `worth` the
/// while, on those of the pool. Where several threads are busy at once, as the workers of an
/// asynchronous run are, each does its own: that is as fast, and wakes nobody. Nor does this
/// thread ever wait for one that has not woken up when all is done.
///
/// Blocks run in no order: nothing may depend on it.
pub(super) fn share(
    busy: &Busy,
    items: usize,
    block: usize,
    worth: bool,
    work: impl Fn(Range<usize>) + Sync,
) {
    let helpers = match worth && busy.alone() {
        true => {
            let blocks = items.div_ceil(block);
            rayon::current_num_threads().min(blocks).saturating_sub(1)
        }
        false => 0,
    };
    if helpers == 0 {
        return work(0..items);
    }
    let task = Task {
        work: &work,
        items,
        block,
        next: AtomicUsize::new(0),
        panic: Mutex::new(None),
    };
    let gate = Arc::new(Gate::default());
    let address = Address(std::ptr::from_ref(&task).cast::<()>());
    for _ in 0..helpers {
        let gate = Arc::clone(&gate);
        rayon::spawn(move || {
            if let Some(_inside) = gate.enter() {
                let Address(task) = { address };
                // SAFETY: the gate was open, and `Closing` does not let go of the task while
                // anybody is inside. The lifetime and the closure behind it are only forgotten.
                let task: &Task<'_> = unsafe { &*task.cast() };
                task.drain();
            }
        });
    }
    {
        let _closing = Closing(&gate);
        task.drain();
    }
    let panic = task.panic.into_inner();
    if let Some(panic) = panic.unwrap_or_else(PoisonError::into_inner) {
        resume_unwind(panic);
    }
}

/// What a call of [`share`] has on its stack.
struct Task<'a> {
    work: &'a (dyn Fn(Range<usize>) + Sync),
    items: usize,
    block: usize,
    /// The first block that nobody has taken.
    next: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Task<'_> {
    /// Takes blocks until there are none.
    fn drain(&self) {
        let blocks = || loop {
            let first = self.next.fetch_add(1, Ordering::Relaxed) * self.block;
            if first >= self.items {
                break;
            }
            (self.work)(first..self.items.min(first + self.block));
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(blocks)) {
            let mut first = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(panic);
        }
    }
}

/// The address of a [`Task`].
#[derive(Clone, Copy)]
struct Address(*const ());

// SAFETY: a task is made to be used by several threads; `Gate` says until when.
unsafe impl Send for Address {}

/// Who may look at a task: helpers enter while it is open.
#[derive(Default)]
struct Gate(AtomicUsize);

/// Marks a gate as closed; below it, the helpers inside are counted.
const CLOSED: usize = 1 << (usize::BITS - 1);

/// A helper that has entered.
struct Inside<'a>(&'a Gate);

/// Closes the gate when dropped, and waits for those inside.
struct Closing<'a>(&'a Gate);

impl Gate {
    fn enter(&self) -> Option<Inside<'_>> {
        let before = self.0.fetch_add(1, Ordering::Acquire);
        // Dropped again where it is closed.
        let inside = Inside(self);
        (before & CLOSED == 0).then_some(inside)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Release);
    }
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        let Gate(state) = self.0;
        let mut inside = state.fetch_or(CLOSED, Ordering::AcqRel) & !CLOSED;
        let mut spins = 0;
        // No longer than a block takes.
        while inside > 0 {
            spins += 1;
            if spins % 128 == 0 {
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
            inside = state.load(Ordering::Acquire) & !CLOSED;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_done_once() {
        for _ in 0..200 {
            for (items, block) in [(0, 4), (1, 4), (103, 4), (103, 200), (64, 1)] {
                let done: Vec<AtomicUsize> = (0..items).map(|_| AtomicUsize::new(0)).collect();
                share(&Busy::enter(), items, block, true, |range| {
                    for i in range {
                        done[i].fetch_add(1, Ordering::Relaxed);
                    }
                });
                assert!(done.iter().all(|n| n.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn a_panic_of_a_block_is_the_callers() {
        let busy = Busy::enter();
        for bad in 0..8 {
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                share(&busy, 8, 1, true, |range| assert!(range.start != bad));
            }));
            assert!(panicked.is_err());
        }
    }
}
