//! Decisions about calls, in the process of rank 0.
//!
//! Terms of all ranks come here. A small call brings its values with them, and the decision brings the results.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::hosted::Hosted;
use super::message::{self, Coming, Outcome, Verdict};
use super::values::{decode, encode, wire_type};
use crate::collective::reduction::{Reduction, reduce};
use crate::collective::rendezvous::{Participant, Rendezvous};
use crate::collective::{
    Call, CollectiveError, Element, ElementType, Operation, Reduce, Term, Wire, segment,
};
use crate::ids::Generation;
use crate::net::{Frame, Kind};

/// Most bytes of a rank's values in a small call.
pub(super) const SMALL: usize = 64 << 10;

/// Terms of a call by name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named {
    operation: Operation,
    element: ElementType,
    reduce: &'static str,
    wire: Wire,
    root: usize,
    length: usize,
}

impl Named {
    pub(super) fn new(terms: &[Term]) -> Named {
        let mut named = Named {
            operation: Operation::Barrier,
            element: ElementType::F32,
            reduce: Reduce::Sum.name(),
            wire: Wire::Exact,
            root: 0,
            length: 0,
        };
        for &term in terms {
            match term {
                Term::Operation(operation) => named.operation = operation,
                Term::Element(element) => named.element = element,
                Term::Reduce(reduce) => named.reduce = reduce,
                Term::Wire(wire) => named.wire = wire,
                Term::Root(root) => named.root = root,
                Term::Length(length) => named.length = length,
                Term::Generation(_) | Term::Sequence(_) => {}
            }
        }
        named
    }

    /// Returns whether values travel with the terms, and results with the decision. Ranks that agree on the
    /// terms agree on this.
    pub(super) fn is_small(&self) -> bool {
        match self.operation {
            Operation::AllGather | Operation::AllToAll => false,
            Operation::Barrier => true,
            Operation::AllReduce
            | Operation::AllReduceRows
            | Operation::ReduceScatter
            | Operation::Broadcast => self.length.saturating_mul(self.element.size()) <= SMALL,
        }
    }

    /// Bytes that a rank brings with its terms.
    pub(super) fn bytes_brought(&self, rank: usize) -> usize {
        let from_root = self.operation == Operation::Broadcast;
        if !self.is_small() || from_root && rank != self.root {
            return 0;
        }
        // Terms of another process may name any length, a barrier's too.
        let size = wire_type(self.element, self.wire).size();
        self.length.saturating_mul(size)
    }

    /// The reduction with a weight.
    fn reduce(&self, weight: f64) -> Reduce {
        match Reduce::WeightedMean(weight) {
            weighted if self.reduce == weighted.name() => weighted,
            _ if self.reduce == Reduce::Mean.name() => Reduce::Mean,
            _ => Reduce::Sum,
        }
    }

    fn reduces(&self) -> bool {
        let reductions = [
            Operation::AllReduce,
            Operation::AllReduceRows,
            Operation::ReduceScatter,
        ];
        reductions.contains(&self.operation)
    }
}

/// Way back to a rank.
#[derive(Clone)]
pub(super) enum Reply {
    Here(Arc<Hosted>),
    There(mpsc::UnboundedSender<Frame>),
}

/// A rank that has come to the open call.
pub(super) struct Seat {
    pub rank: usize,
    pub ticket: u64,
    pub reply: Reply,
    generation: Generation,
    terms: Arc<[Term]>,
    weight: f64,
    values: Bytes,
}

impl Participant for Seat {
    fn fail(self, error: &CollectiveError) {
        match &self.reply {
            Reply::Here(hosted) => {
                if let Some(resolve) = hosted.take(self.ticket) {
                    resolve(Err(error.clone()));
                }
            }
            Reply::There(_) => self.send(Outcome::Failed(error.clone()), &[]),
        }
    }
}

impl Seat {
    /// Sends an outcome to a rank of another process.
    pub(super) fn send(&self, outcome: Outcome, values: &[u8]) {
        if let Reply::There(messages) = &self.reply {
            let verdict = Verdict {
                rank: self.rank,
                ticket: self.ticket,
                outcome,
            };
            // A process that is lost needs no verdict.
            let _ = messages.send(message::frame(
                Kind::Verdict,
                self.generation,
                &verdict,
                values,
            ));
        }
    }
}

/// The latest arrival of a rank.
#[derive(Clone, Copy, Debug, Default)]
struct Latest {
    /// Ticket of the rank.
    ticket: u64,
    /// Ticket of the rendezvous.
    arrival: u64,
}

/// Calls of a group.
pub(super) struct Calls {
    rendezvous: Rendezvous<Seat>,
    generation: Generation,
    latest: Vec<Latest>,
}

impl Calls {
    pub(super) fn new(generation: Generation, world: usize) -> Calls {
        Calls {
            rendezvous: Rendezvous::new(generation, world),
            generation,
            latest: vec![Latest::default(); world],
        }
    }

