//! The backend for ranks that are threads or tasks of one process.
//!
//! Buffers are moved, not sent. The last rank to come computes the result for all ranks, on all
//! cores where the buffers are large; the other ranks wait without a thread. A result that is the
//! same on every rank is shared, and each rank copies it on its own thread.
//!
//! Gradient rows of one GPU are reduced there, and the ranks share the memory of the result until
//! they write to it. Rows of several devices go through the host; the last rank to come moves them
//! all, so a device's failure fails the call on every rank.
//!
//! Futures need a tokio runtime with its time driver on, for the deadlines. Plain threads call
//! `Handle::block_on` with the handle of a multi-thread runtime.

mod group;
mod reduction;
mod rendezvous;
mod rows;

use std::sync::Arc;

use super::rows::failed;
use super::{
    BoxFuture, Buffer, Buffers, Call, Collective, CollectiveError, Element, ElementType, Operation,
    Reduce, Term, Wire, segment,
};
use crate::ids::Generation;
use crate::kernel::{Backend, GradientRows};
pub use group::Group;
use reduction::{Reduction, reduce};
use rendezvous::{Arrival, Participant, Payload};
use rows::reduce_rows;

/// The members of a new group of generation 0, by rank.
pub fn group(world: usize) -> Vec<Local> {
    Group::new(Generation(0), world).members()
}

/// A rank of a [`Group`].
#[derive(Clone, Debug)]
pub struct Local {
    rank: usize,
    group: Group,
}

/// Withdraws a rank from the open call when the rank's future is dropped.
struct Withdraw<'a> {
    member: &'a Local,
    ticket: u64,
}

impl Drop for Withdraw<'_> {
    fn drop(&mut self) {
        let Withdraw { member, ticket } = *self;
        member.group.lock().withdraw(member.rank, ticket);
    }
}

impl Local {
    /// The group.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// Meets the other ranks: all agree on `operation` and `terms`, each brings a `payload`, and
    /// the last to come turns all payloads, by rank, into what each rank receives.
    async fn meet<P: Send + 'static, R: Send + 'static>(
        &self,
        call: Call,
        operation: Operation,
        terms: impl IntoIterator<Item = Term> + Send,
        fault: Option<CollectiveError>,
        payload: P,
        complete: impl FnOnce(Vec<P>) -> Result<Vec<R>, CollectiveError> + Send,
    ) -> Result<R, CollectiveError> {
        let identity = [Term::Sequence(call.sequence), Term::Operation(operation)];
        let terms = identity.into_iter().chain(terms).collect();
        let arrival = self.arrive(call, terms, fault, Box::new(payload))?;
        let typed = |payload: Payload| {
            *payload
                .downcast()
                .expect("ranks that agree on operation and element bring the same type")
        };
        let complete = |payloads: Vec<Payload>| {
            let results = complete(payloads.into_iter().map(typed).collect())?;
            let payload = |result| Box::new(result) as Payload;
            Ok(results.into_iter().map(payload).collect())
        };
        let lost = CollectiveError::Lost {
            sequence: call.sequence,
        };
        let payload = self.attend(call, arrival, Box::new(complete)).await?;
        payload.downcast().map(|result| *result).map_err(|_| lost)
    }

    fn arrive(
        &self,
        call: Call,
        terms: Vec<Term>,
        fault: Option<CollectiveError>,
        payload: Payload,
    ) -> Result<Arrival, CollectiveError> {
        let mut calls = self.group.lock();
        calls.arrive(self.rank, call, terms, fault, payload)
    }

    /// Waits for the outcome; the last rank to come makes it. Not generic, so that it is compiled
    /// once.
    async fn attend(
        &self,
        call: Call,
        arrival: Arrival,
        complete: Complete<'_>,
    ) -> Result<Payload, CollectiveError> {
        let (ticket, mut outcome) = (arrival.ticket, arrival.outcome);
        let _withdraw = Withdraw {
            member: self,
            ticket,
        };
        if let Some(participants) = arrival.complete {
            reply_all(participants, complete);
        }
        let outcome = match tokio::time::timeout(call.timeout, &mut outcome).await {
            Ok(outcome) => outcome,
            Err(_) => {
                self.group.lock().expire(self.rank, ticket);
                // The call is decided: the last rank has sent the outcome, or is computing it.
                outcome.await
            }
        };
        let lost = |_| CollectiveError::Lost {
            sequence: call.sequence,
        };
        outcome.map_err(lost)?
    }

