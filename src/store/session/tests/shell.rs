//! A shell that carries out a session's actions by hand, and checks them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::*;

/// Batch of tests: epoch and position.
pub type Payload = (u64, u64);

/// A job that was ordered.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    pub job: u64,
    pub epoch: u64,
    pub position: u64,
}

/// Stream, as its client sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub channel: u64,
    pub epoch: u64,
    /// Position of the next batch.
    pub next: u64,
    pub batches: u64,
    pub credit: u64,
    pub untaken: VecDeque<u64>,
    pub done: bool,
    pub end: Option<EndReason>,
}

/// Session, its jobs, and its streams.
pub struct Shell {
    pub session: Session<Payload>,
    pub now: Duration,
    pub jobs: VecDeque<Job>,
    pub streams: BTreeMap<u64, Seen>,
    pub stopped: Option<Vec<CutOff>>,
    pub actions: usize,
    next_stream: u64,
}

impl Shell {
    pub fn new(config: SessionConfig) -> Shell {
        Shell {
            session: Session::new(config),
            now: Duration::ZERO,
            jobs: VecDeque::new(),
            streams: BTreeMap::new(),
            stopped: None,
            actions: 0,
            next_stream: 1,
        }
    }

    /// Opens a channel with `seeds` seeds in batches of 3.
    pub fn open(&mut self, key: &str, client: &str, seeds: u32, batches: u32) -> u64 {
        let spec = spec(key);
        let sampler = self.session.open_sampler(self.now, &spec).unwrap();
        let plan = channel_plan(&spec, seeds);
        let token = format!("token {}", self.session.next_channel());
        let window = window(batches);
        let opened = self
            .session
            .open_channel(self.now, client, &token, sampler, plan, window);
        self.observe();
        opened.unwrap()
    }

    pub fn start(&mut self, channel: u64, epoch: u64) -> Result<Start, StoreError> {
        let started = self.session.start(self.now, channel, epoch);
        self.observe();
        started
    }

    /// Opens a stream; returns its number.
    pub fn fetch(
        &mut self,
        channel: u64,
        epoch: u64,
        from: u64,
        batches: u64,
    ) -> Result<u64, StoreError> {
        let stream = self.next_stream;
        self.next_stream += 1;
        let known = self.session.channels.get(&channel);
        let seen = Seen {
            channel,
            epoch,
            next: from,
            batches: known.map_or(0, |state| state.batches()),
            credit: batches,
            untaken: VecDeque::new(),
            done: false,
            end: None,
        };
        self.streams.insert(stream, seen);
        let fetched = self
            .session
            .fetch(self.now, channel, stream, epoch, from, credit(batches));
        if fetched != Ok(Fetch::Open) {
            self.streams.remove(&stream);
        }
        self.observe();
        match fetched? {
            Fetch::Open => Ok(stream),
            Fetch::Closed => Err(StoreError::Closed),
        }
    }

    pub fn credit(&mut self, stream: u64, batches: u64) {
        let seen = self.streams.get_mut(&stream).unwrap();
        seen.credit += batches;
        let channel = seen.channel;
        self.session
            .credit(self.now, channel, stream, credit(batches));
        self.observe();
    }

    /// Takes the oldest batch of a stream; returns its position.
    pub fn take(&mut self, stream: u64) -> Option<u64> {
        let seen = self.streams.get_mut(&stream)?;
        let position = seen.untaken.pop_front()?;
        let channel = seen.channel;
        self.session.taken(self.now, channel, stream, position);
        self.observe();
        Some(position)
    }

    /// Ends a stream.
    pub fn ended(&mut self, stream: u64) {
        if let Some(seen) = self.streams.remove(&stream) {
            self.session.ended(self.now, seen.channel, stream);
            self.observe();
        }
    }

    /// Finishes a job, by its place among those that were ordered.
    pub fn finish(&mut self, at: usize, bytes: u64) -> Option<Job> {
        let job = self.jobs.remove(at)?;
        let made = Made {
            payload: (job.epoch, job.position),
            bytes,
            facts: bytes,
        };
        self.session.sampled(self.now, job.job, Ok(made));
        self.observe();
        Some(job)
    }

