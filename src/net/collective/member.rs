//! A rank of a group, and its calls.

use std::fmt;
use std::pin::{Pin, pin};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep, timeout};

use super::decider::Named;
use super::exchange::{Exchange, all_gather, all_reduce, all_to_all, broadcast, reduce_scatter};
use super::group::{ANSWER, Group};
use super::hosted::{Decision, Refused, Resolve};
use super::message::Coming;
use super::values::{append, decode, encode, has_values};
use crate::collective::reduction::Reduction;
use crate::collective::rows::{download, failed, upload};
use crate::collective::terms::{Terms, rounded};
use crate::collective::{
    BoxFuture, Buffer, Buffers, Call, Collective, CollectiveError, Element, Operation, Reduce,
    Wire, by_element, segment,
};
use crate::ids::Generation;
use crate::kernel::{Backend, GradientRows};

/// A rank that this process hosts.
pub struct Member {
    rank: usize,
    group: Arc<Group>,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("rank", &self.rank)
            .field("generation", &self.group.generation)
            .finish_non_exhaustive()
    }
}

/// Withdraws a rank from its call when the rank's future is dropped.
struct Withdraw<'a> {
    member: &'a Member,
    ticket: u64,
}

impl Drop for Withdraw<'_> {
    fn drop(&mut self) {
        self.member.group.withdraw(self.member.rank, self.ticket);
    }
}

/// Terms and values that a rank brings to a call.
struct Brought {
    terms: Terms,
    /// Weight of a weighted mean; 1 otherwise.
    weight: f64,
    /// Values of a small call, as they travel.
    values: Bytes,
}

/// Result of an exchange, to come.
type Exchanged<R> = BoxFuture<'static, Result<R, CollectiveError>>;

/// Continuation of a call that has happened.
enum Then<R> {
    /// The call is small: makes the result of the values that came; none if their number is wrong.
    Now(Box<dyn FnOnce(Bytes) -> Option<R> + Send>),
    /// Exchanges values. The exchange goes on if the rank's future is dropped.
    Exchange(Box<dyn FnOnce(Exchange, Vec<f64>) -> Exchanged<R> + Send>),
}

impl<R> Then<R> {
    fn now(result: impl FnOnce(Bytes) -> Option<R> + Send + 'static) -> Then<R> {
        Then::Now(Box::new(result))
    }

    fn exchange<F: Future<Output = Result<R, CollectiveError>> + Send + 'static>(
        exchange: impl FnOnce(Exchange, Vec<f64>) -> F + Send + 'static,
    ) -> Then<R> {
        Then::Exchange(Box::new(|it, weights| Box::pin(exchange(it, weights))))
    }
}

impl Member {
    pub(super) fn new(rank: usize, group: Arc<Group>) -> Member {
        Member { rank, group }
    }

