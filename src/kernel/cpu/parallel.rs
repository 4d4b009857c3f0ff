//! Threads of the engines, and work that one thread shares with others.

use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

use rayon::{ThreadPool, ThreadPoolBuilder};

/// The engines' threads; none where they cannot be started, and rayon's global pool serves.
///
/// The global pool does not serve: a thread of a pool that waits for others meanwhile runs whatever else
/// was given to that pool. An engine holds locks of tables while its threads are at work. In the global
/// pool one of them could start a step of the program's own, which would wait for such a lock: for good.
/// The engines' threads run nothing but arithmetic, and never take a table's lock.
fn pool() -> Option<&'static ThreadPool> {
    static POOL: OnceLock<Option<ThreadPool>> = OnceLock::new();
    let make = || {
        let name = |i: usize| format!("engine {i}");
        ThreadPoolBuilder::new().thread_name(name).build().ok()
    };
    POOL.get_or_init(make).as_ref()
}

/// Runs `work` on the engines' threads. On a thread of a pool it runs in that pool: a worker's pool
/// decides how many threads its engine has.
pub fn in_pool<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    match (rayon::current_thread_index(), pool()) {
        (None, Some(pool)) => pool.install(work),
        _ => work(),
    }
}

/// Runs `work`, which takes locks of tables before it enters the engines' pool, on a thread of no pool:
/// on this one, or on a thread of its own if this one is a pool's.
pub fn outside_pools<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    if rayon::current_thread_index().is_none() {
        return work();
    }
    let result = thread::scope(|scope| scope.spawn(work).join());
    result.unwrap_or_else(|panic| resume_unwind(panic))
}

/// Threads that share work of this thread.
fn threads() -> usize {
    match (rayon::current_thread_index(), pool()) {
        (None, Some(pool)) => pool.current_num_threads(),
        _ => rayon::current_num_threads(),
    }
}

/// Gives `work` to a thread of the pool.
fn spawn(work: impl FnOnce() + Send + 'static) {
    match (rayon::current_thread_index(), pool()) {
        (None, Some(pool)) => pool.spawn(work),
        _ => rayon::spawn(work),
    }
}

/// Number of threads at work that could be shared.
static ACTIVE: AtomicUsize = AtomicUsize::new(0);

/// Marks this thread as at work that could be shared, until it is dropped.
pub struct Activity(());

impl Activity {
    /// Marks this thread.
    pub fn start() -> Activity {
        ACTIVE.fetch_add(1, Ordering::Relaxed);
        Activity(())
    }

