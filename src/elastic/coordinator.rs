//! The state machine: what goes in and what it says of itself. [`super::transitions`] has the rest.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

use super::ballot::{Ballot, Verdict};
use super::membership::Membership;
use super::{
    Action, Cause, ElasticConfig, ElasticError, Failure, InvalidConfig, Member, State, StopReason,
    Vote,
};
use crate::ids::WorkerId;

/// What a coordinator is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Between steps; the shell says when to go on.
    Boundary,
    /// A step is due and waits for workers.
    Waiting,
    /// A step runs.
    Running,
    /// The run is over.
    Stopped,
}

/// [`Phase`] and what belongs to it.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    Boundary,
    Waiting {
        /// Until when the step waits for syncing workers although there are enough others.
        gather: Duration,
        /// Since when there are too few workers.
        paused: Option<Duration>,
    },
    Running(Ballot),
    Stopped(StopReason),
}

/// Decides who runs which step and what becomes of it. Pure: see [the module](super).
///
/// `now` is the time since the start of the run at which an event *arrived*. A time before the
/// latest one known is taken as that. Timeouts that are due by `now` come before the event
/// itself, so the outcome does not depend on how often [`Coordinator::tick`] is called; the shell
/// hands over the messages it holds before it ticks or advances.
///
/// Every call may add to the actions; take them with [`Coordinator::next_action`].
#[derive(Clone, Debug)]
pub struct Coordinator {
    pub(super) config: ElasticConfig,
    pub(super) members: Membership,
    pub(super) stage: Stage,
    pub(super) now: Duration,
    pub(super) step: u64,
    pub(super) attempts: u32,
    pub(super) actions: VecDeque<Action>,
}

impl Coordinator {
    /// A coordinator at the boundary before `first_step` (1 for a new run), without workers.
    ///
    /// # Errors
    /// [`InvalidConfig`] if the numbers make no sense.
    pub fn new(config: ElasticConfig, first_step: u64) -> Result<Coordinator, InvalidConfig> {
        config.validate()?;
        Ok(Coordinator {
            config,
            members: Membership::default(),
            stage: Stage::Boundary,
            now: Duration::ZERO,
            step: first_step,
            attempts: 0,
            actions: VecDeque::new(),
        })
    }

    /// Admits a worker, syncing, under a number that no other worker of the run has or had;
    /// numbers count from 0.
    ///
    /// # Errors
    /// [`ElasticError::Full`], or the run has stopped.
    pub fn join(&mut self, now: Duration) -> Result<WorkerId, ElasticError> {
        self.pass(now)?;
        self.members.admit(self.now, self.config.max_workers)
    }

    /// A worker has all it needs; it takes part from the next boundary on. Said again before
    /// then, it changes nothing.
    ///
    /// # Errors
    /// If the worker is unknown, gone or past syncing, or the run has stopped.
    pub fn synced(&mut self, now: Duration, worker: WorkerId) -> Result<(), ElasticError> {
        self.pass(now)?;
        let member = self.members.present(worker)?;
        if member.state != State::Syncing {
            let state = member.state;
            return Err(ElasticError::NotSyncing { worker, state });
        }
        member.synced = true;
        member.seen = self.now;
        self.proceed();
        Ok(())
    }

    /// A worker wants to go: at once between steps or if it has not begun, else when the step
    /// that runs has ended. Said again before then, it changes nothing.
    ///
    /// # Errors
    /// If the worker is unknown or gone, or the run has stopped.
    pub fn leave(&mut self, now: Duration, worker: WorkerId) -> Result<(), ElasticError> {
        self.pass(now)?;
        let running = self.phase() == Phase::Running;
        let member = self.members.present(worker)?;
        if running && member.state != State::Syncing {
            member.state = State::Draining;
        } else {
            member.state = State::Left;
            self.dismiss(worker, Cause::Left);
            self.proceed();
        }
        Ok(())
    }

    /// A worker is alive.
    ///
    /// # Errors
    /// If the worker is unknown or gone, or the run has stopped.
    pub fn heartbeat(&mut self, now: Duration, worker: WorkerId) -> Result<(), ElasticError> {
        self.pass(now)?;
        self.members.present(worker)?.seen = self.now;
        Ok(())
    }

    /// A worker is lost. If it has a part in the step that runs, voted or not, the step is
    /// discarded.
    ///
    /// # Errors
    /// If the worker is unknown or gone already, or the run has stopped.
    pub fn fail(
        &mut self,
        now: Duration,
        worker: WorkerId,
        failure: Failure,
    ) -> Result<(), ElasticError> {
        self.pass(now)?;
        self.members.present(worker)?;
        self.lose(vec![(worker, failure)]);
        self.proceed();
        Ok(())
    }

