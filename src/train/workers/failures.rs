//! Failures of workers: a panic, an error of the device, gradients that are not finite, or a step that takes too
//! long. A worker's thread reports the first three; the supervisor notices the last.

use super::Workers;
use super::rounds::Round;
use crate::coordinator::{CoordinatorError, Failure, Member, State, StopReason, Vote};
use crate::ids::{Generation, Step};
use crate::server::WorkerId;

impl Workers {
    /// Async: fails workers that take too long over a plan. Time spent waiting for others does not count.
    pub(super) fn check_timeouts(&mut self, round: &Round) {
        let now = self.now();
        let mut overdue = Vec::new();
        for worker in round.in_flight() {
            let since = self.since.entry(worker).or_insert(now);
            if self.hosts.is_waiting(worker) {
                *since = now;
            } else if now.saturating_sub(*since) > self.step_timeout {
                overdue.push(worker);
            }
        }
        for worker in overdue {
            let failure = Failure::Stalled {
                step: self.coordinator.step(),
                after: self.step_timeout,
            };
            self.fail(worker, failure);
        }
    }

    /// Takes a lost worker out of the run.
    pub(super) fn fail(&mut self, worker: WorkerId, failure: Failure) {
        let now = self.now();
        if let Err(error) = self.coordinator.fail(now, worker, failure) {
            tracing::debug!(%worker, %error, "not counted");
        }
        // No other worker waits for its push any more.
        self.hosts.release(worker);
    }

    /// Handles gradients that are not finite. The worker is at fault, unless another worker found the same in
    /// the same step, or all others have failed for it. Then the model has diverged, and the run stops.
    pub(super) fn not_finite(
        &mut self,
        worker: WorkerId,
        generation: Generation,
        step: Step,
        what: String,
        round: &mut Round,
    ) -> Result<(), CoordinatorError> {
        let now = self.now();
        let again = self.coordinator.attempts() > 1 || self.asynchronous();
        // In async mode, workers have different plans: the last worker has no other to confirm its result.
        let is_other =
            |(id, member): (WorkerId, &Member)| id != worker && member.state == State::Active;
        let alone = !self.coordinator.workers().any(is_other);
        let last = self.asynchronous() && round.has_accused() && alone;
        if (round.accuse(worker) && again) || last {
            return self
                .coordinator
                .stop(now, StopReason::Diverged { step, what });
        }
        if self.asynchronous() {
            // Async mode has no common vote to wait for.
            self.fail(worker, Failure::NotFinite { step, what });
            return Ok(());
        }
        let vote = Vote::NotFinite { what };
        self.coordinator.vote(now, worker, generation, step, vote)
    }
}