    /// The fault of a call whose wire format is not for its element type.
    fn wire_fault<T: Element>(&self, call: Call) -> Option<CollectiveError> {
        let element = T::TYPE;
        let fits = call.wire == Wire::Exact || element == ElementType::F32;
        (!fits).then_some(CollectiveError::Unsupported {
            sequence: call.sequence,
            rank: self.rank,
            term: Term::Wire(call.wire),
            element,
        })
    }

    /// The fault of a reduction that is not for the element type, or of its weight.
    fn reduce_fault<T: Element>(&self, call: Call, reduce: Reduce) -> Option<CollectiveError> {
        let (sequence, rank, element) = (call.sequence, self.rank, T::TYPE);
        match reduce {
            Reduce::Mean | Reduce::WeightedMean(_) if !element.is_float() => {
                Some(CollectiveError::Unsupported {
                    sequence,
                    rank,
                    term: Term::Reduce(reduce.name()),
                    element,
                })
            }
            Reduce::WeightedMean(weight) if !T::of(weight).to_f64().is_finite() || weight < 0.0 => {
                Some(CollectiveError::Weight {
                    sequence,
                    rank,
                    weight,
                })
            }
            _ => self.wire_fault::<T>(call),
        }
    }

    /// Reduces values. `to_all` says whether the values of every rank become the reduced ones, or
    /// those of the first rank alone; `results` makes of them what each rank receives.
    async fn reduce<T: Element, R: Send + 'static>(
        &self,
        call: Call,
        operation: Operation,
        values: Vec<T>,
        kind: Reduce,
        to_all: bool,
        results: impl FnOnce(Vec<Vec<T>>) -> Vec<R> + Send,
    ) -> Result<R, CollectiveError> {
        let terms = reduce_terms::<T>(call, kind, values.len());
        let fault = self.reduce_fault::<T>(call, kind);
        let weight = weight::<T>(kind);
        let values = rounded(values, call.wire);
        let complete = move |payloads: Vec<(Vec<T>, T)>| {
            let (mut ranks, weights): (Vec<_>, Vec<_>) = payloads.into_iter().unzip();
            let reduction = Reduction::new(call, kind, weights, to_all)?;
            reduce(&mut ranks, &reduction);
            Ok(results(ranks))
        };
        self.meet(call, operation, terms, fault, (values, weight), complete)
            .await
    }

    async fn all_reduce<T: Element>(
        &self,
        call: Call,
        values: Vec<T>,
        reduce: Reduce,
    ) -> Result<Vec<T>, CollectiveError> {
        let results = |ranks| ranks;
        self.reduce(call, Operation::AllReduce, values, reduce, true, results)
            .await
    }

    async fn reduce_scatter<T: Element>(
        &self,
        call: Call,
        values: Vec<T>,
        reduce: Reduce,
    ) -> Result<Vec<T>, CollectiveError> {
        let segment = segment(values.len(), self.group.world(), self.rank);
        let results = |mut ranks: Vec<Vec<T>>| {
            let world = ranks.len();
            for_all(ranks.swap_remove(0), world)
        };
        let operation = Operation::ReduceScatter;
        let first = self.reduce(call, operation, values, reduce, false, results);
        first.await.map(|first| first[segment].to_vec())
    }

    async fn all_gather<T: Element>(
        &self,
        call: Call,
        values: Vec<T>,
    ) -> Result<Vec<Vec<T>>, CollectiveError> {
        let terms = [Term::Element(T::TYPE), Term::Wire(call.wire)];
        let fault = self.wire_fault::<T>(call);
        let values = rounded(values, call.wire);
        let complete = |ranks: Vec<_>| {
            let world = ranks.len();
            Ok(for_all(ranks, world))
        };
        self.meet(call, Operation::AllGather, terms, fault, values, complete)
            .await
            .map(Arc::unwrap_or_clone)
    }

    async fn all_to_all<T: Element>(
        &self,
        call: Call,
        parts: Vec<Vec<T>>,
    ) -> Result<Vec<Vec<T>>, CollectiveError> {
        let terms = [Term::Element(T::TYPE), Term::Wire(call.wire)];
        let (found, world) = (parts.len(), self.group.world());
        let fault = (found != world).then_some(CollectiveError::Parts {
            sequence: call.sequence,
            rank: self.rank,
            found,
            world,
        });
        let fault = fault.or_else(|| self.wire_fault::<T>(call));
        let parts: Vec<_> = parts.into_iter().map(|p| rounded(p, call.wire)).collect();
        let transpose = |senders: Vec<Vec<Vec<T>>>| {
            let mut receivers = Vec::from_iter(senders.iter().map(|_| Vec::new()));
            for sender in senders {
                for (receiver, part) in receivers.iter_mut().zip(sender) {
                    receiver.push(part);
                }
            }
            Ok(receivers)
        };
        self.meet(call, Operation::AllToAll, terms, fault, parts, transpose)
            .await
    }

    async fn broadcast<T: Element>(
        &self,
        call: Call,
        root: usize,
        mut values: Vec<T>,
    ) -> Result<Vec<T>, CollectiveError> {
        let terms = [
            Term::Element(T::TYPE),
            Term::Root(root),
            Term::Wire(call.wire),
            Term::Length(values.len()),
        ];
        let world = self.group.world();
        let fault = (root >= world).then_some(CollectiveError::Root {
            sequence: call.sequence,
            rank: self.rank,
            root,
            world,
        });
        let fault = fault.or_else(|| self.wire_fault::<T>(call));
        // Only the root's values move; the other ranks keep their buffers and copy into them.
        let payload = (self.rank == root).then(|| rounded(std::mem::take(&mut values), call.wire));
        let complete = |payloads: Vec<Option<Vec<T>>>| {
            let world = payloads.len();
            let root = payloads.into_iter().flatten().next();
            Ok(for_all(root.unwrap_or_default(), world))
        };
        let shared = self
            .meet(call, Operation::Broadcast, terms, fault, payload, complete)
            .await?;
        if self.rank == root {
            return Ok(Arc::unwrap_or_clone(shared));
        }
        values.copy_from_slice(&shared);
        Ok(values)
    }
}

