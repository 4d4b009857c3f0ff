//! State of a server that its calls share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::metrics::{Metrics, Now, add};
use super::outbox::Outboxes;
use super::registry::{Limits, Registry};
use crate::graph::Graph;
use crate::store::{Description, Pool, StoreError};

/// State of a server.
#[derive(Debug)]
pub(super) struct Shared {
    pub graph: Arc<Graph>,
    pub description: Description,
    pub pool: Pool,
    pub threads: u64,
    pub outboxes: Arc<Outboxes>,
    pub metrics: Arc<Metrics>,
    pub lease: Duration,
    registry: Mutex<Registry>,
    begun: Instant,
    /// Whether the server has been asked to end.
    draining: watch::Sender<bool>,
}

/// Sizes of a server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub threads: u64,
    pub limits: Limits,
    /// Most bytes of batches that wait to be sent.
    pub waiting_bytes: u64,
    /// First number of samplers and channels.
    pub first: u64,
}

impl Shared {
    pub fn new(graph: Arc<Graph>, pool: Pool, sizes: &Sizes) -> Shared {
        Shared {
            description: Description::of(&graph, pool.most_facts()),
            graph,
            pool,
            threads: sizes.threads,
            outboxes: Arc::new(Outboxes::new(sizes.waiting_bytes)),
            metrics: Arc::default(),
            lease: sizes.limits.lease,
            registry: Mutex::new(Registry::new(sizes.limits, sizes.first)),
            begun: Instant::now(),
            draining: watch::Sender::new(false),
        }
    }

    /// Samplers, channels and leases.
    pub fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time since the start.
    pub fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Closes channels whose lease has ended, and drops batches of fetches that stall where memory is short.
    pub fn tick(&self) {
        let now = self.now();
        let lapsed = self.registry().expire(now);
        add(&self.metrics.lapsed, lapsed);
        let short = self.outboxes.bytes() > self.outboxes.limit() / 2;
        let dropped = if short {
            self.outboxes.drop_stalled()
        } else {
            0
        };
        add(&self.metrics.dropped, dropped);
        if lapsed + dropped > 0 {
            self.outboxes.wake();
        }
    }

    /// Refuses new work from now on. Returns the number of epochs that run.
    pub fn drain(&self) -> u64 {
        let running = self.registry().drain();
        self.draining.send_replace(true);
        running
    }

    /// Tells when the server was asked to end.
    pub fn asked_to_drain(&self) -> watch::Receiver<bool> {
        self.draining.subscribe()
    }

    /// Counts as text.
    pub fn metrics(&self) -> String {
        let counts = self.registry().counts();
        self.metrics.text(&Now {
            counts,
            queue: self.pool.waiting() as u64,
            fetches: self.outboxes.len(),
            waiting_bytes: self.outboxes.bytes(),
            limit_bytes: self.outboxes.limit(),
            draining: *self.draining.borrow(),
            running_for: self.now(),
        })
    }

    /// Draws on a sampling thread.
    ///
    /// # Errors
    /// Those of `work`; [`StoreError::Draining`] if the server has ended.
    pub async fn on_pool<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut crate::store::Scratch) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (sender, result) = tokio::sync::oneshot::channel();
        // A caller that has left wants no result.
        self.pool
            .submit(work, move |drawn| drop(sender.send(drawn)));
        result.await.unwrap_or(Err(StoreError::Draining))
    }
}
