//! Arithmetic and long copies, kept off the threads of the async runtime.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Most values that an async task copies or updates itself: 4 MiB, which takes about a millisecond. Other tasks wait for
/// that time rather than move to another thread, which takes CPU time of its own for every request.
pub(super) const INLINE_VALUES: usize = 1 << 20;

/// Runs owned work so that the runtime serves other tasks meanwhile: on this thread, from which a runtime of
/// several threads first moves its other tasks, or on another thread if the runtime has only one. Work that has
/// begun is finished even if the caller stops waiting. Without a runtime, the work runs here.
///
/// This thread has the values in its cache: with a hop to another thread, a push of 65,536 rows takes a third
/// longer, and short steps of two workers a tenth.
///
/// `None` if the runtime shuts down before the work begins: the work is dropped then.
///
/// # Panics
/// In a `tokio::task::LocalSet` on a runtime of several threads: tokio cannot move such tasks.
pub(crate) async fn off_runtime<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let Ok(runtime) = Handle::try_current() else {
        return Some(work());
    };
    if runtime.runtime_flavor() == RuntimeFlavor::MultiThread {
        return Some(tokio::task::block_in_place(work));
    }
    match runtime.spawn_blocking(work).await {
        Ok(value) => Some(value),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => None,
        },
    }
}

/// Runs work on borrowed data, which cannot go to another thread. A runtime of several threads first moves
/// other tasks away from this thread; on a runtime of one thread, other tasks wait.
///
/// # Panics
/// In a `tokio::task::LocalSet` on a runtime of several threads, with more than [`INLINE_VALUES`] values: tokio
/// cannot move the tasks of a `LocalSet`.
pub(super) fn on_this_thread<T>(values: usize, work: impl FnOnce() -> T) -> T {
    match Handle::try_current() {
        Ok(_) if values <= INLINE_VALUES => work(),
        Ok(runtime) if runtime.runtime_flavor() == RuntimeFlavor::MultiThread => {
            tokio::task::block_in_place(work)
        }
        _ => work(),
    }
}
