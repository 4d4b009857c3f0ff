//! Threads that sample.

use std::any::Any;
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::StoreError;
use super::queue::Queue;
use crate::neighborhood::{NearSampler, PartsSampler, Sampler};

/// Memory that a thread uses for batch after batch.
#[derive(Debug)]
pub struct Scratch {
    /// Sampler of the thread.
    pub sampler: Sampler,
    /// Sampler of candidates, with the pools that it keeps.
    pub near: NearSampler,
    /// Sampler of graphs in parts.
    pub parts: PartsSampler,
}

impl Scratch {
    /// Makes the memory for batches of at most `most_facts` facts.
    pub fn new(most_facts: u64) -> Scratch {
        Scratch {
            sampler: Sampler::with_most_facts(most_facts),
            near: NearSampler::default(),
            parts: PartsSampler::default(),
        }
    }
}

type Job = Box<dyn FnOnce(&mut Scratch) + Send>;

/// Threads that sample, and the jobs that wait for one. Dropping the pool drops the jobs that have not begun and waits
/// for those that have.
pub struct Pool {
    queue: Arc<Queue<Job>>,
    threads: Vec<JoinHandle<()>>,
    most_facts: u64,
    ended: Arc<AtomicBool>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (threads, jobs) = (self.threads.len(), self.waiting());
        write!(f, "{threads} threads, {jobs} jobs")
    }
}

impl Pool {
    /// Starts threads for batches of at most `most_facts` facts.
    ///
    /// # Errors
    /// If the system starts no more threads.
    pub fn new(threads: NonZeroU32, most_facts: u64) -> Result<Pool, StoreError> {
        let mut pool = Pool {
            queue: Arc::new(Queue::new()),
            threads: Vec::new(),
            most_facts,
            ended: Arc::default(),
        };
        for number in 0..threads.get() {
            let queue = Arc::clone(&pool.queue);
            let thread = std::thread::Builder::new().name(format!("sampling {number}"));
            let run = move || {
                let mut scratch = Scratch::new(most_facts);
                while let Some(job) = queue.take() {
                    job(&mut scratch);
                }
            };
            let started = thread.spawn(run);
            let failed = |error| StoreError::Failed(format!("a sampling thread: {error}"));
            pool.threads.push(started.map_err(failed)?);
        }
        Ok(pool)
    }

    /// Most facts of a batch.
    pub fn most_facts(&self) -> u64 {
        self.most_facts
    }

    /// Mark that is set when the pool is dropped. Work that waits for others looks at it, and gives up.
    pub fn ended(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.ended)
    }

    /// Number of jobs that wait for a thread.
    pub fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    /// Hands over work, and the call that takes its result on the sampling thread. Work that panics gives
    /// [`StoreError::Failed`], and the thread goes on.
    pub fn submit<T>(
        &self,
        work: impl FnOnce(&mut Scratch) -> Result<T, StoreError> + Send + 'static,
        done: impl FnOnce(Result<T, StoreError>) + Send + 'static,
    ) {
        let most_facts = self.most_facts;
        let job: Job = Box::new(move |scratch| {
            let result = catch_unwind(AssertUnwindSafe(|| work(scratch)));
            done(result.unwrap_or_else(|panic| {
                *scratch = Scratch::new(most_facts);
                Err(StoreError::Failed(message(&*panic)))
            }));
        });
        self.queue.push(job);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        self.queue.close();
        for thread in self.threads.drain(..) {
            // A job may have been the last to hold the pool.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

/// Message of a panic.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("sampling panicked: {}", text.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn a_panic_is_an_error_and_the_thread_goes_on() {
        let pool = Pool::new(NonZeroU32::MIN, 10).unwrap();
        let (sender, results) = mpsc::channel();
        for at in 0..3 {
            let sender = sender.clone();
            let work = move |_: &mut Scratch| match at {
                1 => panic!("fault {at}"),
                _ => Ok(at),
            };
            pool.submit(work, move |result| sender.send(result).unwrap());
        }
        let next = || results.recv_timeout(Duration::from_secs(60)).unwrap();
        assert_eq!(next(), Ok(0));
        let error = next().unwrap_err().to_string();
        assert!(error.contains("fault 1"), "{error}");
        assert_eq!(next(), Ok(2));
    }
}