/// Calls a generic method with the typed values of a buffer, and makes a buffer of its result.
macro_rules! by_element {
    ($kind:ident, $buffer:expr, |$values:ident| $call:expr) => {
        match $buffer {
            $kind::F32($values) => Box::pin(async move { $call.await.map(Into::into) }),
            $kind::F64($values) => Box::pin(async move { $call.await.map(Into::into) }),
            $kind::U32($values) => Box::pin(async move { $call.await.map(Into::into) }),
            $kind::U64($values) => Box::pin(async move { $call.await.map(Into::into) }),
        }
    };
}

impl Collective for Local {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world(&self) -> usize {
        self.group.world()
    }

    fn generation(&self) -> Generation {
        self.group.generation()
    }

    fn all_reduce_buffer(
        &self,
        call: Call,
        values: Buffer,
        reduce: Reduce,
    ) -> BoxFuture<'_, Result<Buffer, CollectiveError>> {
        by_element!(Buffer, values, |values| self
            .all_reduce(call, values, reduce))
    }

    fn all_reduce_rows<'a>(
        &'a self,
        call: Call,
        engine: &'a Backend,
        rows: GradientRows,
        reduce: Reduce,
    ) -> BoxFuture<'a, Result<GradientRows, CollectiveError>> {
        Box::pin(async move {
            let failed = |error| failed(call, self.rank, &error);
            let terms = reduce_terms::<f32>(call, reduce, rows.len());
            let fault = engine.check_rows(&rows).err().map(failed);
            let fault = fault.or_else(|| self.reduce_fault::<f32>(call, reduce));
            let rows = match rows {
                GradientRows::Cpu(values) => {
                    let mut values = Arc::unwrap_or_clone(values);
                    round(&mut values, call.wire);
                    values.into()
                }
                rows => rows,
            };
            let complete = |payloads: Vec<(GradientRows, f32)>| {
                let (ranks, weights): (Vec<_>, Vec<_>) = payloads.into_iter().unzip();
                let reduction = Reduction::new(call, reduce, weights, true)?;
                reduce_rows(engine, ranks, &reduction).map_err(failed)
            };
            let payload = (rows, weight::<f32>(reduce));
            let operation = Operation::AllReduceRows;
            self.meet(call, operation, terms, fault, payload, complete)
                .await
        })
    }

    fn all_gather_buffer(
        &self,
        call: Call,
        values: Buffer,
    ) -> BoxFuture<'_, Result<Buffers, CollectiveError>> {
        by_element!(Buffer, values, |values| self.all_gather(call, values))
    }

    fn reduce_scatter_buffer(
        &self,
        call: Call,
        values: Buffer,
        reduce: Reduce,
    ) -> BoxFuture<'_, Result<Buffer, CollectiveError>> {
        by_element!(Buffer, values, |values| self
            .reduce_scatter(call, values, reduce))
    }

    fn all_to_all_buffers(
        &self,
        call: Call,
        parts: Buffers,
    ) -> BoxFuture<'_, Result<Buffers, CollectiveError>> {
        by_element!(Buffers, parts, |parts| self.all_to_all(call, parts))
    }

    fn broadcast_buffer(
        &self,
        call: Call,
        root: usize,
        values: Buffer,
    ) -> BoxFuture<'_, Result<Buffer, CollectiveError>> {
        by_element!(Buffer, values, |values| self.broadcast(call, root, values))
    }

    fn barrier(&self, call: Call) -> BoxFuture<'_, Result<(), CollectiveError>> {
        Box::pin(self.meet(call, Operation::Barrier, [], None, (), Ok))
    }

    fn abort(&self, next: Generation) -> BoxFuture<'_, ()> {
        Box::pin(async move { self.group.abort(next) })
    }
}