    /// Meets the other ranks on the terms of a call of values of `T`.
    async fn meet<T: Element, R: Send + 'static>(
        &self,
        call: Call,
        brought: Brought,
        then: Then<R>,
    ) -> Result<R, CollectiveError> {
        let (reply, mut outcome) = oneshot::channel();
        let (rank, sequence) = (self.rank, call.sequence);
        let inbox = self.group.inbox(rank, sequence);
        let sender = matches!(then, Then::Exchange(_)).then(|| inbox.sender());
        let resolve = move |decision: Result<Decision, CollectiveError>| {
            let result = match (decision, then) {
                (Err(error), _) => Err(error),
                (Ok(Decision::Done(values)), Then::Now(result)) => {
                    result(values).ok_or(CollectiveError::Lost { sequence })
                }
                (Ok(Decision::Exchange { group, weights }), Then::Exchange(exchange)) => {
                    let runtime = group.runtime.clone();
                    runtime.spawn(async move {
                        let it = Exchange::new::<T>(group.clone(), call, rank, inbox);
                        let result = exchange(it, weights).await;
                        if let Err(error) = &result {
                            group.fail_exchange(rank, error).await;
                        }
                        let _ = reply.send(result);
                    });
                    return;
                }
                // A decision of another kind.
                (Ok(_), _) => Err(CollectiveError::Lost { sequence }),
            };
            // Sending fails if the rank dropped its future: it needs no reply.
            let _ = reply.send(result);
        };
        let mut deadline = pin!(sleep(call.timeout));
        let ticket = self
            .enter(call, Box::new(resolve), deadline.as_mut())
            .await?;
        let member = self;
        let _withdraw = Withdraw { member, ticket };
        if let Some(sender) = sender {
            self.group.open(rank, sequence, sender);
        }
        let coming = Coming {
            rank,
            ticket,
            generation: call.generation,
            sequence,
            terms: brought.terms.list,
            fault: brought.terms.fault,
            weight: brought.weight.to_bits(),
        };
        self.group.come(coming, brought.values);
        let lost = |_| CollectiveError::Lost { sequence };
        tokio::select! {
            biased;
            outcome = &mut outcome => return outcome.map_err(lost)?,
            () = deadline => self.group.expire(rank, ticket),
        }
        if let Ok(outcome) = timeout(ANSWER, &mut outcome).await {
            return outcome.map_err(lost)?;
        }
        if self.group.hosted(rank).waits(ticket) {
            self.group.lose_decider();
        }
        // The call has failed, or values are on their way, which have a deadline of their own.
        outcome.await.map_err(lost)?
    }

    /// Enters a call, after the decider has heard that an earlier one is withdrawn. Returns its ticket.
    async fn enter(
        &self,
        call: Call,
        mut resolve: Resolve,
        mut deadline: Pin<&mut Sleep>,
    ) -> Result<u64, CollectiveError> {
        let (rank, sequence) = (self.rank, call.sequence);
        let hosted = self.group.hosted(rank);
        loop {
            if let Some(error) = self.group.fault(sequence) {
                return Err(error);
            }
            let mut settled = pin!(hosted.settled());
            settled.as_mut().enable();
            match hosted.enter(sequence, resolve) {
                Ok(ticket) => {
                    // The decider may have been lost before the call was entered.
                    if let Some(error) = self.group.fault(sequence) {
                        hosted.take(ticket);
                        return Err(error);
                    }
                    return Ok(ticket);
                }
                Err(Refused::Busy { waiting }) => {
                    return Err(CollectiveError::Busy {
                        rank,
                        sequence,
                        waiting,
                    });
                }
                Err(Refused::Unsettled(back)) => resolve = back,
            }
            tokio::select! {
                () = settled => {}
                () = &mut deadline => self.group.lose_decider(),
            }
        }
    }

    async fn all_reduce<T: Element>(
        &self,
        call: Call,
        operation: Operation,
        values: Vec<T>,
        reduce: Reduce,
        fault: Option<CollectiveError>,
    ) -> Result<Vec<T>, CollectiveError> {
        let terms = Terms::reduction::<T>(call, self.rank, operation, reduce, values.len());
        let brought = Brought::new(terms.or_fault(fault), reduce.weight());
        let mut values = rounded(values, call.wire);
        if Named::new(&brought.terms.list).is_small() {
            let brought = brought.with(encode(&values, call.wire));
            let then = Then::now(move |sums| {
                has_values::<T>(&sums, call.wire, values.len()).then(|| {
                    decode(&sums, call.wire, &mut values);
                    values
                })
            });
            return self.meet::<T, _>(call, brought, then).await;
        }
        let then = Then::exchange(move |it, weights| async move {
            let world = it.world();
            all_reduce(it, values, reduction(call, reduce, &weights, world)?).await
        });
        self.meet::<T, _>(call, brought, then).await
    }

    async fn reduce_scatter<T: Element>(
        &self,
        call: Call,
        values: Vec<T>,
        reduce: Reduce,
    ) -> Result<Vec<T>, CollectiveError> {
        let operation = Operation::ReduceScatter;
        let terms = Terms::reduction::<T>(call, self.rank, operation, reduce, values.len());
        let brought = Brought::new(terms, reduce.weight());
        let values = rounded(values, call.wire);
        if Named::new(&brought.terms.list).is_small() {
            let brought = brought.with(encode(&values, call.wire));
            let own = segment(values.len(), self.group.world, self.rank).len();
            let then = Then::now(move |sums| {
                has_values::<T>(&sums, Wire::Exact, own).then(|| {
                    let mut segment = Vec::new();
                    append(&sums, Wire::Exact, &mut segment);
                    segment
                })
            });
            return self.meet::<T, _>(call, brought, then).await;
        }
        let then = Then::exchange(move |it, weights| async move {
            let world = it.world();
            reduce_scatter(it, values, reduction(call, reduce, &weights, world)?).await
        });
        self.meet::<T, _>(call, brought, then).await
    }

    async fn all_gather<T: Element>(
        &self,
        call: Call,
        values: Vec<T>,
    ) -> Result<Vec<Vec<T>>, CollectiveError> {
        let brought = Brought::new(Terms::all_gather::<T>(call, self.rank), 1.0);
        let values = rounded(values, call.wire);
        let then = Then::exchange(|it, _| all_gather(it, values));
        self.meet::<T, _>(call, brought, then).await
    }

    async fn all_to_all<T: Element>(
        &self,
        call: Call,
        parts: Vec<Vec<T>>,
    ) -> Result<Vec<Vec<T>>, CollectiveError> {
        let terms = Terms::all_to_all::<T>(call, self.rank, parts.len(), self.group.world);
        let brought = Brought::new(terms, 1.0);
        let parts = parts.into_iter().map(|part| rounded(part, call.wire));
        let parts: Vec<_> = parts.collect();
        let then = Then::exchange(|it, _| all_to_all(it, parts));
        self.meet::<T, _>(call, brought, then).await
    }

    async fn broadcast<T: Element>(
        &self,
        call: Call,
        root: usize,
        mut values: Vec<T>,
    ) -> Result<Vec<T>, CollectiveError> {
        let (rank, world) = (self.rank, self.group.world);
        let terms = Terms::broadcast::<T>(call, rank, root, values.len(), world);
        let brought = Brought::new(terms, 1.0);
        if rank == root {
            values = rounded(values, call.wire);
        }
        if Named::new(&brought.terms.list).is_small() {
            let root_values = if rank == root { &*values } else { &[] };
            let brought = brought.with(encode(root_values, call.wire));
            let then = Then::now(move |root_values| {
                has_values::<T>(&root_values, call.wire, values.len()).then(|| {
                    decode(&root_values, call.wire, &mut values);
                    values
                })
            });
            return self.meet::<T, _>(call, brought, then).await;
        }
        let then = Then::exchange(move |it, _| broadcast(it, root, values));
        self.meet::<T, _>(call, brought, then).await
    }
}

