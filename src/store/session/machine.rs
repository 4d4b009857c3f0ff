//! Events of a session.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use super::channel::{ChannelState, Sent, Slot, Stream};
use super::{Action, Credit, CutOff, EndReason, Fetch, Made, SessionConfig, Start};
use crate::store::{ChannelPlan, SamplerSpec, StoreError, Window};

/// Samplers and channels of a server. Pure: see [the module](super).
///
/// `now` is the time since the start of the server at which an event *arrived*. A time before the latest one known is
/// taken as that. Leases and deadlines that end by `now` come before the event itself.
///
/// Every call may add to the actions; take them with [`next_action`](Session::next_action), and call
/// [`tick`](Session::tick) at [`next_deadline`](Session::next_deadline).
///
/// `T` is a batch as it is sent.
#[derive(Debug)]
pub struct Session<T> {
    pub(super) config: SessionConfig,
    pub(super) samplers: BTreeMap<u64, SamplerState>,
    pub(super) keys: HashMap<String, u64>,
    pub(super) channels: BTreeMap<u64, ChannelState<T>>,
    tokens: HashMap<(String, String), u64>,
    /// Channel, epoch and position of each job.
    pub(super) jobs: BTreeMap<u64, (u64, u64, u64)>,
    /// Channels with room, by work.
    pub(super) queue: BTreeSet<(u64, u64)>,
    /// Work of the channel that was served last.
    pub(super) work: u64,
    /// Channels by the time of their lapse.
    leases: BTreeSet<(Duration, u64)>,
    /// Bytes of batches that are under way, made, or being sent.
    pub(super) held: u64,
    /// Bytes of those that are being sent.
    pub(super) sending: u64,
    /// Bytes of the seeds that clients have listed.
    pub(super) listed: u64,
    /// Bytes of answers to single calls that wait to be sent.
    pub(super) answers: u64,
    now: Duration,
    drain: Drain,
    next_sampler: u64,
    next_channel: u64,
    pub(super) next_job: u64,
    pub(super) actions: VecDeque<Action<T>>,
    pub(super) sent: Sent,
    pub(super) lapsed: u64,
    pub(super) evicted: u64,
}

/// A sampler.
#[derive(Debug)]
pub(super) struct SamplerState {
    spec: SamplerSpec,
    channels: usize,
    /// Time at which a sampler without channels is forgotten.
    lease: Duration,
}

/// Course of a server's end.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Drain {
    No,
    Until(Duration, Vec<CutOff>),
    Stopped,
}

impl<T> Session<T> {
    /// Makes a session without samplers and channels.
    pub fn new(config: SessionConfig) -> Session<T> {
        Session {
            config,
            samplers: BTreeMap::new(),
            keys: HashMap::new(),
            channels: BTreeMap::new(),
            tokens: HashMap::new(),
            jobs: BTreeMap::new(),
            queue: BTreeSet::new(),
            work: 0,
            leases: BTreeSet::new(),
            held: 0,
            sending: 0,
            listed: 0,
            answers: 0,
            now: Duration::ZERO,
            drain: Drain::No,
            next_sampler: 1,
            next_channel: 1,
            next_job: 1,
            actions: VecDeque::new(),
            sent: Sent::default(),
            lapsed: 0,
            evicted: 0,
        }
    }

    /// Takes the next action.
    pub fn next_action(&mut self) -> Option<Action<T>> {
        self.actions.pop_front()
    }

    /// Time at which [`tick`](Session::tick) changes something, if nothing happens before.
    pub fn next_deadline(&self) -> Option<Duration> {
        let lease = self.leases.first().map(|&(time, _)| time);
        let unused = self.samplers.values().filter(|of| of.channels == 0);
        let sampler = unused.map(|sampler| sampler.lease).min();
        let drain = match &self.drain {
            Drain::Until(deadline, _) => Some(*deadline),
            _ => None,
        };
        [lease, sampler, drain].into_iter().flatten().min()
    }

    /// Ends what is due.
    pub fn tick(&mut self, now: Duration) {
        self.arrive(now);
        self.go_on();
    }

    /// Number of the next channel.
    #[cfg(test)]
    pub(super) fn next_channel(&self) -> u64 {
        self.next_channel
    }

    /// Returns whether the session takes no new work.
    pub fn is_draining(&self) -> bool {
        self.drain != Drain::No
    }