    /// Whether no other thread is at such work.
    fn is_only_one(&self) -> bool {
        ACTIVE.load(Ordering::Relaxed) == 1
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        ACTIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Does the work of all items, in blocks of at least `block` items: on this thread and, if `parallel`, on
/// threads of the pool.
///
/// Several threads that are active at once, such as the workers of an asynchronous run, each do their own
/// work: that is as fast, and wakes no other thread. Blocks run in no order: no result may depend on it.
pub fn for_each_block(
    items: usize,
    block: usize,
    parallel: bool,
    work: impl Fn(Range<usize>) + Sync,
) {
    let activity = Activity::start();
    let blocks = if parallel { items.div_ceil(block) } else { 0 };
    Helpers::request(&activity, blocks).run(items, block, work);
}

/// Threads of the pool that are on their way to share some work. They take a while to wake up, in which
/// this thread may prepare the work.
///
/// A parallel iterator of rayon does not serve, for two reasons. Here this thread works from the start, and
/// never waits for a thread that has not woken up when all is done; with rayon it sleeps until the pool has
/// done everything. On two cores that other programs use as well, an Adagrad update of 65,536 rows of 128
/// values took 1.2 to 1.3 times as long with rayon, and one of 8,192 rows 5 times. And this thread never
/// runs other work of the pool meanwhile: it may hold locks of tables (see [`pool`]).
pub struct Helpers(Option<CloseOnDrop>);

impl Helpers {
    /// Requests as many threads as are of use for `blocks` blocks, unless other threads are active. Until
    /// helpers are given work or dropped they wait: this thread's work in between must be short, and must
    /// not need the pool.
    pub fn request(activity: &Activity, blocks: usize) -> Helpers {
        let helpers = threads().min(blocks).saturating_sub(1);
        if helpers == 0 || !activity.is_only_one() {
            return Helpers(None);
        }
        let gate = Arc::new(Gate::default());
        for _ in 0..helpers {
            let gate = Arc::clone(&gate);
            spawn(move || {
                if let Some(inside) = gate.enter()
                    && let Some(task) = inside.wait()
                {
                    // SAFETY: the gate has the task, and `CloseOnDrop` keeps the task until no thread is
                    // inside. Only the lifetime and the type of the closure behind it are erased.
                    let task: &Task<'_> = unsafe { &*task.cast() };
                    task.run_blocks();
                }
            });
        }
        Helpers(Some(CloseOnDrop(gate)))
    }

    /// Does the work of all items together with the helpers, as [`for_each_block`] says.
    pub fn run(self, items: usize, block: usize, work: impl Fn(Range<usize>) + Sync) {
        let Helpers(Some(close)) = self else {
            return work(0..items);
        };
        let task = Task {
            work: &work,
            items,
            block,
            next: AtomicUsize::new(0),
            panic: Mutex::new(None),
        };
        // Bound after the task, so that the gate closes before the task is dropped, also in a panic.
        let close = close;
        close.0.open(std::ptr::from_ref(&task).cast());
        task.run_blocks();
        drop(close);
        let panic = task.panic.into_inner();
        if let Some(panic) = panic.unwrap_or_else(PoisonError::into_inner) {
            resume_unwind(panic);
        }
    }
}

/// Work of a call of [`Helpers::run`], on its stack.
struct Task<'a> {
    work: &'a (dyn Fn(Range<usize>) + Sync),
    items: usize,
    block: usize,
    /// The first item that no thread has taken.
    next: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Task<'_> {
    /// Takes and runs blocks until none is left.
    fn run_blocks(&self) {
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
        let shares = 2 * threads();
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

/// The way of helpers to a task: they enter while the gate is not closed, and wait for the task.
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

/// Closes the gate when dropped, and waits for the helpers inside.
struct CloseOnDrop(Arc<Gate>);

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

impl Drop for CloseOnDrop {
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

/// Waits a moment, for a change that comes soon.
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
                for_each_block(items, block, true, |range| {
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
        for bad in 0..8 {
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                for_each_block(8, 1, true, |range| assert!(!range.contains(&bad)));
            }));
            assert!(panicked.is_err());
        }
    }

    #[test]
    fn helpers_that_wait_are_given_the_work() {
        for _ in 0..50 {
            let helpers = Helpers::request(&Activity::start(), 64);
            // Long enough for those that are there to be inside.
            std::thread::sleep(std::time::Duration::from_micros(200));
            let done: Vec<AtomicUsize> = (0..64).map(|_| AtomicUsize::new(0)).collect();
            helpers.run(64, 1, |range| {
                for i in range {
                    done[i].fetch_add(1, Ordering::Relaxed);
                }
            });
            assert!(done.iter().all(|n| n.load(Ordering::Relaxed) == 1));
        }
    }

    #[test]
    fn helpers_that_are_not_needed_leave() {
        let (done, finished) = std::sync::mpsc::channel();
        thread::spawn(move || {
            request_and_drop();
            done.send(()).unwrap();
        });
        let finished = finished.recv_timeout(std::time::Duration::from_secs(60));
        finished.expect("a helper waits for good");
    }

    fn request_and_drop() {
        let activity = Activity::start();
        for _ in 0..200 {
            drop(Helpers::request(&activity, 8));
        }
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _called = Helpers::request(&activity, 8);
            panic!("while it is prepared");
        }));
        assert!(panicked.is_err());
        // Threads of the pool are there again.
        in_pool(|| rayon::broadcast(|_| ()));
    }
}
