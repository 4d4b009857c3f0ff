//! The state of a group's calls: the ranks that have come to the open call, and the outcomes of
//! earlier calls.
//!
//! The state machine knows neither time nor values. Every change is one method under one lock.

use std::collections::VecDeque;

use super::{Call, CollectiveError, Term};
use crate::ids::Generation;

/// Number of failed calls whose errors are kept for late ranks.
const REMEMBERED: usize = 64;

/// A rank that has come to the open call, as a backend knows it: its values, and the way to reach it.
pub(crate) trait Participant {
    /// Tells the rank that the call has failed. Runs under the lock of the calls.
    fn fail(self, error: &CollectiveError);
}

/// A rank's place in the open call.
pub(crate) struct Arrival<P> {
    /// Number of this arrival, for [`Rendezvous::expire`] and [`Rendezvous::withdraw`].
    pub ticket: u64,
    /// All participants in rank order, if this rank was the last to come: the call has happened,
    /// and the caller must reply to all.
    pub complete: Option<Vec<P>>,
}

/// A participant and the number of its arrival.
#[derive(Debug)]
struct Seat<P> {
    ticket: u64,
    participant: P,
}

/// The call that some ranks have come to, and others have not.
#[derive(Debug)]
struct Open<P> {
    sequence: u64,
    terms: Vec<Term>,
    /// Ranks that have come, by rank; none for a missing rank.
    seats: Vec<Option<Seat<P>>>,
}

impl<P> Open<P> {
    fn missing(&self) -> Vec<usize> {
        let empty = |&rank: &usize| self.seats[rank].is_none();
        (0..self.seats.len()).filter(empty).collect()
    }
}

/// The calls of one generation.
#[derive(Debug)]
pub(crate) struct Rendezvous<P> {
    generation: Generation,
    world: usize,
    /// The generation that follows, once this one has ended.
    ended: Option<Generation>,
    /// Ranks whose process is lost, and the reason. The group makes no more calls.
    lost: Option<(Vec<usize>, String)>,
    /// All sequence numbers up to this one are used up.
    closed: Option<u64>,
    open: Option<Open<P>>,
    /// Sequence numbers and errors of the latest failed calls. Their numbers are used up too.
    failures: VecDeque<(u64, CollectiveError)>,
    tickets: u64,
}

impl<P: Participant> Rendezvous<P> {
    pub(crate) fn new(generation: Generation, world: usize) -> Rendezvous<P> {
        Rendezvous {
            generation,
            world,
            ended: None,
            lost: None,
            closed: None,
            open: None,
            failures: VecDeque::new(),
            tickets: 0,
        }
    }

    /// A rank comes to a call on the given terms. A `fault` of the rank's own fails the call.
    pub(crate) fn arrive(
        &mut self,
        rank: usize,
        call: Call,
        terms: Vec<Term>,
        fault: Option<CollectiveError>,
        participant: P,
    ) -> Result<Arrival<P>, CollectiveError> {
        if let Some(next) = self.ended {
            return Err(self.over(next));
        }
        if let Some((ranks, reason)) = &self.lost {
            return Err(lost(call.sequence, ranks, reason));
        }
        self.refuse_repeats(rank, call.sequence)?;
        if let Some(error) = self.disagreement(rank, call, &terms).or(fault) {
            self.fail(call.sequence, &error);
            return Err(error);
        }
        let open = self.open.get_or_insert_with(|| Open {
            sequence: call.sequence,
            terms,
            seats: Vec::from_iter((0..self.world).map(|_| None)),
        });
        self.tickets += 1;
        open.seats[rank] = Some(Seat {
            ticket: self.tickets,
            participant,
        });
        let last = open.seats.iter().all(Option::is_some);
        let complete = self.open.take_if(|_| last).map(|open| {
            self.closed = Some(open.sequence);
            let seats = open.seats.into_iter().flatten();
            seats.map(|seat| seat.participant).collect()
        });
        Ok(Arrival {
            ticket: self.tickets,
            complete,
        })
    }

    /// A rank's deadline has passed. Nothing changes if its call has been decided.
    pub(crate) fn expire(&mut self, rank: usize, ticket: u64) {
        if let Some(open) = self.waiting(rank, ticket) {
            let (sequence, missing) = (open.sequence, open.missing());
            self.fail(sequence, &CollectiveError::Timeout { sequence, missing });
        }
    }

    /// A rank no longer waits. Returns its participant; none, and nothing changes, if its call has
    /// been decided.
    pub(crate) fn withdraw(&mut self, rank: usize, ticket: u64) -> Option<P> {
        let open = self.waiting(rank, ticket)?;
        let seat = open.seats[rank].take();
        if open.seats.iter().all(Option::is_none) {
            self.open = None;
        }
        seat.map(|seat| seat.participant)
    }

