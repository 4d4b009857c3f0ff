//! Work that a thread shares with others, if they have nothing better to do.

use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Threads that are at work which could be shared.
static BUSY: AtomicUsize = AtomicUsize::new(0);

/// This thread is at such work.
pub struct Busy(());

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

/// Does the work of all items, in blocks of at least `block`, on this thread and, if `worth` the
/// while, on those of the pool. Where several threads are busy at once, as the workers of an
/// asynchronous run are, each does its own: that is as fast, and wakes nobody. Nor does this
/// thread ever wait for one that has not woken up when all is done.
///
/// Blocks run in no order: nothing may depend on it.
pub fn share(
    busy: &Busy,
    items: usize,
    block: usize,
    worth: bool,
    work: impl Fn(Range<usize>) + Sync,
) {
    let blocks = if worth { items.div_ceil(block) } else { 0 };
    Helpers::call(busy, blocks).share(items, block, work);
}

/// Threads of the pool that have been called to share some work. They take a while to wake up, in
/// which this thread may prepare the work.
pub struct Helpers(Option<Closing>);

impl Helpers {
    /// Calls as many as are of use for so many blocks, if nobody else is busy. Until they are given
    /// work or dropped they wait: what this thread does in between must be short, and must not need
    /// the pool.
    pub fn call(busy: &Busy, blocks: usize) -> Helpers {
        let helpers = rayon::current_num_threads().min(blocks).saturating_sub(1);
        if helpers == 0 || !busy.alone() {
            return Helpers(None);
        }
        let gate = Arc::new(Gate::default());
        for _ in 0..helpers {
            let gate = Arc::clone(&gate);
            rayon::spawn(move || {
                if let Some(inside) = gate.enter()
                    && let Some(task) = inside.wait()
                {
                    // SAFETY: the gate has the task, and `Closing` does not let go of it while
                    // anybody is inside. The lifetime and the closure behind it are only forgotten.
                    let task: &Task<'_> = unsafe { &*task.cast() };
                    task.drain();
                }
            });
        }
        Helpers(Some(Closing(gate)))
    }

    /// Does the work of all items together with them, as [`share`] says.
    pub fn share(self, items: usize, block: usize, work: impl Fn(Range<usize>) + Sync) {
        let Helpers(Some(closing)) = self else {
            return work(0..items);
        };
        let task = Task {
            work: &work,
            items,
            block,
            next: AtomicUsize::new(0),
            panic: Mutex::new(None),
        };
        // After the task, so that it is closed before the task is gone, whatever happens.
        let closing = closing;
        closing.0.open(std::ptr::from_ref(&task).cast());
        task.drain();
        drop(closing);
        let panic = task.panic.into_inner();
        if let Some(panic) = panic.unwrap_or_else(PoisonError::into_inner) {
            resume_unwind(panic);
        }
    }
}

/// What a call of [`Helpers::share`] has on its stack.
struct Task<'a> {
    work: &'a (dyn Fn(Range<usize>) + Sync),
    items: usize,
    block: usize,
    /// The first item that nobody has taken.
    next: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Task<'_> {
    /// Takes blocks until there are none.
    fn drain(&self) {
        let blocks = || {
            while let Some(block) = self.take() {
                (self.work)(block);
            }
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(blocks)) {
            let mut first = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(panic);
        }
    }

    /// A block: large ones first, as every block has to get going; small ones last, so that all
    /// threads are done at the same time.
    fn take(&self) -> Option<Range<usize>> {
        let shares = 2 * rayon::current_num_threads();
        let end = |first: usize| {
            let rest = self.items - first;
            first + (rest / shares).max(self.block).min(rest)
        };
        let taken = (self.next).fetch_update(Ordering::Relaxed, Ordering::Relaxed, |first| {
            (first < self.items).then(|| end(first))
        });
        taken.ok().map(|first| first..end(first))
    }
}

/// Who may look at a task: helpers enter while it is not closed, and wait for the task.
#[derive(Default)]
struct Gate {
    /// [`CLOSED`], and how many helpers are inside.
    state: AtomicUsize,
    /// A [`Task`], once there is one.
    task: AtomicPtr<()>,
}

/// Marks a gate as closed; below it, the helpers inside are counted.
const CLOSED: usize = 1 << (usize::BITS - 1);

/// A helper that has entered.
struct Inside<'a>(&'a Gate);

/// Closes the gate when dropped, and waits for those inside.
struct Closing(Arc<Gate>);

impl Gate {
    fn enter(&self) -> Option<Inside<'_>> {
        let before = self.state.fetch_add(1, Ordering::Acquire);
        // Dropped again where it is closed.
        let inside = Inside(self);
        (before & CLOSED == 0).then_some(inside)
    }

    fn open(&self, task: *const ()) {
        self.task.store(task.cast_mut(), Ordering::Release);
    }
}

impl Inside<'_> {
    /// The task, unless the gate closes without one.
    fn wait(&self) -> Option<*const ()> {
        let Inside(Gate { state, task }) = self;
        let mut spins = 0;
        while state.load(Ordering::Acquire) & CLOSED == 0 {
            let task = task.load(Ordering::Acquire);
            if !task.is_null() {
                return Some(task.cast_const());
            }
            spin(&mut spins);
        }
        None
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.state.fetch_sub(1, Ordering::Release);
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        let state = &self.0.state;
        let mut inside = state.fetch_or(CLOSED, Ordering::AcqRel) & !CLOSED;
        let mut spins = 0;
        // No longer than a block takes.
        while inside > 0 {
            spin(&mut spins);
            inside = state.load(Ordering::Acquire) & !CLOSED;
        }
    }
}

/// Waits a moment, for something that is soon there.
fn spin(spins: &mut u32) {
    *spins += 1;
    if spins.is_multiple_of(128) {
        std::thread::yield_now();
    } else {
        std::hint::spin_loop();
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
                share(&busy, 8, 1, true, |range| assert!(!range.contains(&bad)));
            }));
            assert!(panicked.is_err());
        }
    }

    #[test]
    fn helpers_that_wait_are_given_the_work() {
        for _ in 0..50 {
            let helpers = Helpers::call(&Busy::enter(), 64);
            // Long enough for those that are there to be inside.
            std::thread::sleep(std::time::Duration::from_micros(200));
            let done: Vec<AtomicUsize> = (0..64).map(|_| AtomicUsize::new(0)).collect();
            helpers.share(64, 1, |range| {
                for i in range {
                    done[i].fetch_add(1, Ordering::Relaxed);
                }
            });
            assert!(done.iter().all(|n| n.load(Ordering::Relaxed) == 1));
        }
    }

    #[test]
    fn helpers_that_are_not_needed_leave() {
        let busy = Busy::enter();
        for _ in 0..200 {
            drop(Helpers::call(&busy, 8));
        }
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _called = Helpers::call(&busy, 8);
            panic!("while it is prepared");
        }));
        assert!(panicked.is_err());
        // Threads of the pool are there again.
        rayon::broadcast(|_| ());
    }
}
