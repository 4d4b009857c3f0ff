//! The store whose batches this process makes.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::pool::{Pool, Scratch};
use super::seeds::Selected;
use super::{
    Channel, ChannelPlan, ChannelSpec, Description, Epoch, GraphStore, Next, SampledBatch,
    SamplerSpec, Select, Slice, Source, StoreError, Window,
};
use crate::graph::Graph;
use crate::neighborhood::{
    Anchor, Batch, Candidates, Draw, Labels, NearPlan, Question, SamplePlan, Sampler, Seeds,
};
use crate::sampler::GraphCandidates;

/// Store whose batches this process makes: a source of graphs, and threads that sample for all channels. Batches are the
/// same for any number of threads.
#[derive(Debug)]
pub struct PooledStore<S> {
    source: Arc<S>,
    pool: Arc<Pool>,
    /// Memory for batches that are drawn on the caller's thread.
    scratch: Mutex<Vec<Scratch>>,
    /// Draws candidates on the caller's thread, if the source can give them.
    candidates: Option<GraphCandidates>,
    /// Samplers of open channels.
    samplers: Mutex<HashMap<String, Weak<SamplerSpec>>>,
}

/// Store of one process, with its graph in memory.
pub type Local = PooledStore<Graph>;

impl Local {
    /// Graph of the store.
    pub fn graph(&self) -> &Arc<Graph> {
        &self.source
    }
}

impl<S: Source> PooledStore<S> {
    /// Starts sampling threads. Batches have at most [`Sampler::MOST_FACTS`] facts.
    ///
    /// # Errors
    /// If the system starts no more threads.
    pub fn new(source: Arc<S>, threads: NonZeroU32) -> Result<PooledStore<S>, StoreError> {
        let pool = Arc::new(Pool::new(threads, Sampler::MOST_FACTS)?);
        Ok(PooledStore::with_pool(source, pool))
    }

    /// Uses sampling threads that are there.
    pub fn with_pool(source: Arc<S>, pool: Arc<Pool>) -> PooledStore<S> {
        PooledStore {
            candidates: source.candidates(),
            source,
            pool,
            scratch: Mutex::default(),
            samplers: Mutex::default(),
        }
    }

    /// Source of the batches.
    pub fn source(&self) -> &Arc<S> {
        &self.source
    }

    /// Settings of a key, shared by its channels.
    fn sampler(&self, spec: &SamplerSpec) -> Result<Arc<SamplerSpec>, StoreError> {
        let mut samplers = self.samplers.lock().unwrap_or_else(PoisonError::into_inner);
        samplers.retain(|_, open| open.strong_count() > 0);
        if let Some(open) = samplers.get(&spec.key).and_then(Weak::upgrade) {
            return match open.difference(spec) {
                None => Ok(open),
                Some(field) => Err(StoreError::KeyTaken {
                    key: spec.key.clone(),
                    field,
                }),
            };
        }
        let open = Arc::new(spec.clone());
        samplers.insert(spec.key.clone(), Arc::downgrade(&open));
        Ok(open)
    }
}

impl<S: Source> GraphStore for PooledStore<S> {
    fn describe(&self) -> Result<Description, StoreError> {
        Ok(self.source.describe(self.pool.most_facts()))
    }

    fn ids(&self, of: &Select, slice: Slice) -> Result<Vec<u32>, StoreError> {
        Selected::find(&*self.source, *of, slice)?.nodes(&*self.source)
    }

    fn labels(
        &self,
        anchors: &[Anchor],
        most: Option<NonZeroU32>,
        draw: Draw,
    ) -> Result<Labels, StoreError> {
        self.source.labels(anchors, most, draw)
    }

    fn sample(
        &self,
        seeds: &Seeds<'_>,
        plan: &SamplePlan,
        draw: Draw,
    ) -> Result<Batch, StoreError> {
        let lock = || self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = lock().pop();
        let mut scratch = kept.unwrap_or_else(|| Scratch::new(self.pool.most_facts()));
        let sampled = self.source.sample(&mut scratch, seeds, plan, draw);
        lock().push(scratch);
        sampled
    }

    fn candidates(
        &self,
        questions: &[Question],
        plan: &NearPlan,
        draw: Draw,
        pools: Draw,
    ) -> Result<Candidates, StoreError> {
        let Some(candidates) = &self.candidates else {
            let what = "the graph is in parts; candidates are drawn from a graph in one piece";
            return Err(StoreError::setting("candidates", what));
        };
        Ok(candidates.draw(questions, plan, draw, pools)?)
    }

    fn open(
        &self,
        sampler: &SamplerSpec,
        channel: &ChannelSpec,
    ) -> Result<Box<dyn Channel>, StoreError> {
        let plan = ChannelPlan::new(&*self.source, sampler, channel, self.pool.most_facts())?;
        Ok(Box::new(PooledChannel {
            _sampler: self.sampler(sampler)?,
            source: Arc::clone(&self.source),
            pool: Arc::clone(&self.pool),
            plan: Arc::new(plan),
            window: channel.window,
            epoch: None,
            arrivals: Arrivals::new(),
        }))
    }
}

