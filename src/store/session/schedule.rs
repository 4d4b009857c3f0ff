//! Order of sampling, and memory.

use std::sync::Arc;

use super::channel::{ChannelState, Slot};
use super::{Action, EndReason, Made, Session};
use crate::store::StoreError;

impl<T> Session<T> {
    /// Takes the result of a job.
    pub(super) fn arrived(
        &mut self,
        job: u64,
        channel: u64,
        epoch: u64,
        position: u64,
        result: Result<Made<T>, StoreError>,
    ) {
        let Some(state) = self.channels.get_mut(&channel) else {
            return;
        };
        let expected = match state.slots.get(&position) {
            Some(&Slot::Asked {
                job: asked,
                bytes,
                facts,
            }) if asked == job && state.epoch.is_some_and(|current| current.epoch == epoch) => {
                (bytes, facts)
            }
            _ => return,
        };
        self.held -= expected.0;
        let slot = match result {
            Ok(made) => {
                self.held += made.bytes;
                state.facts = made.facts.max(1);
                state.bytes = made.bytes.max(state.bytes / 8 * 7).max(1);
                // Work that was expected becomes work that was done.
                state.work = (state.work + state.facts).saturating_sub(expected.1);
                Slot::Ready(made)
            }
            Err(error) => Slot::Failed(error),
        };
        state.slots.insert(position, slot);
        self.deliver(channel);
    }

    /// Sends what a channel's stream may send.
    pub(super) fn deliver(&mut self, channel: u64) {
        while self.deliver_one(channel) {}
        self.place(channel);
    }

    fn deliver_one(&mut self, channel: u64) -> bool {
        let Some(state) = self.channels.get_mut(&channel) else {
            return false;
        };
        let (Some(epoch), Some(stream)) = (state.epoch, state.stream.as_mut()) else {
            return false;
        };
        if state.position == epoch.batches {
            if !stream.done {
                stream.done = true;
                state.finished = true;
                let stream = stream.number;
                self.actions.push_back(Action::Done { stream, epoch });
            }
            return false;
        }
        if let Some(Slot::Failed(error)) = state.slots.get(&state.position) {
            let (stream, error) = (stream.number, error.clone());
            let reason = EndReason::Failed(error);
            self.actions.push_back(Action::End { stream, reason });
            self.release_stream(channel);
            self.renew_channel(channel);
            return false;
        }
        let few = self.sending < self.config.memory / 4;
        if !stream.has_credit() || !stream.has_room(few) {
            return false;
        }
        let ready = match state.slots.remove(&state.position) {
            Some(Slot::Ready(made)) => made,
            Some(other) => {
                state.slots.insert(state.position, other);
                return false;
            }
            None => return false,
        };
        let Made {
            payload,
            bytes,
            facts,
        } = ready;
        let was_idle = stream.sending.is_empty();
        stream.credit.batches -= 1;
        stream.credit.bytes = stream.credit.bytes.saturating_sub(bytes);
        stream.sending.push_back((state.position, bytes));
        self.sending += bytes;
        let action = Action::Send {
            channel,
            stream: stream.number,
            position: state.position,
            payload,
        };
        self.actions.push_back(action);
        state.position += 1;
        for sent in [&mut state.sent, &mut self.sent] {
            sent.batches += 1;
            sent.bytes += bytes;
            sent.facts += facts;
        }
        if was_idle {
            // From now on the client has to take what is sent.
            self.renew_channel(channel);
        }
        true
    }

    /// Samples batches of the channels with the least work, while there are jobs and memory.
    pub(super) fn dispatch(&mut self) {
        while self.jobs.len() < self.config.jobs {
            let queue: Vec<u64> = match self.next_with_room() {
                Some(channel) => vec![channel],
                None => self.queue.iter().map(|&(_, channel)| channel).collect(),
            };
            let Some(channel) = queue.into_iter().find(|&channel| self.make_room(channel)) else {
                return;
            };
            self.ask(channel);
        }
    }

    /// First channel of the queue, if there is memory for its next batch.
    fn next_with_room(&self) -> Option<u64> {
        let &(_, channel) = self.queue.first()?;
        let state = self.channels.get(&channel)?;
        self.fits(state).then_some(channel)
    }

    /// Returns whether there is memory for the next batch of a channel.
    fn fits(&self, state: &ChannelState<T>) -> bool {
        let most = match state.waits() {
            true => self.config.memory,
            false => self.config.memory / 2,
        };
        self.held == 0 || self.held + self.listed + self.answers + state.bytes <= most
    }

    /// Returns whether there is memory for the next batch of a channel. If its client waits, batches that were made for
    /// others that do not wait are thrown away.
    fn make_room(&mut self, channel: u64) -> bool {
        loop {
            let Some(state) = self.channels.get(&channel) else {
                return false;
            };
            if self.fits(state) {
                return true;
            }
            let waits = state.waits() && state.held() == 0;
            if !waits || !self.evict(channel) {
                return false;
            }
        }
    }

    /// Throws away the last batch that was made for the channel that has most, of those whose clients do not wait. Returns false if there
    /// is none.
    fn evict(&mut self, waiting: u64) -> bool {
        let ready = |state: &ChannelState<T>| -> u64 {
            let made = state.slots.values();
            made.filter(|slot| matches!(slot, Slot::Ready(_)))
                .map(Slot::bytes)
                .sum()
        };
        let others = self
            .channels
            .iter()
            .filter(|&(&channel, state)| channel != waiting && !state.waits());
        let largest = others
            .map(|(&channel, state)| (ready(state), channel))
            .filter(|&(bytes, _)| bytes > 0)
            .max();
        let Some((_, victim)) = largest else {
            return false;
        };
        let Some(state) = self.channels.get_mut(&victim) else {
            return false;
        };
        let last = state.slots.iter().rev();
        let last = last.filter(|(_, slot)| matches!(slot, Slot::Ready(_)));
        let last = last.map(|(&position, _)| position).next();
        if let Some(slot) = last.and_then(|position| state.slots.remove(&position)) {
            self.held -= slot.bytes();
            self.evicted += 1;
        }
        self.place(victim);
        true
    }

    /// Orders the next batch of a channel.
    fn ask(&mut self, channel: u64) {
        let job = self.next_job;
        let Some(state) = self.channels.get_mut(&channel) else {
            return;
        };
        let (Some(epoch), Some(position)) = (state.epoch, state.next_to_sample()) else {
            return;
        };
        self.next_job += 1;
        let slot = Slot::Asked {
            job,
            bytes: state.bytes,
            facts: state.facts,
        };
        self.held += state.bytes;
        state.slots.insert(position, slot);
        self.work = self.work.max(state.work);
        state.work += state.facts;
        self.jobs.insert(job, (channel, epoch.epoch, position));
        self.actions.push_back(Action::Sample {
            job,
            plan: Arc::clone(&state.plan),
            epoch: epoch.epoch,
            position,
        });
        self.place(channel);
    }
}