    /// The process of `ranks` is lost. Waiting ranks and later calls fail. The first loss counts.
    pub(crate) fn lose(&mut self, ranks: &[usize], reason: &str) {
        let first = || (ranks.to_vec(), reason.to_owned());
        let (ranks, reason) = self.lost.get_or_insert_with(first).clone();
        if let Some(sequence) = self.open.as_ref().map(|open| open.sequence) {
            self.reply_all(&lost(sequence, &ranks, &reason));
        }
    }

    /// The generation ends. Waiting ranks fail.
    pub(crate) fn end(&mut self, next: Generation) {
        let next = self.ended.map_or(next, |known| known.max(next));
        self.ended = Some(next);
        let error = self.over(next);
        self.reply_all(&error);
    }

    fn over(&self, next: Generation) -> CollectiveError {
        CollectiveError::Ended {
            generation: self.generation,
            next,
        }
    }

    /// The open call, if the rank waits for it with this ticket.
    fn waiting(&mut self, rank: usize, ticket: u64) -> Option<&mut Open<P>> {
        let open = self.open.as_mut()?;
        let seat = open.seats[rank].as_ref()?;
        (seat.ticket == ticket).then_some(open)
    }

    /// Refuses a second call of a waiting rank, and calls that have been decided.
    fn refuse_repeats(&self, rank: usize, sequence: u64) -> Result<(), CollectiveError> {
        if let Some(open) = &self.open
            && open.seats[rank].is_some()
        {
            return Err(CollectiveError::Busy {
                rank,
                sequence,
                waiting: open.sequence,
            });
        }
        let next = || {
            let rest = self.closed.map_or(0, |closed| closed.saturating_add(1))..=u64::MAX;
            let mut rest = rest.skip_while(|&sequence| self.failure(sequence).is_some());
            rest.next().unwrap_or(u64::MAX)
        };
        match self.failure(sequence) {
            Some(CollectiveError::Timeout { missing, .. }) => Err(CollectiveError::Late {
                sequence,
                next: next(),
                missing: missing.clone(),
            }),
            // A disagreement or a fault of one rank fails the call on every rank.
            Some(error) => Err(error.clone()),
            None if self.closed.is_some_and(|closed| sequence <= closed) => {
                Err(CollectiveError::Used {
                    sequence,
                    next: next(),
                })
            }
            None => Ok(()),
        }
    }

    /// The error of a failed call.
    fn failure(&self, sequence: u64) -> Option<&CollectiveError> {
        let mut failures = self.failures.iter();
        failures
            .find(|(failed, _)| *failed == sequence)
            .map(|(_, error)| error)
    }

    /// The first term that differs from the group's, or from those of the ranks that came before.
    fn disagreement(&self, rank: usize, call: Call, terms: &[Term]) -> Option<CollectiveError> {
        let (expected, found, other) = if call.generation != self.generation {
            let expected = Term::Generation(self.generation);
            (expected, Term::Generation(call.generation), None)
        } else {
            let open = self.open.as_ref()?;
            let mut pairs = open.terms.iter().zip(terms);
            let (&expected, &found) = pairs.find(|(a, b)| a != b)?;
            let other = open.seats.iter().position(Option::is_some);
            (expected, found, other)
        };
        Some(CollectiveError::Mismatch {
            sequence: call.sequence,
            rank,
            found,
            expected,
            other,
        })
    }

    /// Call `sequence` has failed, and so has the open call if that is another. No other number is
    /// used up, so a wrong number does no further harm.
    fn fail(&mut self, sequence: u64, error: &CollectiveError) {
        let open = self.open.as_ref().map(|open| open.sequence);
        self.closed = self.closed.max(open);
        let another = open.filter(|&open| open != sequence);
        for failed in another.into_iter().chain([sequence]) {
            if self.failures.len() == REMEMBERED {
                self.failures.pop_front();
            }
            self.failures.push_back((failed, error.clone()));
        }
        self.reply_all(error);
    }

    fn reply_all(&mut self, error: &CollectiveError) {
        let waiting = self.open.take().map(|open| open.seats);
        for seat in waiting.into_iter().flatten().flatten() {
            seat.participant.fail(error);
        }
    }
}

fn lost(sequence: u64, ranks: &[usize], reason: &str) -> CollectiveError {
    CollectiveError::RanksLost {
        sequence,
        ranks: ranks.to_vec(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests;
