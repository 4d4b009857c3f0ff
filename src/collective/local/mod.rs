//! Ranks that are threads or tasks of one process.
//!
//! Buffers are moved, not sent. The last rank to come works out the result for everybody, on all
//! cores where the buffers are large, and hands it out; the others wait without a thread. Results
//! that are the same everywhere are shared, and each rank copies its own on its own thread.
//!
//! Gradient rows of one GPU are reduced there, and the ranks share the memory of the result until
//! they write to it. Rows of several devices go through the host; whoever comes last moves them all,
//! so that a device's failure is the call's.
//!
//! Futures need a tokio runtime with its time driver on, for the deadlines. Plain threads call
//! `Handle::block_on` with the handle of a multi-thread runtime.

mod desk;
mod group;
mod rows;
mod sum;

use std::sync::Arc;

use super::rows::failed;
use super::{Call, Collective, CollectiveError, Element, Operation, Reduce, Term, Wire, segment};
use crate::kernel::{Backend, GradientRows};
use desk::{Arrival, Parcel, Seat};
pub use group::Group;
use rows::reduce_rows;
use sum::{Recipe, reduce};

/// A group of generation 0, one member for each rank.
pub fn group(world: usize) -> Vec<Local> {
    Group::new(0, world).members()
}

/// A rank of a [`Group`].
#[derive(Clone, Debug)]
pub struct Local {
    rank: usize,
    group: Group,
}

/// Gives a rank's seat up when its future is dropped.
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

    /// Meets the other ranks: all agree on `operation` and `terms`, each brings a `deposit`, and
    /// the last to come turns all of them, by rank, into what each takes away.
    async fn meet<D: Send + 'static, R: Send + 'static>(
        &self,
        call: Call,
        operation: Operation,
        terms: impl IntoIterator<Item = Term> + Send,
        fault: Option<CollectiveError>,
        deposit: D,
        complete: impl FnOnce(Vec<D>) -> Result<Vec<R>, CollectiveError> + Send,
    ) -> Result<R, CollectiveError> {
        let who = [Term::Sequence(call.sequence), Term::Operation(operation)];
        let terms = who.into_iter().chain(terms).collect();
        let arrival = self.arrive(call, terms, fault, Box::new(deposit))?;
        let mine = |deposit: Parcel| {
            *deposit
                .downcast()
                .expect("ranks that agree on operation and element bring the same type")
        };
        let complete = |deposits: Vec<Parcel>| {
            let results = complete(deposits.into_iter().map(mine).collect())?;
            let parcel = |result| Box::new(result) as Parcel;
            Ok(results.into_iter().map(parcel).collect())
        };
        let lost = CollectiveError::Lost {
            sequence: call.sequence,
        };
        let parcel = self.attend(call, arrival, Box::new(complete)).await?;
        parcel.downcast().map(|result| *result).map_err(|_| lost)
    }

    fn arrive(
        &self,
        call: Call,
        terms: Vec<Term>,
        fault: Option<CollectiveError>,
        deposit: Parcel,
    ) -> Result<Arrival, CollectiveError> {
        let mut desk = self.group.lock();
        desk.arrive(self.rank, call, terms, fault, deposit)
    }

    /// What a rank takes away. Not generic, so that it is compiled once.
    async fn attend(
        &self,
        call: Call,
        arrival: Arrival,
        complete: Complete<'_>,
    ) -> Result<Parcel, CollectiveError> {
        let (ticket, mut answer) = (arrival.ticket, arrival.answer);
        let _withdraw = Withdraw {
            member: self,
            ticket,
        };
        if let Some(seats) = arrival.full {
            hand_out(seats, complete);
        }
        let answer = match tokio::time::timeout(call.timeout, &mut answer).await {
            Ok(answer) => answer,
            Err(_) => {
                self.group.lock().expire(self.rank, ticket);
                // Decided: the answer is there, or being worked out by the last rank.
                answer.await
            }
        };
        let lost = |_| CollectiveError::Lost {
            sequence: call.sequence,
        };
        answer.map_err(lost)?
    }

    /// A fault of values that cannot travel by the call's wire.
    fn wire_fault<T: Element>(&self, call: Call) -> Option<CollectiveError> {
        let element = T::TYPE;
        let fits = call.wire == Wire::Exact || element == super::ElementType::F32;
        (!fits).then_some(CollectiveError::Unsupported {
            sequence: call.sequence,
            rank: self.rank,
            term: Term::Wire(call.wire),
            element,
        })
    }

    /// A fault of values that cannot be reduced so.
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

    /// Both reductions: `share` says whether every rank's values become the reduced ones, or the
    /// first rank's only.
    async fn reduce<T: Element, R: Send + 'static>(
        &self,
        call: Call,
        operation: Operation,
        values: Vec<T>,
        kind: Reduce,
        share: bool,
        results: impl FnOnce(Vec<Vec<T>>) -> Vec<R> + Send,
    ) -> Result<R, CollectiveError> {
        let terms = reduce_terms::<T>(call, kind, values.len());
        let fault = self.reduce_fault::<T>(call, kind);
        let weight = weight::<T>(kind);
        let values = travelled(values, call.wire);
        let complete = move |deposits: Vec<(Vec<T>, T)>| {
            let (mut ranks, weights): (Vec<_>, Vec<_>) = deposits.into_iter().unzip();
            let recipe = Recipe::new(call, kind, weights, share)?;
            reduce(&mut ranks, &recipe);
            Ok(results(ranks))
        };
        self.meet(call, operation, terms, fault, (values, weight), complete)
            .await
    }
}

