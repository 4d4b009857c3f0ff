//! The sync barrier of one shard, as a pure state machine: no clock, no waiting, no arithmetic.
//!
//! A barrier collects the pushes of one step, one from each expected worker. [`Barrier::take`] takes them when
//! they are complete, or those that arrived when the deadline has passed, and opens the next step at once. A
//! later push of the earlier step is refused as late and never counted for another step. A withdrawn push
//! changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ids::{Step, WorkerId};

/// Payload of a push, and the calls that wait for its outcome.
#[derive(Debug)]
pub(in crate::server) struct Arrival<P, W> {
    pub payload: P,
    pub waiters: Vec<(Ticket, W)>,
}

/// Number of a waiting call, for its withdrawal.
pub(in crate::server) type Ticket = u64;

/// Outcome of the arrival of a push.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::server) enum Arrived {
    /// The push waits for the other workers.
    Waiting(Ticket),
    /// An equal push of an earlier call is already waiting. This call also waits for its outcome; the new
    /// gradients are not used.
    Again(Ticket),
    /// The push was applied earlier.
    Applied,
}

/// Reason for which a push was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Refused {
    Unknown,
    Late {
        expected: Step,
    },
    Early {
        expected: Step,
    },
    /// A push of an earlier call is being applied.
    Applying,
    /// The step waits for a vote and the push does not, or the other way around.
    Mixed,
}

/// Pushes of a step, taken from the barrier to be applied; workers in ascending order.
#[derive(Debug)]
pub(in crate::server) struct Batch<P, W> {
    pub step: Step,
    pub arrivals: Vec<(WorkerId, Arrival<P, W>)>,
    pub missing: Vec<WorkerId>,
}

#[derive(Debug)]
pub(in crate::server) struct Barrier<P, W> {
    /// Step whose pushes are being collected, from 0.
    step: Step,
    /// Expected workers, ascending.
    expected: Vec<WorkerId>,
    arrived: BTreeMap<WorkerId, Arrival<P, W>>,
    /// Time at which the barrier is flushed; set by the first arrival.
    deadline: Option<Duration>,
    /// Last step that was applied with a push of each worker.
    applied: BTreeMap<WorkerId, Step>,
    /// Step and workers of the batch that is being applied.
    applying: Option<(Step, Vec<WorkerId>)>,
    tickets: Ticket,
}

impl<P, W> Barrier<P, W> {
    pub fn new(step: Step) -> Barrier<P, W> {
        Barrier {
            step,
            expected: Vec::new(),
            arrived: BTreeMap::new(),
            deadline: None,
            applied: BTreeMap::new(),
            applying: None,
            tickets: 0,
        }
    }

    pub fn step(&self) -> Step {
        self.step
    }

    pub fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// Replaces the expected workers. Returns the pushes that have arrived.
    pub fn expect(&mut self, workers: &[WorkerId]) -> Vec<(WorkerId, Arrival<P, W>)> {
        self.expected = workers.to_vec();
        self.clear()
    }

    /// Returns the pushes that have arrived; the step stays open.
    pub fn clear(&mut self) -> Vec<(WorkerId, Arrival<P, W>)> {
        self.deadline = None;
        std::mem::take(&mut self.arrived).into_iter().collect()
    }

    /// Continues from a step. Returns the pushes that have arrived.
    pub fn set_step(&mut self, step: Step) -> Vec<(WorkerId, Arrival<P, W>)> {
        self.step = step;
        self.applied.clear();
        self.clear()
    }

    /// Checks whether a push of this worker and step would be accepted. `voted` tells whether the push waits
    /// for a vote.
    pub fn check(&self, worker: WorkerId, step: Step, voted: bool) -> Result<(), Refused> {
        if self.expected.binary_search(&worker).is_err() {
            return Err(Refused::Unknown);
        }
        let expected = self.step;
        match step.cmp(&expected) {
            std::cmp::Ordering::Equal if self.is_mixed(voted) => Err(Refused::Mixed),
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Less if self.applied.get(&worker) == Some(&step) => Ok(()),
            std::cmp::Ordering::Less if self.is_applying(worker, step) => Err(Refused::Applying),
            std::cmp::Ordering::Less => Err(Refused::Late { expected }),
            std::cmp::Ordering::Greater => Err(Refused::Early { expected }),
        }
    }

    /// Returns whether the pushes that have arrived wait for a vote and this one does not, or the other way
    /// around. Pushes that wait for a vote do not have waiters.
    fn is_mixed(&self, voted: bool) -> bool {
        let mut arrived = self.arrived.values();
        arrived.any(|arrival| arrival.waiters.is_empty() != voted)
    }

    fn is_applying(&self, worker: WorkerId, step: Step) -> bool {
        let batch = self.applying.as_ref();
        batch.is_some_and(|(taken, workers)| *taken == step && workers.contains(&worker))
    }

    /// Returns whether a batch is being applied.
    pub fn busy(&self) -> bool {
        self.applying.is_some()
    }

