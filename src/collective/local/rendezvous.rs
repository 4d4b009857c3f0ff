//! The state of a group's calls: the ranks that have come to the open call, and the outcomes of
//! earlier calls.
//!
//! The state machine knows neither time nor values. Every change is one method under one lock.

use std::any::Any;
use std::collections::VecDeque;

use tokio::sync::oneshot;

use crate::collective::{Call, CollectiveError, Term};
use crate::ids::Generation;

/// Number of failed calls whose errors are kept for late ranks.
const REMEMBERED: usize = 64;

/// The values that a rank brings or receives. Their type follows from the operation and the element
/// type.
pub(super) type Payload = Box<dyn Any + Send>;

/// The outcome of a call for one rank, sent once.
pub(super) type Outcome = Result<Payload, CollectiveError>;

/// A rank that has come to the open call.
#[derive(Debug)]
pub(super) struct Participant {
    ticket: u64,
    /// The values that the rank brought.
    pub payload: Payload,
    /// The channel that the rank waits on.
    pub reply: oneshot::Sender<Outcome>,
}

/// A rank's place in the open call.
pub(super) struct Arrival {
    /// Number of this arrival, for [`Rendezvous::expire`] and [`Rendezvous::withdraw`].
    pub ticket: u64,
    /// The channel that the outcome comes by.
    pub outcome: oneshot::Receiver<Outcome>,
    /// All participants in rank order, if this rank was the last to come: the call has happened,
    /// and this rank must reply to all.
    pub complete: Option<Vec<Participant>>,
}

/// The call that some ranks have come to, and others have not.
#[derive(Debug)]
struct Open {
    sequence: u64,
    terms: Vec<Term>,
    /// By rank; none for a rank that has not come.
    participants: Vec<Option<Participant>>,
}

impl Open {
    fn missing(&self) -> Vec<usize> {
        let empty = |&rank: &usize| self.participants[rank].is_none();
        (0..self.participants.len()).filter(empty).collect()
    }
}

/// The calls of one generation.
#[derive(Debug)]
pub(super) struct Rendezvous {
    generation: Generation,
    world: usize,
    /// The generation that follows, once this one has ended.
    ended: Option<Generation>,
    /// All sequence numbers up to this one are used up.
    closed: Option<u64>,
    open: Option<Open>,
    /// Sequence numbers and errors of the latest failed calls. Their numbers are used up too.
    failures: VecDeque<(u64, CollectiveError)>,
    tickets: u64,
}

impl Rendezvous {
    pub(super) fn new(generation: Generation, world: usize) -> Rendezvous {
        Rendezvous {
            generation,
            world,
            ended: None,
            closed: None,
            open: None,
            failures: VecDeque::new(),
            tickets: 0,
        }
    }

    /// A rank comes to a call on the given terms. A `fault` of the rank's own fails the call.
    pub(super) fn arrive(
        &mut self,
        rank: usize,
        call: Call,
        terms: Vec<Term>,
        fault: Option<CollectiveError>,
        payload: Payload,
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
            participants: Vec::from_iter((0..self.world).map(|_| None)),
        });
        self.tickets += 1;
        let (reply, outcome) = oneshot::channel();
        open.participants[rank] = Some(Participant {
            ticket: self.tickets,
            payload,
            reply,
        });
        let last = open.participants.iter().all(Option::is_some);
        let complete = self.open.take_if(|_| last).map(|open| {
            self.closed = Some(open.sequence);
            open.participants.into_iter().flatten().collect()
        });
        Ok(Arrival {
            ticket: self.tickets,
            outcome,
            complete,
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
            open.participants[rank] = None;
            if open.participants.iter().all(Option::is_none) {
                self.open = None;
            }
        }
    }

    /// The generation ends. Waiting ranks fail.
    pub(super) fn end(&mut self, next: Generation) {
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
    fn waiting(&mut self, rank: usize, ticket: u64) -> Option<&mut Open> {
        let open = self.open.as_mut()?;
        let participant = open.participants[rank].as_ref()?;
        (participant.ticket == ticket).then_some(open)
    }

    /// Refuses a second call of a waiting rank, and calls that have been decided.
    fn refuse_repeats(&self, rank: usize, sequence: u64) -> Result<(), CollectiveError> {
        if let Some(open) = &self.open
            && open.participants[rank].is_some()
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
            let other = open.participants.iter().position(Option::is_some);
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
        let waiting = self.open.take().map(|open| open.participants);
        for participant in waiting.into_iter().flatten().flatten() {
            // Sending fails if the rank dropped its future: it needs no reply.
            let _ = participant.reply.send(Err(error.clone()));
        }
    }
}

#[cfg(test)]
mod tests;