/// Channel of a store. At most a window of batches is under way or waits to be taken, so that no thread ever
/// waits for a trainer.
struct PooledChannel<S> {
    /// Keeps the key taken.
    _sampler: Arc<SamplerSpec>,
    source: Arc<S>,
    pool: Arc<Pool>,
    plan: Arc<ChannelPlan>,
    window: Window,
    epoch: Option<Epoch>,
    arrivals: Arrivals,
}

/// Batches of a channel that were asked for.
struct Arrivals {
    /// Number that rises whenever batches that were asked for are no longer wanted.
    generation: Arc<AtomicU64>,
    /// Position of the next batch to give.
    next: u64,
    /// Position of the next batch to ask for.
    asked: u64,
    /// Batches that have arrived, by position.
    ready: BTreeMap<u64, Result<SampledBatch, StoreError>>,
    /// Bytes of those.
    bytes: u64,
    sender: Sender<Arrival>,
    receiver: Receiver<Arrival>,
}

struct Arrival {
    generation: u64,
    position: u64,
    result: Result<SampledBatch, StoreError>,
}

impl Arrivals {
    fn new() -> Arrivals {
        let (sender, receiver) = channel();
        Arrivals {
            generation: Arc::default(),
            next: 0,
            asked: 0,
            ready: BTreeMap::new(),
            bytes: 0,
            sender,
            receiver,
        }
    }

    /// Forgets all batches, to go on at a position.
    fn restart(&mut self, position: u64) {
        self.generation.fetch_add(1, Ordering::Relaxed);
        (self.next, self.asked, self.bytes) = (position, position, 0);
        self.ready.clear();
    }

    fn arrive(&mut self, arrival: Arrival) {
        if arrival.generation == self.generation.load(Ordering::Relaxed) {
            if let Ok(sampled) = &arrival.result {
                self.bytes += sampled.bytes();
            }
            self.ready.insert(arrival.position, arrival.result);
        }
    }
}

impl Drop for Arrivals {
    fn drop(&mut self) {
        self.restart(0);
    }
}

impl<S: Source> PooledChannel<S> {
    /// Asks for batches while the window has room.
    fn fill(&mut self, epoch: Epoch) {
        let arrivals = &mut self.arrivals;
        let room = |arrivals: &Arrivals| {
            let waiting = arrivals.asked - arrivals.next;
            waiting == 0
                || waiting < u64::from(self.window.batches.get())
                    && arrivals.bytes < self.window.bytes
        };
        while arrivals.asked < epoch.batches && room(arrivals) {
            let position = arrivals.asked;
            arrivals.asked += 1;
            let generation = arrivals.generation.load(Ordering::Relaxed);
            let current = Arc::clone(&arrivals.generation);
            let sender = arrivals.sender.clone();
            let (source, plan) = (Arc::clone(&self.source), Arc::clone(&self.plan));
            let work = move |scratch: &mut Scratch| {
                if current.load(Ordering::Relaxed) != generation {
                    return Err(StoreError::Closed);
                }
                plan.sample(&*source, scratch, epoch.epoch, position)
            };
            let done = move |result| {
                // A channel that is gone wants no batch.
                let _ = sender.send(Arrival {
                    generation,
                    position,
                    result,
                });
            };
            self.pool.submit(work, done);
        }
    }
}

impl<S: Source> Channel for PooledChannel<S> {
    fn start(&mut self, epoch: u64) -> Result<Epoch, StoreError> {
        match self.epoch {
            Some(current) if epoch <= current.epoch => Ok(current),
            _ => {
                let begun = self.plan.epoch(epoch);
                self.epoch = Some(begun);
                self.arrivals.restart(0);
                self.fill(begun);
                Ok(begun)
            }
        }
    }

    fn next(&mut self, wait: Duration) -> Result<Next, StoreError> {
        let epoch = self.epoch.ok_or(StoreError::NotStarted)?;
        let deadline = Instant::now().checked_add(wait);
        loop {
            let position = self.arrivals.next;
            if position == epoch.batches {
                return Ok(Next::Done(epoch));
            }
            match self.arrivals.ready.remove(&position) {
                Some(Ok(sampled)) => {
                    self.arrivals.bytes -= sampled.bytes();
                    self.arrivals.next += 1;
                    self.fill(epoch);
                    return Ok(Next::Batch(Box::new(sampled)));
                }
                Some(Err(error)) => {
                    let kept = Err(error.clone());
                    self.arrivals.ready.insert(position, kept);
                    return Err(error);
                }
                None => {}
            }
            let left = deadline.map_or(wait, |deadline| {
                deadline.saturating_duration_since(Instant::now())
            });
            match self.arrivals.receiver.recv_timeout(left) {
                Ok(arrival) => self.arrivals.arrive(arrival),
                Err(RecvTimeoutError::Timeout) => return Err(StoreError::Timeout(wait)),
                Err(RecvTimeoutError::Disconnected) => return Err(StoreError::Closed),
            }
        }
    }

    fn seek(&mut self, position: u64) -> Result<(), StoreError> {
        let epoch = self.epoch.ok_or(StoreError::NotStarted)?;
        let batches = epoch.batches;
        if position > batches {
            return Err(StoreError::Position { position, batches });
        }
        self.arrivals.restart(position);
        self.fill(epoch);
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}