    /// A worker's word on its part of the step that runs.
    ///
    /// # Errors
    /// If the worker is unknown, gone or not in the step, has voted on it already, or means
    /// another step or generation; or no step runs.
    pub fn vote(
        &mut self,
        now: Duration,
        worker: WorkerId,
        generation: u64,
        step: u64,
        vote: Vote,
    ) -> Result<(), ElasticError> {
        self.pass(now)?;
        let (current, running) = (self.members.generation, self.step);
        let member = self.members.present(worker)?;
        let Stage::Running(ballot) = &mut self.stage else {
            return Err(ElasticError::NoStep { worker, step });
        };
        if (generation, step) != (current, running) {
            return Err(ElasticError::WrongStep {
                worker,
                generation,
                step,
                current,
                running,
            });
        }
        ballot.cast(worker, step, vote)?;
        member.seen = self.now;
        match ballot.verdict() {
            None => {}
            Some(Verdict::Commit) => self.commit(),
            Some(Verdict::Exclude(broken)) => {
                let lost = broken.into_iter();
                let lost = lost.map(|(w, what)| (w, Failure::NotFinite { step, what }));
                self.lose(lost.collect());
            }
            Some(Verdict::Diverged(what)) => self.halt(StopReason::Diverged { step, what }),
        }
        Ok(())
    }

    /// The shell has done all that belongs to this boundary: on to the next step, or the same
    /// one again if it was discarded.
    ///
    /// # Errors
    /// If a step runs or waits already, or the run has stopped.
    pub fn advance(&mut self, now: Duration) -> Result<(), ElasticError> {
        self.pass(now)?;
        let Stage::Boundary = self.stage else {
            return Err(ElasticError::NotAtBoundary { step: self.step });
        };
        self.stage = Stage::Waiting {
            gather: self.now.saturating_add(self.config.sync_timeout),
            paused: None,
        };
        self.proceed();
        Ok(())
    }

    /// Ends the run: a step that runs is discarded, and everybody is dismissed.
    ///
    /// # Errors
    /// If it has stopped already.
    pub fn stop(&mut self, now: Duration, reason: StopReason) -> Result<(), ElasticError> {
        self.pass(now)?;
        self.halt(reason);
        Ok(())
    }

    /// Time has passed: whatever is due by `now` happens.
    pub fn tick(&mut self, now: Duration) {
        // A run that has stopped has nothing due.
        let _ = self.pass(now);
    }

    /// When to call [`Coordinator::tick`] if nothing happens before. Never `None` while a step
    /// runs or waits for workers.
    pub fn next_deadline(&self) -> Option<Duration> {
        let members = self.members.deadline(&self.config);
        let own = match &self.stage {
            Stage::Boundary | Stage::Stopped(_) => None,
            Stage::Running(ballot) => Some(ballot.deadline),
            Stage::Waiting { gather, .. } if self.gathers(*gather) => Some(*gather),
            Stage::Waiting { paused, .. } => {
                paused.map(|since| since.saturating_add(self.config.pause_timeout))
            }
        };
        members.into_iter().chain(own).min()
    }

    /// The next thing for the shell to do.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// What the coordinator is doing.
    pub fn phase(&self) -> Phase {
        match self.stage {
            Stage::Boundary => Phase::Boundary,
            Stage::Waiting { .. } => Phase::Waiting,
            Stage::Running(_) => Phase::Running,
            Stage::Stopped(_) => Phase::Stopped,
        }
    }

    /// Why the run is over, if it is.
    pub fn stopped(&self) -> Option<&StopReason> {
        match &self.stage {
            Stage::Stopped(reason) => Some(reason),
            _ => None,
        }
    }

    /// Goes up with every change of the workers that run steps; 0 before the first step.
    pub fn generation(&self) -> u64 {
        self.members.generation
    }

    /// The step that runs, or runs next.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// How often [`Coordinator::step`] has been started.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Everybody who ever joined, ascending.
    pub fn workers(&self) -> impl Iterator<Item = (WorkerId, &Member)> {
        self.members.iter()
    }

    /// One worker, if it ever joined.
    pub fn worker(&self, worker: WorkerId) -> Option<&Member> {
        self.members.get(worker)
    }

    /// The numbers it goes by.
    pub fn config(&self) -> &ElasticConfig {
        &self.config
    }
}