/// The terms of a reduction of `len` values.
fn reduce_terms<T: Element>(call: Call, kind: Reduce, len: usize) -> [Term; 4] {
    [
        Term::Element(T::TYPE),
        Term::Reduce(kind.name()),
        Term::Wire(call.wire),
        Term::Length(len),
    ]
}

/// A rank's own weight; one where the reduction has no weights.
fn weight<T: Element>(kind: Reduce) -> T {
    match kind {
        Reduce::WeightedMean(weight) => T::of(weight),
        Reduce::Sum | Reduce::Mean => T::of(1.0),
    }
}

/// Rounds values to the wire format.
fn round<T: Element>(values: &mut [T], wire: Wire) {
    T::round_to_wire(values, wire);
}

/// Values rounded to the wire format.
fn rounded<T: Element>(mut values: Vec<T>, wire: Wire) -> Vec<T> {
    round(&mut values, wire);
    values
}

/// A result that `world` ranks share.
fn for_all<T>(result: T, world: usize) -> Vec<Arc<T>> {
    let result = Arc::new(result);
    vec![result; world]
}

/// Turns the payloads of all ranks, by rank, into what each rank receives.
type Complete<'a> =
    Box<dyn FnOnce(Vec<Payload>) -> Result<Vec<Payload>, CollectiveError> + Send + 'a>;

/// Completes a call and replies to all ranks.
fn reply_all(participants: Vec<Participant>, complete: Complete<'_>) {
    let (payloads, replies): (Vec<_>, Vec<_>) = participants
        .into_iter()
        .map(|p| (p.payload, p.reply))
        .unzip();
    // Sending fails if a rank dropped its future: it needs no reply.
    match complete(payloads) {
        Ok(results) => {
            for (reply, result) in replies.into_iter().zip(results) {
                let _ = reply.send(Ok(result));
            }
        }
        Err(error) => {
            for reply in replies {
                let _ = reply.send(Err(error.clone()));
            }
        }
    }
}