    /// Opens a sampler, or finds the one with equal settings. The shell has checked the settings against the graph
    /// ([`SamplerSpec::check`]). A sampler whose channels are all closed gives its key to other settings.
    ///
    /// # Errors
    /// [`StoreError::KeyTaken`] if channels use other settings with the key, [`StoreError::Draining`],
    /// [`StoreError::Limit`].
    pub fn open_sampler(&mut self, now: Duration, spec: &SamplerSpec) -> Result<u64, StoreError> {
        self.arrive(now);
        let lease = self.now.saturating_add(self.config.lease);
        let found = self.keys.get(&spec.key).copied();
        if let Some((number, open)) =
            found.and_then(|number| Some((number, self.samplers.get_mut(&number)?)))
        {
            match open.spec.difference(spec) {
                None => {
                    open.lease = lease;
                    return Ok(number);
                }
                Some(field) if open.channels > 0 => {
                    let key = spec.key.clone();
                    return Err(StoreError::KeyTaken { key, field });
                }
                Some(_) => self.forget_sampler(number),
            }
        }
        self.refuse_if_draining()?;
        limit(
            "samplers",
            self.samplers.len() + 1,
            self.config.most_samplers,
        )?;
        let number = self.next_sampler;
        self.next_sampler += 1;
        let state = SamplerState {
            spec: spec.clone(),
            channels: 0,
            lease,
        };
        self.samplers.insert(number, state);
        self.keys.insert(spec.key.clone(), number);
        Ok(number)
    }

    /// Settings of a sampler, from which the shell makes the plan of a channel.
    ///
    /// # Errors
    /// [`StoreError::UnknownSampler`].
    pub fn sampler(&self, sampler: u64) -> Result<&SamplerSpec, StoreError> {
        let found = self.samplers.get(&sampler);
        Ok(&found.ok_or(StoreError::UnknownSampler(sampler))?.spec)
    }

    /// Opens a channel. A second call with the client's token gives the same channel, as long as it is open.
    ///
    /// # Errors
    /// [`StoreError::UnknownSampler`], [`StoreError::Draining`], [`StoreError::Limit`], or [`StoreError::KeyTaken`] if
    /// the token's channel has other seeds or settings.
    pub fn open_channel(
        &mut self,
        now: Duration,
        client: &str,
        token: &str,
        sampler: u64,
        plan: ChannelPlan,
        window: Window,
    ) -> Result<u64, StoreError> {
        self.arrive(now);
        let name = (client.to_owned(), token.to_owned());
        if let Some(&open) = self.tokens.get(&name) {
            return self.reopen(open, &plan);
        }
        self.refuse_if_draining()?;
        let spec = self.sampler(sampler)?;
        if let Some(field) = spec.difference(plan.sampler()) {
            let key = spec.key.clone();
            return Err(StoreError::KeyTaken { key, field });
        }
        limit(
            "channels",
            self.channels.len() + 1,
            self.config.most_channels,
        )?;
        let listed = self.listed + plan.bytes();
        let (found, most) = (listed + self.answers, self.config.memory / 2);
        if plan.bytes() > 0 && found > most {
            let what = "bytes of listed seeds of all channels, and of answers that wait to be sent";
            return Err(StoreError::Limit { what, found, most });
        }
        let window = Window {
            batches: window.batches.min(
                std::num::NonZeroU32::new(self.config.most_window)
                    .unwrap_or(std::num::NonZeroU32::MIN),
            ),
            ..window
        };
        let number = self.next_channel;
        self.next_channel += 1;
        self.listed = listed;
        if let Some(sampler) = self.samplers.get_mut(&sampler) {
            sampler.channels += 1;
        }
        self.tokens.insert(name.clone(), number);
        let channel = ChannelState::new(name.0, name.1, sampler, plan, window);
        self.channels.insert(number, channel);
        self.renew_channel(number);
        Ok(number)
    }

    /// The open channel of a token, if it has the plan's seeds and settings.
    fn reopen(&mut self, open: u64, plan: &ChannelPlan) -> Result<u64, StoreError> {
        if let Some(channel) = self.channels.get(&open) {
            let spec = channel.plan.sampler();
            let differs = match spec.difference(plan.sampler()) {
                None if !channel.plan.equals(plan) => Some("seeds"),
                other => other,
            };
            if let Some(field) = differs {
                let key = spec.key.clone();
                return Err(StoreError::KeyTaken { key, field });
            }
        }
        self.renew_channel(open);
        Ok(open)
    }