impl Collective for Local {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world(&self) -> usize {
        self.group.world()
    }

    fn generation(&self) -> u64 {
        self.group.generation()
    }

    async fn all_reduce<T: Element>(
        &self,
        call: Call,
        values: Vec<T>,
        reduce: Reduce,
    ) -> Result<Vec<T>, CollectiveError> {
        self.reduce(call, Operation::AllReduce, values, reduce, true, |ranks| {
            ranks
        })
        .await
    }

    async fn all_reduce_rows(
        &self,
        call: Call,
        engine: &Backend,
        rows: GradientRows,
        reduce: Reduce,
    ) -> Result<GradientRows, CollectiveError> {
        let failed = |error| failed(call, self.rank, &error);
        let terms = reduce_terms::<f32>(call, reduce, rows.len());
        let fault = engine.check_rows(&rows).err().map(failed);
        let fault = fault.or_else(|| self.reduce_fault::<f32>(call, reduce));
        let rows = match rows {
            GradientRows::Cpu(values) => {
                let mut values = Arc::unwrap_or_clone(values);
                travel(&mut values, call.wire);
                values.into()
            }
            rows => rows,
        };
        let complete = |deposits: Vec<(GradientRows, f32)>| {
            let (ranks, weights): (Vec<_>, Vec<_>) = deposits.into_iter().unzip();
            let recipe = Recipe::new(call, reduce, weights, true)?;
            reduce_rows(engine, ranks, &recipe).map_err(failed)
        };
        let deposit = (rows, weight::<f32>(reduce));
        let operation = Operation::AllReduceRows;
        self.meet(call, operation, terms, fault, deposit, complete)
            .await
    }

    async fn all_gather<T: Element>(
        &self,
        call: Call,
        values: Vec<T>,
    ) -> Result<Vec<Vec<T>>, CollectiveError> {
        let terms = [Term::Element(T::TYPE), Term::Wire(call.wire)];
        let fault = self.wire_fault::<T>(call);
        let values = travelled(values, call.wire);
        let all = |ranks: Vec<_>| {
            let world = ranks.len();
            Ok(for_all(ranks, world))
        };
        self.meet(call, Operation::AllGather, terms, fault, values, all)
            .await
            .map(Arc::unwrap_or_clone)
    }

    async fn reduce_scatter<T: Element>(
        &self,
        call: Call,
        values: Vec<T>,
        reduce: Reduce,
    ) -> Result<Vec<T>, CollectiveError> {
        let segment = segment(values.len(), self.group.world(), self.rank);
        let first_of_all = |mut ranks: Vec<Vec<T>>| {
            let world = ranks.len();
            for_all(ranks.swap_remove(0), world)
        };
        self.reduce(
            call,
            Operation::ReduceScatter,
            values,
            reduce,
            false,
            first_of_all,
        )
        .await
        .map(|first| first[segment].to_vec())
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
        let parts: Vec<_> = parts.into_iter().map(|p| travelled(p, call.wire)).collect();
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
        // Only the root's values move; the others keep their buffers and copy into them.
        let deposit =
            (self.rank == root).then(|| travelled(std::mem::take(&mut values), call.wire));
        let roots = |deposits: Vec<Option<Vec<T>>>| {
            let world = deposits.len();
            let root = deposits.into_iter().flatten().next();
            Ok(for_all(root.unwrap_or_default(), world))
        };
        let shared = self
            .meet(call, Operation::Broadcast, terms, fault, deposit, roots)
            .await?;
        if self.rank == root {
            return Ok(Arc::unwrap_or_clone(shared));
        }
        values.copy_from_slice(&shared);
        Ok(values)
    }

    async fn barrier(&self, call: Call) -> Result<(), CollectiveError> {
        self.meet(call, Operation::Barrier, [], None, (), Ok).await
    }

    async fn abort(&self, next: u64) {
        self.group.abort(next);
    }
}

/// What ranks agree on in a reduction of so many values.
fn reduce_terms<T: Element>(call: Call, kind: Reduce, len: usize) -> [Term; 4] {
    [
        Term::Element(T::TYPE),
        Term::Reduce(kind.name()),
        Term::Wire(call.wire),
        Term::Length(len),
    ]
}

/// A rank's own weight; one where the reduction has none.
fn weight<T: Element>(kind: Reduce) -> T {
    match kind {
        Reduce::WeightedMean(weight) => T::of(weight),
        Reduce::Sum | Reduce::Mean => T::of(1.0),
    }
}

/// Values as they are at the other end of the wire.
fn travelled<T: Element>(mut values: Vec<T>, wire: Wire) -> Vec<T> {
    travel(&mut values, wire);
    values
}

fn travel<T: Element>(values: &mut [T], wire: Wire) {
    T::travel(values, wire);
}

/// The same for every rank.
fn for_all<T>(result: T, world: usize) -> Vec<Arc<T>> {
    let result = Arc::new(result);
    vec![result; world]
}

/// Turns what all ranks brought, by rank, into what each takes away.
type Complete<'a> =
    Box<dyn FnOnce(Vec<Parcel>) -> Result<Vec<Parcel>, CollectiveError> + Send + 'a>;

/// Completes a call and answers all ranks.
fn hand_out(seats: Vec<Seat>, complete: Complete<'_>) {
    let (deposits, replies): (Vec<_>, Vec<_>) =
        seats.into_iter().map(|s| (s.deposit, s.reply)).unzip();
    // A rank that has stopped listening needs no answer.
    match complete(deposits) {
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
