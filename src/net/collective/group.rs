//! A process's part of a group: its ranks, and links to the processes of the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::decider::{Calls, Named, Reply, Seat, outcomes};
use super::hosted::{Decision, Hosted};
use super::link::Link;
use super::message::{self, Coming, Notice, Outcome, Verdict};
use crate::collective::CollectiveError;
use crate::ids::Generation;
use crate::net::{Frame, Kind};

/// Longest wait for the decider once a deadline has passed, and shortest one for values that are on their way.
pub(super) const ANSWER: Duration = Duration::from_secs(3);

/// Frames that wait for a rank of this process. The link's reader waits when there are more.
const WAITING: usize = 8;

/// End of a group, as far as this process knows.
#[derive(Clone, Debug)]
pub(super) struct Over {
    /// Generation that follows, once this one has ended.
    pub ended: Option<Generation>,
    /// Reasons why processes are lost, by link.
    pub lost: Vec<Option<String>>,
}

/// A process's part of a group.
pub(super) struct Group {
    pub generation: Generation,
    pub world: usize,
    /// Links to all processes; the first is to this one.
    pub links: Vec<Link>,
    /// Link of each rank.
    pub link_of: Vec<usize>,
    /// Ranks of this process.
    hosted: HashMap<usize, Arc<Hosted>>,
    /// Calls, if rank 0 is here.
    calls: Option<Mutex<Calls>>,
    /// Ways to ranks that wait for values, by rank and sequence number.
    inboxes: Mutex<HashMap<(usize, u64), mpsc::Sender<Frame>>>,
    over: watch::Sender<Over>,
    pub runtime: Handle,
    readers: OnceLock<Vec<AbortHandle>>,
}

impl Drop for Group {
    fn drop(&mut self) {
        for reader in self.readers.get().into_iter().flatten() {
            reader.abort();
        }
    }
}

/// Frames for one call of a rank of this process.
pub(super) struct Inbox {
    group: Weak<Group>,
    key: (usize, u64),
    sender: mpsc::Sender<Frame>,
    pub frames: mpsc::Receiver<Frame>,
}

impl Drop for Inbox {
    fn drop(&mut self) {
        if let Some(group) = self.group.upgrade() {
            let mut inboxes = group.inboxes();
            if inboxes
                .get(&self.key)
                .is_some_and(|open| open.same_channel(&self.sender))
            {
                inboxes.remove(&self.key);
            }
        }
    }
}

impl Group {
    /// Makes a process's part of a group. `links` is about this process first.
    pub(super) fn new(generation: Generation, links: Vec<Link>, runtime: Handle) -> Group {
        let world = links.iter().map(|link| link.ranks.len()).sum();
        let mut link_of = vec![0; world];
        for (index, link) in links.iter().enumerate() {
            for &rank in &*link.ranks {
                link_of[rank] = index;
            }
        }
        let over = Over {
            ended: None,
            lost: vec![None; links.len()],
        };
        let hosted = links[0].ranks.iter().map(|&rank| (rank, Arc::default()));
        Group {
            generation,
            world,
            hosted: hosted.collect(),
            calls: (link_of[0] == 0).then(|| Mutex::new(Calls::new(generation, world))),
            links,
            link_of,
            inboxes: Mutex::default(),
            over: watch::channel(over).0,
            runtime,
            readers: OnceLock::new(),
        }
    }

    /// Keeps the tasks that end with the group.
    pub(super) fn keep(&self, readers: Vec<AbortHandle>) {
        // Called once.
        let _ = self.readers.set(readers);
    }

    /// Changes of the group's end.
    pub(super) fn over(&self) -> watch::Receiver<Over> {
        self.over.subscribe()
    }

    pub(super) fn hosted(&self, rank: usize) -> &Arc<Hosted> {
        &self.hosted[&rank]
    }

