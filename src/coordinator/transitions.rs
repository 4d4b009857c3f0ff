//! Transitions of the state machine.

use std::time::Duration;

use super::ballot::Ballot;
use super::state_machine::PhaseState;
use super::{
    Action, Cause, Coordinator, CoordinatorError, Discarded, Failure, Phase, State, StopReason,
};
use crate::ids::WorkerId;

impl Coordinator {
    /// Moves the time on and carries out what is due.
    pub(super) fn pass(&mut self, now: Duration) -> Result<(), CoordinatorError> {
        self.now = self.now.max(now);
        let mut lost = self.members.overdue(self.now, &self.config);
        if let PhaseState::Running(ballot) = &self.state
            && ballot.deadline <= self.now
        {
            let (step, after) = (self.step, self.config.step_timeout);
            for worker in ballot.missing() {
                if lost.iter().all(|(w, _)| *w != worker) {
                    lost.push((worker, Failure::Stalled { step, after }));
                }
            }
        }
        if !lost.is_empty() {
            self.lose(lost);
        }
        self.proceed();
        match self.state {
            PhaseState::Stopped(_) => Err(CoordinatorError::Stopped),
            _ => Ok(()),
        }
    }

    /// Starts the step that waits, if it can.
    pub(super) fn proceed(&mut self) {
        let PhaseState::Waiting { gather, paused } = self.state else {
            return;
        };
        if self.gathers(gather) {
            return;
        }
        let (active, min) = (self.members.ready(), self.config.min_workers);
        let after = self.config.pause_timeout;
        match paused {
            _ if active >= min => {
                if paused.is_some() {
                    self.actions.push_back(Action::Resumed { active });
                }
                self.start();
            }
            None => {
                let paused = Some(self.now);
                self.state = PhaseState::Waiting { gather, paused };
                self.actions.push_back(Action::Paused { active, min });
            }
            Some(since) if since.saturating_add(after) <= self.now => {
                self.halt(StopReason::TooFewWorkers { active, min, after });
            }
            Some(_) => {}
        }
    }

    /// Whether a step that waits still does so for workers that are syncing.
    pub(super) fn gathers(&self, until: Duration) -> bool {
        self.config.await_joiners && self.now < until && self.members.pending() > 0
    }

    fn start(&mut self) {
        if self.members.settle() {
            self.actions.push_back(Action::Reconfigured {
                generation: self.members.generation,
                workers: self.members.roster.clone(),
            });
        }
        let workers = self.members.roster.clone();
        let deadline = self.now.saturating_add(self.config.step_timeout);
        self.attempts += 1;
        self.actions.push_back(Action::Start {
            generation: self.members.generation,
            step: self.step,
            attempt: self.attempts,
            workers: workers.clone(),
            vote_within: self.config.step_timeout,
        });
        self.state = PhaseState::Running(Ballot::new(workers, deadline));
    }

    /// Commits the step: every worker is ready.
    pub(super) fn commit(&mut self) {
        let workers = self.members.roster.clone();
        self.members.committed(&workers);
        self.state = PhaseState::Boundary;
        self.actions.push_back(Action::Commit {
            generation: self.members.generation,
            step: self.step,
            workers,
        });
        self.step = self.step.next();
        self.attempts = 0;
        self.release(|state| state == State::Draining);
    }

    pub(super) fn discard(&mut self, reason: Discarded) {
        self.state = PhaseState::Boundary;
        self.actions.push_back(Action::Discard {
            generation: self.members.generation,
            step: self.step,
            reason,
        });
    }

    /// Fails workers, and with them the step they had a part in.
    pub(super) fn lose(&mut self, lost: Vec<(WorkerId, Failure)>) {
        let ballot = match &self.state {
            PhaseState::Running(ballot) => Some(ballot),
            _ => None,
        };
        let of_step = |worker: &WorkerId| ballot.is_some_and(|ballot| ballot.includes(*worker));
        let mut parts: Vec<WorkerId> = lost.iter().map(|(w, _)| *w).filter(of_step).collect();
        parts.sort_unstable();
        let broken = !parts.is_empty();
        if broken {
            self.discard(Discarded::Lost(parts));
        }
        for (worker, failure) in lost {
            self.members.fail(worker, failure.clone());
            self.dismiss(worker, Cause::Failed(failure));
        }
        if broken {
            self.release(|state| state == State::Draining);
            if self.attempts >= self.config.max_attempts {
                let (step, attempts) = (self.step, self.attempts);
                self.halt(StopReason::TooManyAttempts { step, attempts });
            }
        }
    }

    /// Ends the run.
    pub(super) fn halt(&mut self, reason: StopReason) {
        if self.phase() == Phase::Running {
            self.discard(Discarded::Stopping);
        }
        self.release(State::is_present);
        self.state = PhaseState::Stopped(reason.clone());
        self.actions.push_back(Action::Stop { reason });
    }

    fn release(&mut self, from: impl Fn(State) -> bool) {
        for worker in self.members.release(from) {
            self.dismiss(worker, Cause::Left);
        }
    }

    pub(super) fn dismiss(&mut self, worker: WorkerId, cause: Cause) {
        self.actions.push_back(Action::Dismiss { worker, cause });
    }
}