    /// Begins an epoch, unless the channel is in it or in a later one.
    ///
    /// # Errors
    /// [`StoreError::UnknownChannel`] if the channel was never open, [`StoreError::Draining`].
    pub fn start(&mut self, now: Duration, channel: u64, epoch: u64) -> Result<Start, StoreError> {
        self.arrive(now);
        let Some(state) = self.open_or_closed(channel)? else {
            return Ok(Start::Closed);
        };
        let current = match state.epoch {
            Some(current) if epoch <= current.epoch => current,
            _ => {
                self.refuse_if_draining()?;
                self.end_stream(channel, EndReason::NewEpoch);
                self.drop_slots(channel, |_| false);
                let state = self.channels.get_mut(&channel);
                let state = state.ok_or(StoreError::UnknownChannel(channel))?;
                let begun = state.plan.epoch(epoch);
                state.epoch = Some(begun);
                state.position = 0;
                state.finished = false;
                begun
            }
        };
        self.renew_channel(channel);
        self.go_on();
        Ok(Start::Running(current))
    }

    /// Begins a stream at a position of the current epoch; the channel's stream before it ends. Streams have numbers
    /// that are never used again.
    ///
    /// # Errors
    /// [`StoreError::UnknownChannel`] if the channel was never open, [`StoreError::NotStarted`],
    /// [`StoreError::OtherEpoch`], [`StoreError::Position`].
    pub fn fetch(
        &mut self,
        now: Duration,
        channel: u64,
        stream: u64,
        epoch: u64,
        from: u64,
        credit: Credit,
    ) -> Result<Fetch, StoreError> {
        self.arrive(now);
        let Some(state) = self.open_or_closed(channel)? else {
            return Ok(Fetch::Closed);
        };
        let current = state.epoch.ok_or(StoreError::NotStarted)?;
        if epoch != current.epoch {
            return Err(StoreError::OtherEpoch {
                asked: epoch,
                current: current.epoch,
            });
        }
        if from > current.batches {
            return Err(StoreError::Position {
                position: from,
                batches: current.batches,
            });
        }
        let end = from.saturating_add(u64::from(state.window.batches.get()));
        self.end_stream(channel, EndReason::Replaced);
        // A batch that could not be drawn is tried again.
        let keep = |(position, slot): (u64, &Slot<T>)| {
            (from..end).contains(&position) && !matches!(slot, Slot::Failed(_))
        };
        self.drop_slots(channel, keep);
        if let Some(state) = self.channels.get_mut(&channel) {
            state.position = from;
            state.finished = false;
            state.stream = Some(Stream {
                number: stream,
                credit,
                sending: VecDeque::new(),
                done: false,
            });
        }
        self.renew_channel(channel);
        self.deliver(channel);
        self.go_on();
        Ok(Fetch::Open)
    }

    /// Adds to the credit of a stream. A stream that has ended has none.
    pub fn credit(&mut self, now: Duration, channel: u64, stream: u64, credit: Credit) {
        self.arrive(now);
        if let Some(open) = self.stream(channel, stream) {
            let batches = open.credit.batches.saturating_add(credit.batches);
            let bytes = open.credit.bytes.saturating_add(credit.bytes);
            open.credit = Credit { batches, bytes };
            self.renew_channel(channel);
            self.deliver(channel);
        }
        self.go_on();
    }

    /// The transport has taken a batch that was sent.
    pub fn taken(&mut self, now: Duration, channel: u64, stream: u64, position: u64) {
        self.arrive(now);
        if let Some(open) = self.stream(channel, stream) {
            let place = open.sending.iter().position(|&(of, _)| of == position);
            if let Some((_, bytes)) = place.and_then(|place| open.sending.remove(place)) {
                self.held -= bytes;
                self.sending -= bytes;
                self.renew_channel(channel);
                self.deliver(channel);
            }
        }
        self.go_on();
    }

    /// A stream has ended: the client has gone, or has been told that the epoch is over.
    pub fn ended(&mut self, now: Duration, channel: u64, stream: u64) {
        self.arrive(now);
        if self.stream(channel, stream).is_some() {
            self.release_stream(channel);
            self.renew_channel(channel);
        }
        self.go_on();
    }

    /// A job has ended. Batches that nobody wants any more are dropped.
    pub fn sampled(&mut self, now: Duration, job: u64, result: Result<Made<T>, StoreError>) {
        self.arrive(now);
        if let Some((channel, epoch, position)) = self.jobs.remove(&job) {
            self.arrived(job, channel, epoch, position, result);
        }
        self.go_on();
    }

