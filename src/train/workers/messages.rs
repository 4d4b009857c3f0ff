//! Handling of the workers' messages by the supervisor.

use super::Workers;
use super::rounds::Round;
use super::worker::Message;
use crate::coordinator::Vote;
use crate::sampler::PlanError;

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
            Message::Node(event) => return self.on_node_event(event, round),
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
                                self.send_task(worker, generation, step, part.plan, vec![part]);
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
}
