//! Where ranks meet: who has come to the open call, and what became of earlier ones. Knows neither
//! time nor values; every change is one method under one lock.

use std::any::Any;
use std::collections::VecDeque;

use tokio::sync::oneshot;

use crate::collective::{Call, CollectiveError, Term};

/// Failed calls that late ranks can hear about.
const REMEMBERED: usize = 64;

/// What a rank brings or takes away: its type follows from the operation and the element type.
pub(super) type Parcel = Box<dyn Any + Send>;

/// What a waiting rank hears, once.
pub(super) type Answer = Result<Parcel, CollectiveError>;

/// A rank that has come.
#[derive(Debug)]
pub(super) struct Seat {
    ticket: u64,
    /// What it brought.
    pub deposit: Parcel,
    /// Where it listens.
    pub reply: oneshot::Sender<Answer>,
}

/// What a rank receives on coming.
pub(super) struct Arrival {
    /// Names this coming, for [`Desk::expire`] and [`Desk::withdraw`].
    pub ticket: u64,
    /// Where the outcome will be told.
    pub answer: oneshot::Receiver<Answer>,
    /// All seats in rank order, if this rank was the last: the call has happened, and whoever
    /// receives this answers everybody.
    pub full: Option<Vec<Seat>>,
}

/// The call that some ranks have come to.
#[derive(Debug)]
struct Open {
    sequence: u64,
    terms: Vec<Term>,
    /// By rank.
    seats: Vec<Option<Seat>>,
}

impl Open {
    fn missing(&self) -> Vec<usize> {
        let empty = |&rank: &usize| self.seats[rank].is_none();
        (0..self.seats.len()).filter(empty).collect()
    }
}

/// The meeting place of one generation.
#[derive(Debug)]
pub(super) struct Desk {
    generation: u64,
    world: usize,
    /// The generation that follows, once this one is over.
    ended: Option<u64>,
    /// All sequence numbers up to this one are used up.
    closed: Option<u64>,
    open: Option<Open>,
    /// The latest calls that failed, and why. Their numbers are used up too.
    failures: VecDeque<(u64, CollectiveError)>,
    tickets: u64,
}

impl Desk {
    pub(super) fn new(generation: u64, world: usize) -> Desk {
        Desk {
            generation,
            world,
            ended: None,
            closed: None,
            open: None,
            failures: VecDeque::new(),
            tickets: 0,
        }
    }

    /// A rank comes to a call, on the given terms; a `fault` of its own fails the call.
    pub(super) fn arrive(
        &mut self,
        rank: usize,
        call: Call,
        terms: Vec<Term>,
        fault: Option<CollectiveError>,
        deposit: Parcel,
    ) -> Result<Arrival, CollectiveError> {
        if let Some(next) = self.ended {
            return Err(self.over(next));
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
        let (reply, answer) = oneshot::channel();
        open.seats[rank] = Some(Seat {
            ticket: self.tickets,
            deposit,
            reply,
        });
        let full = open.seats.iter().all(Option::is_some);
        let full = self.open.take_if(|_| full).map(|open| {
            self.closed = Some(open.sequence);
            open.seats.into_iter().flatten().collect()
        });
        Ok(Arrival {
            ticket: self.tickets,
            answer,
            full,
        })
    }

    /// A rank's deadline has passed. Nothing changes if its call has been decided.
    pub(super) fn expire(&mut self, rank: usize, ticket: u64) {
        if let Some(open) = self.waiting(rank, ticket) {
            let (sequence, missing) = (open.sequence, open.missing());
            self.fail(sequence, &CollectiveError::Timeout { sequence, missing });
        }
    }

    /// A rank no longer waits. Nothing changes if its call has been decided.
    pub(super) fn withdraw(&mut self, rank: usize, ticket: u64) {
        if let Some(open) = self.waiting(rank, ticket) {
            open.seats[rank] = None;
            if open.seats.iter().all(Option::is_none) {
                self.open = None;
            }
        }
    }

    /// The generation is over: everybody who waits hears it.
    pub(super) fn end(&mut self, next: u64) {
        let next = self.ended.map_or(next, |known| known.max(next));
        self.ended = Some(next);
        let error = self.over(next);
        self.answer_all(&error);
    }

    fn over(&self, next: u64) -> CollectiveError {
        CollectiveError::Ended {
            generation: self.generation,
            next,
        }
    }

    /// The open call, if the rank waits there with this ticket.
    fn waiting(&mut self, rank: usize, ticket: u64) -> Option<&mut Open> {
        let open = self.open.as_mut()?;
        let seat = open.seats[rank].as_ref()?;
        (seat.ticket == ticket).then_some(open)
    }

    /// Refuses a second call of a rank that waits, and calls that have been decided.
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
            // A disagreement, or a fault of one rank, is everybody's.
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

    /// Why a call failed, if it did.
    fn failure(&self, sequence: u64) -> Option<&CollectiveError> {
        let mut failures = self.failures.iter();
        failures
            .find(|(failed, _)| *failed == sequence)
            .map(|(_, error)| error)
    }

    /// The first term that a rank does not share with the group or with those who came before.
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

    /// Call `sequence` and the open call, where that is another, have failed. No other number is
    /// used up: one that came out of nowhere does no further harm.
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
        self.answer_all(error);
    }

    fn answer_all(&mut self, error: &CollectiveError) {
        let seats = self.open.take().map(|open| open.seats);
        for seat in seats.into_iter().flatten().flatten() {
            // A rank that has stopped listening needs no answer.
            let _ = seat.reply.send(Err(error.clone()));
        }
    }
}

#[cfg(test)]
mod tests;