    /// Counts the bytes of an answer to a single call, until [`release_answer`](Session::release_answer). One answer is
    /// taken whatever it has.
    ///
    /// # Errors
    /// [`StoreError::Limit`] if answers and listed seeds would take more than half of the memory.
    pub fn hold_answer(&mut self, bytes: u64) -> Result<(), StoreError> {
        let found = self.answers + self.listed + bytes;
        let most = self.config.memory / 2;
        if self.answers > 0 && found > most {
            let what = "bytes of answers that wait to be sent, and of listed seeds";
            return Err(StoreError::Limit { what, found, most });
        }
        self.answers += bytes;
        Ok(())
    }

    /// The answer of a single call was sent, or its client has gone.
    pub fn release_answer(&mut self, now: Duration, bytes: u64) {
        self.arrive(now);
        self.answers -= bytes;
        self.go_on();
    }

    /// Renews the leases of a client's channels, and returns their number.
    pub fn renew(&mut self, now: Duration, client: &str) -> usize {
        self.arrive(now);
        let of_client =
            |(&number, state): (&u64, &ChannelState<T>)| (state.client == client).then_some(number);
        let channels: Vec<u64> = self.channels.iter().filter_map(of_client).collect();
        for &channel in &channels {
            self.renew_channel(channel);
        }
        channels.len()
    }

    /// Closes a channel. A channel that is closed, or was never open, is left alone.
    pub fn close(&mut self, now: Duration, channel: u64) {
        self.arrive(now);
        self.close_channel(channel, EndReason::Closed);
        self.go_on();
    }

    /// Takes no new samplers, channels and epochs; closes channels whose epoch is over, and at the deadline all. A
    /// second call can only bring the deadline forward. [`Action::Stop`] is the last action.
    pub fn drain(&mut self, now: Duration, deadline: Duration) {
        self.arrive(now);
        match &mut self.drain {
            Drain::No => self.drain = Drain::Until(deadline, Vec::new()),
            Drain::Until(earlier, _) => *earlier = deadline.min(*earlier),
            Drain::Stopped => {}
        }
        let now = self.now;
        self.arrive(now);
        self.go_on();
    }
}

/// Refuses what would exceed a limit.
fn limit(what: &'static str, found: usize, most: usize) -> Result<(), StoreError> {
    match found <= most {
        true => Ok(()),
        false => Err(StoreError::Limit {
            what,
            found: found as u64,
            most: most as u64,
        }),
    }
}

#[cfg(test)]
impl SamplerState {
    pub fn channels(&self) -> usize {
        self.channels
    }
}

impl<T> Session<T> {
    /// Takes the time of an event, and ends what was due before it.
    fn arrive(&mut self, now: Duration) {
        self.now = self.now.max(now);
        let channels = self.channels.len();
        while let Some(&(time, channel)) = self.leases.first() {
            if time > self.now {
                break;
            }
            self.lapsed += 1;
            self.close_channel(channel, EndReason::Lapsed);
        }
        let unused = |(&number, sampler): (&u64, &SamplerState)| {
            (sampler.channels == 0 && sampler.lease <= self.now).then_some(number)
        };
        let unused: Vec<u64> = self.samplers.iter().filter_map(unused).collect();
        for sampler in unused {
            self.forget_sampler(sampler);
        }
        match &self.drain {
            Drain::Until(deadline, _) if *deadline <= self.now => self.cut_off(),
            _ => {}
        }
        if self.channels.len() < channels {
            self.go_on();
        }
    }

    /// Closes all channels, and remembers those whose epoch has not ended.
    fn cut_off(&mut self) {
        let left = |(&channel, state): (&u64, &ChannelState<T>)| CutOff {
            channel,
            client: state.client.clone(),
            left: state.batches() - state.position,
        };
        let running = self.channels.iter().filter(|(_, state)| !state.rests());
        let running: Vec<CutOff> = running.map(left).collect();
        if let Drain::Until(_, cut_off) = &mut self.drain {
            cut_off.extend(running);
        }
        let all: Vec<u64> = self.channels.keys().copied().collect();
        for channel in all {
            self.close_channel(channel, EndReason::CutOff);
        }
        self.jobs.clear();
    }