    /// Counts a step that the only worker made without a push.
    pub fn skip(&mut self) {
        self.step = self.step.next();
    }

    /// Accepts a push. `waiter` receives the outcome; `None` marks a push that waits for a vote.
    pub fn arrive(
        &mut self,
        now: Duration,
        timeout: Duration,
        worker: WorkerId,
        step: Step,
        payload: P,
        waiter: Option<W>,
    ) -> Result<Arrived, Refused> {
        self.check(worker, step, waiter.is_none())?;
        if step < self.step {
            return Ok(Arrived::Applied);
        }
        let ticket = self.tickets;
        self.tickets += 1;
        let waiter = waiter.map(|waiter| (ticket, waiter));
        if let Some(arrival) = self.arrived.get_mut(&worker) {
            arrival.waiters.extend(waiter);
            return Ok(Arrived::Again(ticket));
        }
        self.deadline.get_or_insert(now.saturating_add(timeout));
        let waiters = waiter.into_iter().collect();
        self.arrived.insert(worker, Arrival { payload, waiters });
        Ok(Arrived::Waiting(ticket))
    }

    /// Withdraws a waiting call; returns the payload if no other call waits for the same push.
    pub fn withdraw(&mut self, worker: WorkerId, ticket: Ticket) -> Option<P> {
        let arrival = self.arrived.get_mut(&worker)?;
        let before = arrival.waiters.len();
        arrival.waiters.retain(|(other, _)| *other != ticket);
        if arrival.waiters.len() == before || !arrival.waiters.is_empty() {
            return None;
        }
        let arrival = self.arrived.remove(&worker)?;
        if self.arrived.is_empty() {
            self.deadline = None;
        }
        Some(arrival.payload)
    }

    /// Returns whether a call's push has arrived and is not taken yet.
    pub fn holds(&self, worker: WorkerId, ticket: Ticket) -> bool {
        let arrival = self.arrived.get(&worker);
        arrival.is_some_and(|arrival| arrival.waiters.iter().any(|(held, _)| *held == ticket))
    }

    /// Expected workers that have not pushed yet.
    pub fn missing(&self) -> Vec<WorkerId> {
        let missing = |worker: &&WorkerId| !self.arrived.contains_key(worker);
        self.expected.iter().filter(missing).copied().collect()
    }

    /// Returns whether every expected worker has pushed.
    pub fn complete(&self) -> bool {
        !self.arrived.is_empty() && self.arrived.len() == self.expected.len()
    }

    /// Returns whether no push has arrived.
    pub fn is_empty(&self) -> bool {
        self.arrived.is_empty()
    }

    /// Takes the step's pushes, if all have arrived or the deadline has passed, and opens the next step. Takes
    /// nothing while an earlier batch is being applied.
    pub fn take(&mut self, now: Duration) -> Option<Batch<P, W>> {
        let overdue = self.deadline.is_some_and(|deadline| now >= deadline);
        let ready = self.complete() || (overdue && !self.arrived.is_empty());
        if self.busy() || !ready {
            return None;
        }
        let missing = self.missing();
        let arrivals = self.clear();
        let step = self.step;
        let workers = arrivals.iter().map(|(worker, _)| *worker).collect();
        self.applying = Some((step, workers));
        self.step = self.step.next();
        Some(Batch {
            step,
            arrivals,
            missing,
        })
    }

