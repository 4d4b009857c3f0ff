//! Jobs that wait for a thread.

use std::collections::VecDeque;

use super::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Jobs that wait for a thread, in order, and threads that wait for a job.
#[derive(Debug)]
pub(super) struct Queue<J> {
    jobs: Mutex<Jobs<J>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Jobs<J> {
    waiting: VecDeque<J>,
    closed: bool,
}

impl<J> Queue<J> {
    /// Makes a queue without jobs.
    pub fn new() -> Queue<J> {
        Queue {
            jobs: Mutex::new(Jobs {
                waiting: VecDeque::new(),
                closed: false,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Jobs<J>> {
        // Jobs run without the lock, so that a panic leaves the queue whole.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a job. A queue that is closed drops it.
    pub fn push(&self, job: J) {
        let mut jobs = self.lock();
        if jobs.closed {
            drop(jobs);
            // Dropping a job may need other locks.
            drop(job);
            return;
        }
        jobs.waiting.push_back(job);
        drop(jobs);
        self.changed.notify_one();
    }

    /// Next job; none when the queue is closed.
    pub fn take(&self) -> Option<J> {
        let mut jobs = self.lock();
        loop {
            if jobs.closed {
                return None;
            }
            if let Some(job) = jobs.waiting.pop_front() {
                return Some(job);
            }
            let woken = self.changed.wait(jobs);
            jobs = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Number of jobs that wait.
    pub fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Drops the jobs that wait, and ends the threads that wait for one.
    pub fn close(&self) {
        let mut jobs = self.lock();
        jobs.closed = true;
        let dropped = std::mem::take(&mut jobs.waiting);
        drop(jobs);
        drop(dropped);
        self.changed.notify_all();
    }
}
