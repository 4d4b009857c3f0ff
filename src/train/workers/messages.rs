//! Handling of the workers' messages by the supervisor.

use super::Workers;
use super::rounds::Round;
use super::worker::Message;
use crate::coordinator::{CoordinatorError, Failure, Member, State, StopReason, Vote};
use crate::ids::{Generation, Step};
use crate::sampler::PlanError;
use crate::server::WorkerId;

impl Workers {
    /// Handles a message of a worker.
    ///
    /// # Errors
    /// [`PlanError`] if there is no plan for the worker's next step.
    pub(super) fn on_message(
        &mut self,
        message: Message,
        round: &mut Round,
    ) -> Result<(), PlanError> {
        let now = self.now();
        let heard = match message {
            Message::Synced(worker) => self.coordinator.synced(now, worker),
            Message::Lost(worker, failure) => {
                self.fail(worker, failure);
                Ok(())
            }
            Message::Done(worker, done) => {
                self.since.insert(worker, now);
                let (generation, step) = (done.generation, done.step);
                let current =
                    (generation, step) == (self.coordinator.generation(), self.coordinator.step());
                if done.vote == Some(Vote::Ready) && (current || self.asynchronous()) {
                    self.speeds.measure(worker, done.queries, done.took);
                    round.finished(worker, &done.losses);
                }
                match done.vote {
                    _ if !current => Ok(()),
                    Some(Vote::NotFinite { what }) => {
                        self.not_finite(worker, generation, step, what, round)
                    }
                    // Without a vote, its rows were too stale: the worker pulls again.
                    vote => {
                        if vote.is_none() {
                            round.forget(worker);
                        }
                        match round.next(worker)? {
                            Some(part) => {
                                self.send_task(worker, generation, step, vec![part]);
                                Ok(())
                            }
                            None => {
                                let vote = Vote::Ready;
                                self.coordinator.vote(now, worker, generation, step, vote)
                            }
                        }
                    }
                }
            }
        };
        if let Err(error) = heard {
            // A message that arrived after its worker was removed.
            tracing::debug!(%error, "not counted");
        }
        Ok(())
    }

    /// Handles gradients that are not finite. The worker is at fault, unless another worker found the same in
    /// the same step, or all others have failed for it. Then the model has diverged, and the run stops.
    fn not_finite(
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
