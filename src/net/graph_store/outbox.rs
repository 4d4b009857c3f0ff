//! Batches of a fetch that wait to be sent, and the memory that those of all fetches may take.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::store::StoreError;

/// Time without progress after which the batches of a fetch may be dropped, to be drawn again.
const STALLED: Duration = Duration::from_secs(1);

/// Outboxes of all fetches, and the bytes in them.
#[derive(Debug)]
pub(super) struct Outboxes {
    limit: u64,
    bytes: AtomicU64,
    /// Whether a fetch waits for memory of others.
    awaited: AtomicBool,
    open: Mutex<Vec<Weak<Outbox>>>,
}

/// Most batches of a fetch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Batches that wait or are drawn.
    pub batches: u64,
    /// Batches that are drawn.
    pub in_flight: u64,
    /// Bytes of those that wait.
    pub bytes: u64,
}

/// Batches of one fetch.
#[derive(Debug)]
pub(super) struct Outbox {
    all: Arc<Outboxes>,
    state: Mutex<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    /// Number that rises when batches that were asked for are no longer wanted.
    generation: u64,
    ready: BTreeMap<u64, Result<Bytes, StoreError>>,
    bytes: u64,
    /// Batches that are asked for and not drawn.
    in_flight: u64,
    /// Bytes of the largest batch so far; `None` before the first.
    largest: Option<u64>,
    moved: Instant,
    waker: Option<Waker>,
}

/// Answer of [`Outbox::room`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// The batch may be drawn, for this generation.
    Yes(u64),
    /// The fetch has as many as it may have.
    Enough,
    /// Other fetches have all of the memory.
    Full,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The state is whole between calls that cannot panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Outboxes {
    /// Makes room for batches of `limit` bytes.
    pub fn new(limit: u64) -> Outboxes {
        Outboxes {
            limit,
            bytes: AtomicU64::new(0),
            awaited: AtomicBool::new(false),
            open: Mutex::default(),
        }
    }

    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes of all batches that wait.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Number of open fetches.
    pub fn len(&self) -> u64 {
        lock(&self.open).len() as u64
    }

    /// Opens an outbox.
    pub fn open(self: &Arc<Outboxes>) -> Arc<Outbox> {
        let outbox = Arc::new(Outbox {
            all: Arc::clone(self),
            state: Mutex::new(Waiting {
                generation: 0,
                ready: BTreeMap::new(),
                bytes: 0,
                in_flight: 0,
                largest: None,
                moved: Instant::now(),
                waker: None,
            }),
        });
        let mut open = lock(&self.open);
        open.push(Arc::downgrade(&outbox));
        outbox
    }

    /// Wakes all fetches.
    pub fn wake(&self) {
        let open: Vec<_> = lock(&self.open).iter().filter_map(Weak::upgrade).collect();
        open.iter().for_each(|outbox| outbox.wake());
    }

    /// Drops the batches of the fetches that have not moved for a while. Returns their number.
    pub fn drop_stalled(&self) -> u64 {
        let open: Vec<_> = lock(&self.open).iter().filter_map(Weak::upgrade).collect();
        open.iter().map(|outbox| outbox.drop_if_stalled()).sum()
    }

    /// Notes that memory is free again.
    fn release(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if bytes > 0 && self.awaited.swap(false, Ordering::AcqRel) {
            self.wake();
        }
    }

    /// Most bytes of one of the fetches.
    fn share(&self) -> u64 {
        self.limit / (lock(&self.open).len() as u64).max(1)
    }
}

impl Outbox {
    /// Says whether one more batch may be drawn, and counts it if so.
    pub fn room(&self, bounds: Bounds, context: &Context<'_>) -> Room {
        let share = self.all.share().min(bounds.bytes);
        let mut state = lock(&self.state);
        let waiting = state.ready.len() as u64 + state.in_flight;
        // The first batch shows how large batches are.
        let large = match state.largest {
            Some(large) => large,
            None if waiting > 0 => return Room::Enough,
            None => 0,
        };
        let mine = state.bytes + (state.in_flight + 1) * large;
        let many = waiting >= bounds.batches || state.in_flight >= bounds.in_flight;
        if waiting > 0 && (many || mine > share) {
            return Room::Enough;
        }
        if self.all.bytes() + (state.in_flight + 1) * large > self.all.limit {
            if waiting > 0 {
                return Room::Enough;
            }
            state.waker = Some(context.waker().clone());
            self.all.awaited.store(true, Ordering::Release);
            return Room::Full;
        }
        state.in_flight += 1;
        Room::Yes(state.generation)
    }

    /// Whether batches of a generation are still wanted.
    pub fn wants(&self, generation: u64) -> bool {
        lock(&self.state).generation == generation
    }

    /// Takes a batch that was drawn.
    pub fn arrive(&self, generation: u64, position: u64, batch: Result<Bytes, StoreError>) {
        let mut state = lock(&self.state);
        if state.generation != generation {
            return;
        }
        state.in_flight -= 1;
        if let Ok(bytes) = &batch {
            let bytes = bytes.len() as u64;
            state.bytes += bytes;
            state.largest = Some(state.largest.map_or(bytes, |largest| largest.max(bytes)));
            self.all.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        state.ready.insert(position, batch);
        if let Some(waker) = state.waker.take() {
            drop(state);
            waker.wake();
        }
    }

    /// The generation, and the batch at a position, which stays. Without a batch, the context is woken for the next change.
    pub fn peek(
        &self,
        position: u64,
        context: &Context<'_>,
    ) -> (u64, Option<Result<Bytes, StoreError>>) {
        let mut state = lock(&self.state);
        let found = state.ready.get(&position).cloned();
        if found.is_none() {
            state.waker = Some(context.waker().clone());
        }
        (state.generation, found)
    }

    /// Notes that bytes of a batch were sent.
    pub fn progress(&self) {
        lock(&self.state).moved = Instant::now();
    }

    /// Removes a batch that is sent.
    pub fn sent(&self, position: u64) {
        let mut state = lock(&self.state);
        if let Some(Ok(batch)) = state.ready.remove(&position) {
            let bytes = batch.len() as u64;
            state.bytes -= bytes;
            state.moved = Instant::now();
            drop(state);
            self.all.release(bytes);
        }
    }

    /// Forgets all batches.
    pub fn clear(&self) -> u64 {
        let mut state = lock(&self.state);
        let dropped = std::mem::take(&mut state.ready).len() as u64;
        let bytes = std::mem::take(&mut state.bytes);
        state.generation += 1;
        state.in_flight = 0;
        drop(state);
        self.all.release(bytes);
        dropped
    }

    fn drop_if_stalled(&self) -> u64 {
        let state = lock(&self.state);
        let stalled = state.bytes > 0 && state.moved.elapsed() > STALLED;
        drop(state);
        match stalled {
            true => self.clear(),
            false => 0,
        }
    }

    fn wake(&self) {
        let waker = lock(&self.state).waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.clear();
        lock(&self.all.open).retain(|open| open.strong_count() > 0);
    }
}