    /// Samples what may be sampled, and ends a server that has drained.
    fn go_on(&mut self) {
        if let Drain::Until(..) = self.drain {
            let rests = self.channels.iter().filter(|(_, state)| state.rests());
            let rests: Vec<u64> = rests.map(|(&channel, _)| channel).collect();
            for channel in rests {
                self.close_channel(channel, EndReason::Closed);
            }
        }
        self.dispatch();
        if let Drain::Until(_, cut_off) = &mut self.drain
            && self.channels.is_empty()
            && self.jobs.is_empty()
        {
            let cut_off = std::mem::take(cut_off);
            self.drain = Drain::Stopped;
            self.actions.push_back(Action::Stop { cut_off });
        }
    }

    fn refuse_if_draining(&self) -> Result<(), StoreError> {
        match self.drain {
            Drain::No => Ok(()),
            _ => Err(StoreError::Draining),
        }
    }

    /// A channel; none if it is closed.
    fn open_or_closed(&self, channel: u64) -> Result<Option<&ChannelState<T>>, StoreError> {
        match self.channels.get(&channel) {
            Some(state) => Ok(Some(state)),
            None if (1..self.next_channel).contains(&channel) => Ok(None),
            None => Err(StoreError::UnknownChannel(channel)),
        }
    }

    /// Stream of a channel, if it has the number.
    fn stream(&mut self, channel: u64, stream: u64) -> Option<&mut Stream> {
        let open = self.channels.get_mut(&channel)?.stream.as_mut()?;
        (open.number == stream).then_some(open)
    }

    fn forget_sampler(&mut self, sampler: u64) {
        if let Some(state) = self.samplers.remove(&sampler)
            && self.keys.get(&state.spec.key) == Some(&sampler)
        {
            self.keys.remove(&state.spec.key);
        }
    }

    fn close_channel(&mut self, channel: u64, reason: EndReason) {
        self.end_stream(channel, reason);
        self.drop_slots(channel, |_| false);
        let Some(state) = self.channels.remove(&channel) else {
            return;
        };
        if let Some(work) = state.queued {
            self.queue.remove(&(work, channel));
        }
        if let Some(lapse) = state.lapses {
            self.leases.remove(&(lapse, channel));
        }
        self.listed -= state.plan.bytes();
        self.tokens.remove(&(state.client, state.token));
        let lease = self.now.saturating_add(self.config.lease);
        if let Some(sampler) = self.samplers.get_mut(&state.sampler) {
            sampler.channels -= 1;
            sampler.lease = lease;
        }
    }

    /// Ends the stream of a channel, if it has one.
    fn end_stream(&mut self, channel: u64, reason: EndReason) {
        if let Some(stream) = self.release_stream(channel)
            && !stream.done
        {
            let stream = stream.number;
            self.actions.push_back(Action::End { stream, reason });
        }
    }

    /// Forgets the stream of a channel, and what is being sent.
    pub(super) fn release_stream(&mut self, channel: u64) -> Option<Stream> {
        let stream = self.channels.get_mut(&channel)?.stream.take()?;
        let sending: u64 = stream.sending.iter().map(|&(_, bytes)| bytes).sum();
        self.held -= sending;
        self.sending -= sending;
        Some(stream)
    }

    /// Drops batches of a channel that `keep` does not name. Those under way are dropped when they arrive.
    fn drop_slots(&mut self, channel: u64, keep: impl Fn((u64, &Slot<T>)) -> bool) {
        if let Some(state) = self.channels.get_mut(&channel) {
            let mut released = 0;
            state.slots.retain(|&position, slot| {
                let kept = keep((position, slot));
                released += if kept { 0 } else { slot.bytes() };
                kept
            });
            self.held -= released;
        }
    }

    /// Renews the lease of a channel, and puts it where it belongs.
    pub(super) fn renew_channel(&mut self, channel: u64) {
        let lease = self.now.saturating_add(self.config.lease);
        if let Some(state) = self.channels.get_mut(&channel) {
            state.lease = lease;
        }
        self.place(channel);
    }

    /// Puts a channel into the queue and among the leases, or takes it out.
    pub(super) fn place(&mut self, channel: u64) {
        let Some(state) = self.channels.get_mut(&channel) else {
            return;
        };
        if let Some(work) = state.queued.take() {
            self.queue.remove(&(work, channel));
        }
        if state.next_to_sample().is_some() {
            // A channel that was parked has saved up nothing.
            state.work = state.work.max(self.work);
            state.queued = Some(state.work);
            self.queue.insert((state.work, channel));
        }
        if let Some(lapse) = state.lapses.take() {
            self.leases.remove(&(lapse, channel));
        }
        state.lapses = state.lapse();
        if let Some(lapse) = state.lapses {
            self.leases.insert((lapse, channel));
        }
    }
}