    /// Finishes jobs until there are none; returns their number.
    pub fn finish_all(&mut self) -> usize {
        let mut count = 0;
        while self.finish(0, 100).is_some() {
            count += 1;
        }
        count
    }

    /// Finishes jobs and takes batches of a stream until nothing happens; returns the number of batches.
    pub fn read(&mut self, stream: u64) -> u64 {
        let mut batches = 0;
        loop {
            let jobs = self.finish_all();
            let taken = std::iter::from_fn(|| self.take(stream)).count();
            batches += taken as u64;
            if jobs + taken == 0 {
                return batches;
            }
        }
    }

    /// Moves the clock on.
    pub fn at(&mut self, now: Duration) {
        self.now = now;
        self.session.tick(now);
        self.observe();
    }

    pub fn close(&mut self, channel: u64) {
        self.session.close(self.now, channel);
        self.observe();
    }

    /// Carries out the actions, and checks that streams get what they asked for.
    pub fn observe(&mut self) {
        while let Some(action) = self.session.next_action() {
            assert_eq!(self.stopped, None, "{action:?} after the end");
            self.actions += 1;
            match action {
                Action::Sample {
                    job,
                    epoch,
                    position,
                    plan,
                } => {
                    assert!(position < plan.batches());
                    let job = Job {
                        job,
                        epoch,
                        position,
                    };
                    self.jobs.push_back(job);
                }
                Action::Send {
                    channel,
                    stream,
                    position,
                    payload,
                } => {
                    let seen = self.streams.get_mut(&stream).unwrap();
                    assert!(!seen.done && seen.end.is_none(), "a batch after the end");
                    assert_eq!((seen.channel, seen.next), (channel, position));
                    assert_eq!(payload, (seen.epoch, position), "another batch");
                    seen.next += 1;
                    seen.credit = seen.credit.checked_sub(1).expect("no credit");
                    seen.untaken.push_back(position);
                }
                Action::Done { stream, epoch } => {
                    let seen = self.streams.get_mut(&stream).unwrap();
                    assert!(!seen.done && seen.end.is_none());
                    assert_eq!((seen.epoch, seen.next), (epoch.epoch, epoch.batches));
                    seen.done = true;
                }
                Action::End { stream, reason } => {
                    let seen = self.streams.get_mut(&stream).unwrap();
                    assert!(!seen.done && seen.end.is_none());
                    seen.end = Some(reason);
                }
                Action::Stop { cut_off } => self.stopped = Some(cut_off),
            }
        }
        self.check();
    }

    /// Checks that counts agree with what they count.
    fn check(&self) {
        let session = &self.session;
        let held: u64 = session.channels.values().map(|state| state.held()).sum();
        assert_eq!(session.held, held, "bytes");
        let sending = session
            .channels
            .values()
            .filter_map(|state| state.stream.as_ref());
        let sending = sending.flat_map(|stream| stream.sending.iter().map(|&(_, bytes)| bytes));
        assert_eq!(session.sending, sending.sum::<u64>(), "bytes being sent");
        let listed = session.channels.values().map(|state| state.plan.bytes());
        assert_eq!(session.listed, listed.sum::<u64>(), "listed seeds");
        let queued = session.channels.iter().filter_map(|(&number, state)| {
            assert_eq!(state.queued.is_some(), state.next_to_sample().is_some());
            state.queued.map(|work| (work, number))
        });
        assert_eq!(session.queue, queued.collect::<BTreeSet<_>>());
        assert!(session.jobs.len() <= session.config.jobs);
        for state in session.channels.values() {
            assert!(state.slots.len() <= state.window.batches.get() as usize);
        }
        for (&number, sampler) in &session.samplers {
            let of =
                |state: &&super::super::channel::ChannelState<Payload>| state.sampler == number;
            let channels = session.channels.values().filter(of).count();
            assert_eq!(sampler.channels(), channels);
        }
    }
}