    /// Records that the batch taken last has been applied (`done`) or has failed.
    pub fn applied(&mut self, done: bool) {
        if let Some((step, workers)) = self.applying.take()
            && done
        {
            self.applied
                .extend(workers.into_iter().map(|worker| (worker, step)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Duration = Duration::from_secs(1);
    const A: WorkerId = WorkerId(1);
    const B: WorkerId = WorkerId(2);

    fn barrier() -> Barrier<&'static str, u8> {
        let mut barrier = Barrier::new(Step(0));
        barrier.expect(&[A, B]);
        barrier
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_step_is_complete_when_all_have_come_whatever_the_order() {
        let mut barrier = barrier();
        barrier.arrive(at(0), T, B, Step(0), "b", Some(1)).unwrap();
        assert!(barrier.take(at(0)).is_none());
        barrier.arrive(at(0), T, A, Step(0), "a", Some(2)).unwrap();
        let batch = barrier.take(at(0)).unwrap();
        let order: Vec<_> = batch
            .arrivals
            .iter()
            .map(|(w, a)| (*w, a.payload))
            .collect();
        assert_eq!(order, [(A, "a"), (B, "b")]);
        assert_eq!(
            (batch.step, batch.missing.len(), barrier.step()),
            (Step(0), 0, Step(1))
        );
    }

    #[test]
    fn a_timed_out_barrier_is_flushed_once() {
        let mut barrier = barrier();
        barrier.arrive(at(0), T, A, Step(0), "a", Some(1)).unwrap();
        assert!(barrier.take(at(0)).is_none());
        let batch = barrier.take(at(1)).unwrap();
        assert_eq!(batch.missing, [B]);
        barrier.applied(true);
        // Other waiting calls find nothing left to flush.
        assert!(barrier.take(at(2)).is_none());
        assert_eq!(barrier.step(), Step(1));
    }

    #[test]
    fn a_late_push_does_not_count_for_the_next_step() {
        let mut barrier = barrier();
        barrier.arrive(at(0), T, A, Step(0), "a", Some(1)).unwrap();
        barrier.take(at(1)).unwrap();
        barrier.applied(true);
        let late = barrier.arrive(at(1), T, B, Step(0), "b", Some(2));
        assert_eq!(late, Err(Refused::Late { expected: Step(1) }));
        assert!(!barrier.complete() && barrier.missing() == [A, B]);
        let early = barrier.arrive(at(1), T, B, Step(5), "b", Some(2));
        assert_eq!(early, Err(Refused::Early { expected: Step(1) }));
        let unknown = barrier.arrive(at(1), T, WorkerId(9), Step(1), "x", Some(2));
        assert_eq!(unknown, Err(Refused::Unknown));
    }

    #[test]
    fn a_repeated_push_counts_once() {
        let mut barrier = barrier();
        barrier.arrive(at(0), T, A, Step(0), "a", Some(1)).unwrap();
        let again = barrier.arrive(at(0), T, A, Step(0), "a2", Some(2)).unwrap();
        assert!(matches!(again, Arrived::Again(_)) && !barrier.complete());
        barrier.arrive(at(0), T, B, Step(0), "b", Some(3)).unwrap();
        let batch = barrier.take(at(0)).unwrap();
        assert_eq!(batch.arrivals[0].1.payload, "a");
        assert_eq!(batch.arrivals[0].1.waiters.len(), 2);
        let during = barrier.arrive(at(0), T, A, Step(0), "a3", Some(4));
        assert_eq!(during, Err(Refused::Applying));
        barrier.applied(true);
        let after = barrier.arrive(at(0), T, A, Step(0), "a3", Some(4)).unwrap();
        assert_eq!(after, Arrived::Applied);
    }

    #[test]
    fn a_push_that_could_not_be_applied_is_not_taken_for_applied() {
        let mut barrier = barrier();
        for worker in [A, B] {
            barrier
                .arrive(at(0), T, worker, Step(0), "x", Some(1))
                .unwrap();
        }
        barrier.take(at(0)).unwrap();
        barrier.applied(false);
        let again = barrier.arrive(at(0), T, A, Step(0), "a", Some(4));
        assert_eq!(again, Err(Refused::Late { expected: Step(1) }));
    }

    #[test]
    fn a_step_is_voted_on_by_all_or_by_none() {
        let mut barrier = barrier();
        barrier.arrive(at(0), T, A, Step(0), "a", None).unwrap();
        let pushed = barrier.arrive(at(0), T, B, Step(0), "b", Some(1));
        assert_eq!(pushed, Err(Refused::Mixed));
        assert_eq!(barrier.missing(), [B]);
        barrier.arrive(at(0), T, B, Step(0), "b", None).unwrap();
        assert_eq!(barrier.take(at(0)).unwrap().arrivals.len(), 2);
        barrier.applied(true);
        barrier.arrive(at(0), T, A, Step(1), "a", Some(1)).unwrap();
        let staged = barrier.arrive(at(0), T, B, Step(1), "b", None);
        assert_eq!(staged, Err(Refused::Mixed));
    }

    #[test]
    fn a_cancelled_push_does_not_stay_counted() {
        let mut barrier = barrier();
        let Ok(Arrived::Waiting(ticket)) = barrier.arrive(at(0), T, A, Step(0), "a", Some(1))
        else {
            panic!("it waits");
        };
        let Ok(Arrived::Again(second)) = barrier.arrive(at(0), T, A, Step(0), "a", Some(1)) else {
            panic!("it waits along");
        };
        assert_eq!(
            barrier.withdraw(A, ticket),
            None,
            "another call still waits"
        );
        assert_eq!(barrier.withdraw(A, second), Some("a"));
        assert_eq!(barrier.deadline(), None);
        barrier.arrive(at(0), T, B, Step(0), "b", Some(1)).unwrap();
        assert_eq!(barrier.missing(), [A]);
    }

    #[test]
    fn batches_are_applied_one_after_the_other() {
        let mut barrier = barrier();
        for (worker, step) in [(A, 0), (B, 0)] {
            barrier
                .arrive(at(0), T, worker, Step(step), "x", Some(1))
                .unwrap();
        }
        barrier.take(at(0)).unwrap();
        for (worker, step) in [(A, 1), (B, 1)] {
            barrier
                .arrive(at(0), T, worker, Step(step), "x", Some(1))
                .unwrap();
        }
        assert!(barrier.take(at(9)).is_none(), "the first is being applied");
        barrier.applied(true);
        assert_eq!(barrier.take(at(9)).unwrap().step, Step(1));
    }
}