impl Brought {
    fn new(terms: Terms, weight: f64) -> Brought {
        Brought {
            terms,
            weight,
            values: Bytes::new(),
        }
    }

    fn with(self, values: Bytes) -> Brought {
        Brought { values, ..self }
    }
}

/// The arithmetic of a call that the decider has accepted.
fn reduction<T: Element>(
    call: Call,
    reduce: Reduce,
    weights: &[f64],
    world: usize,
) -> Result<Reduction<T>, CollectiveError> {
    let weight = |rank| T::of(weights.get(rank).copied().unwrap_or(1.0));
    Reduction::new(call, reduce, (0..world).map(weight).collect(), false)
}

impl Collective for Member {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world(&self) -> usize {
        self.group.world
    }

    fn generation(&self) -> Generation {
        self.group.generation
    }

    fn all_reduce_buffer(
        &self,
        call: Call,
        values: Buffer,
        reduce: Reduce,
    ) -> BoxFuture<'_, Result<Buffer, CollectiveError>> {
        by_element!(Buffer, values, |values| self.all_reduce(
            call,
            Operation::AllReduce,
            values,
            reduce,
            None
        ))
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
            let length = rows.len();
            let downloaded = engine.check_rows(&rows).and_then(|()| download(rows));
            // A fault of this rank fails the call on every rank.
            let (values, device, fault) = match downloaded {
                Ok((values, device)) => (values, device, None),
                Err(error) => (vec![0.0; length], None, Some(failed(error))),
            };
            let operation = Operation::AllReduceRows;
            let sums = self.all_reduce(call, operation, values, reduce, fault);
            upload(sums.await?, device).map_err(failed)
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
        Box::pin(async move {
            let brought = Brought::new(Terms::barrier(call), 1.0);
            self.meet::<u32, _>(call, brought, Then::now(|_| Some(())))
                .await
        })
    }

    fn abort(&self, next: Generation) -> BoxFuture<'_, ()> {
        Box::pin(self.group.abort(next))
    }
}
