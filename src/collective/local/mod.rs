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
mod rows;

use std::any::Any;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::element::arithmetic::Arithmetic;
use super::reduction::{Reduction, reduce};
use super::rendezvous::{Arrival, Participant};
use super::rows::failed;
use super::terms::{Terms, rounded};
use super::{
    BoxFuture, Buffer, Buffers, Call, Collective, CollectiveError, Element, Operation, Reduce,
    by_element, segment,
};
use crate::ids::Generation;
use crate::kernel::{Backend, GradientRows};
pub use group::Group;
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

/// The values that a rank brings or receives. Their type follows from the operation and the element
/// type.
type Payload = Box<dyn Any + Send>;

/// The outcome of a call for one rank, sent once.
type Outcome = Result<Payload, CollectiveError>;

/// A rank that has come to the open call.
#[derive(Debug)]
struct Waiting {
    /// The values that the rank brought.
    payload: Payload,
    /// The channel that the rank waits on.
    reply: oneshot::Sender<Outcome>,
}

impl Participant for Waiting {
    fn fail(self, error: &CollectiveError) {
        // Sending fails if the rank dropped its future: it needs no reply.
        let _ = self.reply.send(Err(error.clone()));
    }
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

    /// Meets the other ranks: all agree on `terms`, each brings a `payload`, and the last to come
    /// turns all payloads, by rank, into what each rank receives.
    async fn meet<P: Send + 'static, R: Send + 'static>(
        &self,
        call: Call,
        terms: Terms,
        payload: P,
        complete: impl FnOnce(Vec<P>) -> Result<Vec<R>, CollectiveError> + Send,
    ) -> Result<R, CollectiveError> {
        let (reply, outcome) = oneshot::channel();
        let payload = Box::new(payload);
        let arrival = self.arrive(call, terms, Waiting { payload, reply })?;
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
        let payload = self
            .attend(call, arrival, outcome, Box::new(complete))
            .await?;
        payload.downcast().map(|result| *result).map_err(|_| lost)
    }

    fn arrive(
        &self,
        call: Call,
        terms: Terms,
        waiting: Waiting,
    ) -> Result<Arrival<Waiting>, CollectiveError> {
        let mut calls = self.group.lock();
        calls.arrive(self.rank, call, terms.list, terms.fault, waiting)
    }

    /// Waits for the outcome; the last rank to come makes it. Not generic, so that it is compiled
    /// once.
    async fn attend(
        &self,
        call: Call,
        arrival: Arrival<Waiting>,
        mut outcome: oneshot::Receiver<Outcome>,
        complete: Complete<'_>,
    ) -> Result<Payload, CollectiveError> {
        let ticket = arrival.ticket;
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
        let terms = Terms::reduction::<T>(call, self.rank, operation, kind, values.len());
        let weight = T::of(kind.weight());
        let values = rounded(values, call.wire);
        let complete = move |payloads: Vec<(Vec<T>, T)>| {
            let (mut ranks, weights): (Vec<_>, Vec<_>) = payloads.into_iter().unzip();
            let reduction = Reduction::new(call, kind, weights, to_all)?;
            reduce(&mut ranks, &reduction);
            Ok(results(ranks))
        };
        self.meet(call, terms, (values, weight), complete).await
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
        let terms = Terms::all_gather::<T>(call, self.rank);
        let values = rounded(values, call.wire);
        let complete = |ranks: Vec<_>| {
            let world = ranks.len();
            Ok(for_all(ranks, world))
        };
        self.meet(call, terms, values, complete)
            .await
            .map(Arc::unwrap_or_clone)
    }

    async fn all_to_all<T: Element>(
        &self,
        call: Call,
        parts: Vec<Vec<T>>,
    ) -> Result<Vec<Vec<T>>, CollectiveError> {
        let terms = Terms::all_to_all::<T>(call, self.rank, parts.len(), self.group.world());
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
        self.meet(call, terms, parts, transpose).await
    }

    async fn broadcast<T: Element>(
        &self,
        call: Call,
        root: usize,
        mut values: Vec<T>,
    ) -> Result<Vec<T>, CollectiveError> {
        let world = self.group.world();
        let terms = Terms::broadcast::<T>(call, self.rank, root, values.len(), world);
        // Only the root's values move; the other ranks keep their buffers and copy into them.
        let payload = (self.rank == root).then(|| rounded(std::mem::take(&mut values), call.wire));
        let complete = |payloads: Vec<Option<Vec<T>>>| {
            let world = payloads.len();
            let root = payloads.into_iter().flatten().next();
            Ok(for_all(root.unwrap_or_default(), world))
        };
        let shared = self.meet(call, terms, payload, complete).await?;
        if self.rank == root {
            return Ok(Arc::unwrap_or_clone(shared));
        }
        values.copy_from_slice(&shared);
        Ok(values)
    }
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
            let operation = Operation::AllReduceRows;
            let terms = Terms::reduction::<f32>(call, self.rank, operation, reduce, rows.len());
            let terms = terms.or_fault(engine.check_rows(&rows).err().map(failed));
            let rows = match rows {
                GradientRows::Cpu(values) => {
                    let mut values = Arc::unwrap_or_clone(values);
                    f32::round_to_wire(&mut values, call.wire);
                    values.into()
                }
                rows => rows,
            };
            let complete = |payloads: Vec<(GradientRows, f32)>| {
                let (ranks, weights): (Vec<_>, Vec<_>) = payloads.into_iter().unzip();
                let reduction = Reduction::new(call, reduce, weights, true)?;
                reduce_rows(engine, ranks, &reduction).map_err(failed)
            };
            let payload = (rows, f32::of(reduce.weight()));
            self.meet(call, terms, payload, complete).await
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
        Box::pin(self.meet(call, Terms::barrier(call), (), Ok))
    }

    fn abort(&self, next: Generation) -> BoxFuture<'_, ()> {
        Box::pin(async move { self.group.abort(next) })
    }
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
fn reply_all(participants: Vec<Waiting>, complete: Complete<'_>) {
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