    fn inboxes(&self) -> MutexGuard<'_, HashMap<(usize, u64), mpsc::Sender<Frame>>> {
        self.inboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn calls(&self) -> Option<MutexGuard<'_, Calls>> {
        let calls = self.calls.as_ref()?;
        Some(calls.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes an inbox, which is closed until [`open`](Group::open).
    pub(super) fn inbox(self: &Arc<Group>, rank: usize, sequence: u64) -> Inbox {
        let (sender, frames) = mpsc::channel(WAITING);
        Inbox {
            group: Arc::downgrade(self),
            key: (rank, sequence),
            sender,
            frames,
        }
    }

    /// Lets values into the inbox of a call.
    pub(super) fn open(&self, rank: usize, sequence: u64, sender: mpsc::Sender<Frame>) {
        self.inboxes().insert((rank, sequence), sender);
    }

    /// The error of a call that cannot be decided any more.
    pub(super) fn fault(&self, sequence: u64) -> Option<CollectiveError> {
        let over = self.over.borrow();
        if let Some(next) = over.ended {
            return Some(CollectiveError::Ended {
                generation: self.generation,
                next,
            });
        }
        let decider = self.link_of[0];
        let reason = over.lost[decider].clone()?;
        Some(self.lost(sequence, decider, reason))
    }

    /// The error of a call for the loss of a process.
    pub(super) fn lost(&self, sequence: u64, link: usize, reason: String) -> CollectiveError {
        CollectiveError::RanksLost {
            sequence,
            ranks: self.links[link].ranks.to_vec(),
            reason,
        }
    }

    fn notify(&self, link: usize, notice: &Notice) {
        let frame = message::frame(Kind::Control, self.generation, notice, &[]);
        // A process that is lost needs no notice.
        let _ = self.links[link].messages.send(frame);
    }

    /// A rank of this process comes to a call.
    pub(super) fn come(self: &Arc<Group>, coming: Coming, values: Bytes) {
        let Some(mut calls) = self.calls() else {
            let frame = message::frame(Kind::Terms, self.generation, &coming, &values);
            let _ = self.links[self.link_of[0]].messages.send(frame);
            return;
        };
        let reply = Reply::Here(self.hosted(coming.rank).clone());
        let complete = calls.arrive(coming, values, reply);
        drop(calls);
        self.complete(complete);
    }

    /// Tells all ranks that their call has happened.
    fn complete(self: &Arc<Group>, seats: Option<Vec<Seat>>) {
        let Some(seats) = seats else { return };
        match outcomes(&seats) {
            Ok(outcomes) => {
                // Other processes hear first: their decisions must not queue behind values, which the ranks
                // there take in only once they have heard.
                let mut here = Vec::new();
                for (seat, (outcome, values)) in seats.iter().zip(outcomes) {
                    match &seat.reply {
                        Reply::Here(_) => here.push((seat, outcome, values)),
                        Reply::There(_) => seat.send(outcome, &values),
                    }
                }
                for (seat, outcome, values) in here {
                    self.resolve(seat.rank, seat.ticket, outcome, values);
                }
            }
            Err(error) => {
                for seat in seats {
                    crate::collective::rendezvous::Participant::fail(seat, &error);
                }
            }
        }
    }

    /// A rank of this process hears the outcome of its call. Nothing happens if it has heard it before.
    fn resolve(self: &Arc<Group>, rank: usize, ticket: u64, outcome: Outcome, values: Bytes) {
        let Some(resolve) = self.hosted(rank).take(ticket) else {
            return;
        };
        match outcome {
            Outcome::Done => resolve(Ok(Decision::Done(values))),
            Outcome::Exchange { weights } => resolve(Ok(Decision::Exchange {
                group: self.clone(),
                weights: weights.into_iter().map(f64::from_bits).collect(),
            })),
            Outcome::Withdrawn => {}
            Outcome::Failed(error) => resolve(Err(error)),
        }
    }

    /// A rank of this process no longer waits. Nothing happens if its call has been decided.
    pub(super) fn withdraw(&self, rank: usize, ticket: u64) {
        if let Some(mut calls) = self.calls() {
            let seat = calls.withdraw(rank, ticket);
            drop(calls);
            match seat {
                Some(_) => drop(self.hosted(rank).take(ticket)),
                // If it has just been decided, the decision is on its way.
                None => {
                    self.hosted(rank).withdraw(ticket);
                }
            }
        } else if self.hosted(rank).withdraw(ticket) {
            self.notify(self.link_of[0], &Notice::Withdrawn { rank, ticket });
        }
    }

    /// The deadline of a rank of this process has passed.
    pub(super) fn expire(&self, rank: usize, ticket: u64) {
        if let Some(mut calls) = self.calls() {
            calls.expire(rank, ticket);
        } else if self.hosted(rank).waits(ticket) {
            self.notify(self.link_of[0], &Notice::Expired { rank, ticket });
        }
    }

    /// A process is lost, or breaks the rules. The first reason counts.
    pub(super) fn lose(&self, link: usize, reason: &str) {
        let first = self.over.send_if_modified(|over| {
            let first = over.lost[link].is_none();
            over.lost[link].get_or_insert_with(|| reason.to_owned());
            first
        });
        if !first {
            return;
        }
        tracing::debug!(generation = self.generation.0, reason, "a process is lost");
        let ranks = &self.links[link].ranks;
        let decider = self.link_of[0];
        if let Some(mut calls) = self.calls() {
            calls.lose(ranks, reason);
        } else if link == decider {
            for hosted in self.hosted.values() {
                hosted.fail_all(|sequence| {
                    let lost = || self.lost(sequence, link, reason.to_owned());
                    self.fault(sequence).unwrap_or_else(lost)
                });
            }
        } else {
            let (ranks, reason) = (ranks.to_vec(), reason.to_owned());
            self.notify(decider, &Notice::Lost { ranks, reason });
        }
    }

    /// The decider does not answer.
    pub(super) fn lose_decider(&self) {
        let decider = self.link_of[0];
        let peer = &self.links[decider].peer;
        self.lose(decider, &format!("{peer} did not decide within {ANSWER:?}"));
    }

    /// Ends the generation, as [`abort`](crate::collective::Collective::abort) does.
    pub(super) async fn abort(&self, next: Generation) {
        let decider = self.link_of[0];
        if decider == 0 {
            return self.end(next);
        }
        self.notify(decider, &Notice::Abort { next });
        let mut over = self.over();
        let known = over.wait_for(|over| over.ended.is_some() || over.lost[decider].is_some());
        // Without an answer, the ranks of this process make no more calls at least.
        let _ = timeout(ANSWER, known).await;
        self.ended(next);
    }

    /// Ends the generation for every rank.
    fn end(&self, next: Generation) {
        let next = self.ended(next);
        if let Some(mut calls) = self.calls() {
            calls.end(next);
        }
        for link in 1..self.links.len() {
            self.notify(link, &Notice::Ended { next });
        }
    }

    /// Notes the end of the generation. Returns the generation that follows: the greatest that is known.
    fn ended(&self, next: Generation) -> Generation {
        let mut greatest = next;
        self.over.send_modify(|over| {
            greatest = over.ended.map_or(next, |known| known.max(next));
            over.ended = Some(greatest);
        });
        greatest
    }

    /// A rank of this process cannot finish the exchange of a call. Ranks that wait for its values fail too.
    pub(super) async fn fail_exchange(&self, rank: usize, error: &CollectiveError) {
        let CollectiveError::RanksLost {
            sequence,
            ranks,
            reason,
        } = error.clone()
        else {
            return;
        };
        let notice = Notice::Failed {
            rank,
            sequence,
            lost: ranks,
            reason,
        };
        for link in 1..self.links.len() {
            self.notify(link, &notice);
        }
        let frame = message::frame(Kind::Control, self.generation, &notice, &[]);
        self.deliver_all(sequence, frame).await;
    }

    /// Hands a notice to the ranks of this process that exchange the values of a call.
    async fn deliver_all(&self, sequence: u64, frame: Frame) {
        for &rank in self.hosted.keys() {
            let inbox = self.inboxes().get(&(rank, sequence)).cloned();
            if let Some(inbox) = inbox {
                let _ = inbox.send(frame.clone()).await;
            }
        }
    }

    /// Hands values to the rank that waits for them. Values for a call that has failed here are dropped.
    pub(super) async fn deliver(&self, frame: Frame) {
        let key = (frame.header.worker as usize, frame.header.step);
        let inbox = self.inboxes().get(&key).cloned();
        if let Some(inbox) = inbox {
            let _ = inbox.send(frame).await;
        }
    }

    /// Takes in a frame of a process.
    ///
    /// # Errors
    /// The fault, as a sentence about the frame.
    pub(super) async fn take(self: &Arc<Group>, link: usize, frame: Frame) -> Result<(), String> {
        let header = frame.header;
        if header.generation != self.generation.0 {
            let found = Generation(header.generation);
            return Err(format!("a frame of {found} to {}", self.generation));
        }
        let from_decider = self.link_of[0] == link;
        let unexpected = || Err("a message that is not for this process".to_owned());
        match header.kind {
            Kind::Values => {
                let (from, to) = (header.shard as usize, header.worker as usize);
                self.check_from(link, from)?;
                if !self.hosted.contains_key(&to) {
                    return unexpected();
                }
                let (rows, bytes) = (header.rows as usize, frame.payload.len());
                if rows * header.wire_type.size() != bytes {
                    return Err(format!("{rows} values in {bytes} bytes"));
                }
                self.deliver(frame).await;
            }
            Kind::Terms => {
                let (coming, values) = message::read::<Coming>(&frame)?;
                self.check_from(link, coming.rank)?;
                let expected = Named::new(&coming.terms).bytes_brought(coming.rank);
                if coming.fault.is_none() && values.len() != expected {
                    let found = values.len();
                    return Err(format!("{found} bytes of values, expected {expected}"));
                }
                let Some(mut calls) = self.calls() else {
                    return unexpected();
                };
                let reply = Reply::There(self.links[link].messages.clone());
                let complete = calls.arrive(coming, values, reply);
                drop(calls);
                self.complete(complete);
            }
            Kind::Verdict if from_decider => {
                let (verdict, values) = message::read::<Verdict>(&frame)?;
                let Verdict {
                    rank,
                    ticket,
                    outcome,
                } = verdict;
                if !self.hosted.contains_key(&rank) {
                    return unexpected();
                }
                self.resolve(rank, ticket, outcome, values);
            }
            Kind::Control => match message::read::<Notice>(&frame)?.0 {
                Notice::Failed { rank, sequence, .. } => {
                    self.check_from(link, rank)?;
                    self.deliver_all(sequence, frame).await;
                }
                notice => self.heed(link, notice)?,
            },
            _ => return unexpected(),
        }
        Ok(())
    }

    fn check_from(&self, link: usize, rank: usize) -> Result<(), String> {
        match self.link_of.get(rank) {
            Some(&of) if of == link => Ok(()),
            _ => Err(format!("a frame of rank {rank}, which is not there")),
        }
    }

    /// Does what a notice of a process asks for.
    fn heed(&self, link: usize, notice: Notice) -> Result<(), String> {
        if let Notice::Ended { next } = notice
            && self.link_of[0] == link
        {
            self.ended(next);
            return Ok(());
        }
        let Some(mut calls) = self.calls() else {
            return Err("a notice that is not for this process".to_owned());
        };
        match notice {
            Notice::Expired { rank, ticket } => {
                self.check_from(link, rank)?;
                calls.expire(rank, ticket);
            }
            Notice::Withdrawn { rank, ticket } => {
                self.check_from(link, rank)?;
                let seat = calls.withdraw(rank, ticket);
                if let Some(seat) = seat {
                    seat.send(Outcome::Withdrawn, &[]);
                }
            }
            Notice::Lost { ranks, reason } => calls.lose(&ranks, &reason),
            Notice::Abort { next } => {
                drop(calls);
                self.end(next);
            }
            Notice::Ended { .. } | Notice::Failed { .. } => {
                return Err("a notice that is not for the decider".to_owned());
            }
        }
        Ok(())
    }
}

impl Inbox {
    /// The sender that [`Group::open`] takes.
    pub(super) fn sender(&self) -> mpsc::Sender<Frame> {
        self.sender.clone()
    }
}