    /// A rank comes to a call with its values, if the call is small. Returns all ranks if this was the last to
    /// come.
    pub(super) fn arrive(
        &mut self,
        coming: Coming,
        values: Bytes,
        reply: Reply,
    ) -> Option<Vec<Seat>> {
        let Coming { rank, ticket, .. } = coming;
        // A message that came twice.
        if ticket <= self.latest[rank].ticket {
            return None;
        }
        self.latest[rank].ticket = ticket;
        let terms: Arc<[Term]> = coming.terms.as_slice().into();
        let seat = |values| Seat {
            rank,
            ticket,
            reply: reply.clone(),
            generation: self.generation,
            terms: terms.clone(),
            weight: f64::from_bits(coming.weight),
            values,
        };
        let call = Call::new(
            coming.generation,
            coming.sequence,
            std::time::Duration::ZERO,
        );
        let (seat, refused) = (seat(values), seat(Bytes::new()));
        let arrival = self
            .rendezvous
            .arrive(rank, call, coming.terms, coming.fault, seat);
        match arrival {
            Ok(arrival) => {
                self.latest[rank].arrival = arrival.ticket;
                arrival.complete
            }
            Err(error) => {
                refused.fail(&error);
                None
            }
        }
    }

    fn arrival(&self, rank: usize, ticket: u64) -> Option<u64> {
        let latest = self.latest[rank];
        (latest.ticket == ticket).then_some(latest.arrival)
    }

    /// A rank's deadline has passed.
    pub(super) fn expire(&mut self, rank: usize, ticket: u64) {
        if let Some(arrival) = self.arrival(rank, ticket) {
            self.rendezvous.expire(rank, arrival);
        }
    }

    /// A rank no longer waits. Returns its seat; none if its call has been decided.
    pub(super) fn withdraw(&mut self, rank: usize, ticket: u64) -> Option<Seat> {
        let arrival = self.arrival(rank, ticket)?;
        self.rendezvous.withdraw(rank, arrival)
    }

    /// The generation ends.
    pub(super) fn end(&mut self, next: Generation) {
        self.rendezvous.end(next);
    }

    /// The process of `ranks` is lost.
    pub(super) fn lose(&mut self, ranks: &[usize], reason: &str) {
        self.rendezvous.lose(ranks, reason);
    }
}

/// Outcomes of a call that all ranks have come to, by rank, with results.
///
/// # Errors
/// [`CollectiveError::Weights`].
pub(super) fn outcomes(seats: &[Seat]) -> Result<Vec<(Outcome, Bytes)>, CollectiveError> {
    let Some(first) = seats.first() else {
        return Ok(Vec::new());
    };
    let named = Named::new(&first.terms);
    let sequence = first.terms.iter().find_map(|term| match term {
        Term::Sequence(sequence) => Some(*sequence),
        _ => None,
    });
    let call = Call::new(
        first.generation,
        sequence.unwrap_or_default(),
        std::time::Duration::ZERO,
    );
    let call = call.wire(named.wire);
    if named.reduces() {
        return match named.element {
            ElementType::F32 => reduced::<f32>(call, named, seats),
            ElementType::F64 => reduced::<f64>(call, named, seats),
            ElementType::U32 => reduced::<u32>(call, named, seats),
            ElementType::U64 => reduced::<u64>(call, named, seats),
        };
    }
    let outcome = if named.is_small() {
        let root = &seats[named.root.min(seats.len() - 1)];
        (Outcome::Done, root.values.clone())
    } else {
        let weights = Vec::new();
        (Outcome::Exchange { weights }, Bytes::new())
    };
    Ok(vec![outcome; seats.len()])
}

fn reduced<T: Element>(
    call: Call,
    named: Named,
    seats: &[Seat],
) -> Result<Vec<(Outcome, Bytes)>, CollectiveError> {
    let kind = named.reduce(1.0);
    let weights = seats.iter().map(|seat| T::of(seat.weight)).collect();
    let reduction = Reduction::<T>::new(call, kind, weights, false)?;
    if !named.is_small() {
        let weighted = reduction.weights.is_some();
        let weights = seats.iter().filter(|_| weighted);
        let weights = weights.map(|seat| seat.weight.to_bits()).collect();
        return Ok(vec![
            (Outcome::Exchange { weights }, Bytes::new());
            seats.len()
        ]);
    }
    let mut ranks = Vec::with_capacity(seats.len());
    for seat in seats {
        let mut values = vec![T::zeroed(); named.length];
        decode(&seat.values, call.wire, &mut values);
        ranks.push(values);
    }
    reduce(&mut ranks, &reduction);
    let mut sum = ranks.swap_remove(0);
    if named.operation == Operation::ReduceScatter {
        // A segment stays where it is made: its way back rounds nothing.
        let segment = |rank| encode(&sum[segment(sum.len(), seats.len(), rank)], Wire::Exact);
        let segments = (0..seats.len()).map(|rank| (Outcome::Done, segment(rank)));
        return Ok(segments.collect());
    }
    T::round_to_wire(&mut sum, call.wire);
    Ok(vec![(Outcome::Done, encode(&sum, call.wire)); seats.len()])
}
