//! The state machine: events in, actions out, and what the machine tells of itself. The
//! transitions are in [`super::transitions`].

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ballot::{Ballot, Verdict};
use super::membership::Membership;
use super::{
    Action, Cause, CoordinatorConfig, CoordinatorError, Discarded, Failure, InvalidConfig, Member,
    MemberInfo, State, StopReason, Vote,
};
use crate::ids::{Generation, Step, WorkerId};

/// Activity of a coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

/// [`Phase`] and the data that belongs to it.
#[derive(Clone, Debug)]
pub(super) enum PhaseState {
    Boundary,
    Waiting {
        /// Time until which the step waits for syncing workers although there are enough others.
        gather: Duration,
        /// Time since which there are too few workers.
        paused: Option<Duration>,
    },
    Running(Ballot),
    Stopped(StopReason),
}

/// Decides which workers run a step and what becomes of it. Pure: see [the module](super).
///
/// `now` is the time since the start of the run at which an event *arrived*. A time before the
/// latest one known is taken as that. Timeouts that are due by `now` come before the event
/// itself, so the outcome does not depend on how often [`Coordinator::tick`] is called; the shell
/// hands over the messages it holds before it ticks or advances.
///
/// Every call may add to the actions; take them with [`Coordinator::next_action`].
#[derive(Clone, Debug)]
pub struct Coordinator {
    pub(super) config: CoordinatorConfig,
    pub(super) members: Membership,
    pub(super) state: PhaseState,
    pub(super) now: Duration,
    pub(super) step: Step,
    pub(super) attempts: u32,
    pub(super) actions: VecDeque<Action>,
}

impl Coordinator {
    /// A coordinator at the boundary before `first_step` (1 for a new run), without workers. The
    /// first workers that run steps make the generation after `first_generation` (0 for a new
    /// run), which has none.
    ///
    /// # Errors
    /// [`InvalidConfig`] if the settings make no sense.
    pub fn new(
        config: CoordinatorConfig,
        first_step: Step,
        first_generation: Generation,
    ) -> Result<Coordinator, InvalidConfig> {
        config.validate()?;
        Ok(Coordinator {
            config,
            members: Membership {
                generation: first_generation,
                ..Membership::default()
            },
            state: PhaseState::Boundary,
            now: Duration::ZERO,
            step: first_step,
            attempts: 0,
            actions: VecDeque::new(),
        })
    }

    /// Admits a worker, syncing, under a number that no other worker of the run has or had;
    /// numbers count from 0. `info` is kept in [`Member::info`] and listed by
    /// [`Coordinator::status`].
    ///
    /// # Errors
    /// [`CoordinatorError::Full`]; [`CoordinatorError::Member`] if `info` is too large; or the run
    /// has stopped.
    pub fn join(&mut self, now: Duration, info: MemberInfo) -> Result<WorkerId, CoordinatorError> {
        self.pass(now)?;
        self.members.admit(self.now, info, self.config.max_workers)
    }

    /// A worker has all it needs: the worker takes part from the next boundary on. A second call
    /// before then changes nothing.
    ///
    /// # Errors
    /// If the worker is unknown, gone or past syncing, or the run has stopped.
    pub fn synced(&mut self, now: Duration, worker: WorkerId) -> Result<(), CoordinatorError> {
        self.pass(now)?;
        let member = self.members.present(worker)?;
        if member.state != State::Syncing {
            let state = member.state;
            return Err(CoordinatorError::NotSyncing { worker, state });
        }
        member.synced = true;
        member.seen = self.now;
        self.proceed();
        Ok(())
    }

    /// A worker wants to go. A worker without a part in a running step goes at once, another when
    /// the step has ended. A second call before then changes nothing.
    ///
    /// # Errors
    /// If the worker is unknown or gone, or the run has stopped.
    pub fn leave(&mut self, now: Duration, worker: WorkerId) -> Result<(), CoordinatorError> {
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

    /// A worker is alive. See [`CoordinatorConfig::heartbeat_timeout`].
    ///
    /// # Errors
    /// If the worker is unknown or gone, or the run has stopped.
    pub fn heartbeat(&mut self, now: Duration, worker: WorkerId) -> Result<(), CoordinatorError> {
        self.pass(now)?;
        self.members.present(worker)?.seen = self.now;
        Ok(())
    }

    /// A worker is lost. If the worker has a part in the step that runs, voted or not, the step is
    /// discarded.
    ///
    /// # Errors
    /// If the worker is unknown or gone already, or the run has stopped.
    pub fn fail(
        &mut self,
        now: Duration,
        worker: WorkerId,
        failure: Failure,
    ) -> Result<(), CoordinatorError> {
        self.pass(now)?;
        self.members.present(worker)?;
        self.lose(vec![(worker, failure)]);
        self.proceed();
        Ok(())
    }

    /// A worker votes on its part of the step that runs.
    ///
    /// # Errors
    /// If the worker is unknown, gone or not in the step, has voted on it already, or means
    /// another step or generation; or no step runs.
    pub fn vote(
        &mut self,
        now: Duration,
        worker: WorkerId,
        generation: Generation,
        step: Step,
        vote: Vote,
    ) -> Result<(), CoordinatorError> {
        self.pass(now)?;
        let (current, running) = (self.members.generation, self.step);
        let member = self.members.present(worker)?;
        let PhaseState::Running(ballot) = &mut self.state else {
            return Err(CoordinatorError::NoStep { worker, step });
        };
        if (generation, step) != (current, running) {
            return Err(CoordinatorError::WrongStep {
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

    /// The shell is done with this boundary: the next step begins, or the same one again if it was
    /// discarded.
    ///
    /// # Errors
    /// If a step runs or waits already, or the run has stopped.
    pub fn advance(&mut self, now: Duration) -> Result<(), CoordinatorError> {
        self.pass(now)?;
        let PhaseState::Boundary = self.state else {
            return Err(CoordinatorError::NotAtBoundary { step: self.step });
        };
        self.state = PhaseState::Waiting {
            gather: self.now.saturating_add(self.config.sync_timeout),
            paused: None,
        };
        self.proceed();
        Ok(())
    }

    /// Goes back to an earlier step, because what later steps changed is lost: a step that runs is discarded, and
    /// `step` comes next, in a new generation.
    ///
    /// # Errors
    /// [`CoordinatorError::NotBack`] if `step` is later than the current one; or the run has stopped.
    pub fn go_back(&mut self, now: Duration, step: Step) -> Result<(), CoordinatorError> {
        self.pass(now)?;
        if step > self.step {
            let current = self.step;
            return Err(CoordinatorError::NotBack { step, current });
        }
        if self.phase() == Phase::Running {
            self.discard(Discarded::WentBack);
        }
        self.state = PhaseState::Boundary;
        self.step = step;
        self.attempts = 0;
        // Whoever runs the next step makes a new generation.
        self.members.roster.clear();
        Ok(())
    }

    /// Ends the run: a step that runs is discarded, and all workers are dismissed.
    ///
    /// # Errors
    /// If the run has stopped already.
    pub fn stop(&mut self, now: Duration, reason: StopReason) -> Result<(), CoordinatorError> {
        self.pass(now)?;
        self.halt(reason);
        Ok(())
    }

    /// Time has passed: whatever is due by `now` takes effect.
    pub fn tick(&mut self, now: Duration) {
        // A run that has stopped has nothing due.
        let _ = self.pass(now);
    }

    /// Time at which to call [`Coordinator::tick`] if no event arrives before. Never `None` while a step
    /// runs or waits for workers.
    pub fn next_deadline(&self) -> Option<Duration> {
        let members = self.members.deadline(&self.config);
        let own = match &self.state {
            PhaseState::Boundary | PhaseState::Stopped(_) => None,
            PhaseState::Running(ballot) => Some(ballot.deadline),
            PhaseState::Waiting { gather, .. } if self.gathers(*gather) => Some(*gather),
            PhaseState::Waiting { paused, .. } => {
                paused.map(|since| since.saturating_add(self.config.pause_timeout))
            }
        };
        members.into_iter().chain(own).min()
    }

    /// The next order for the shell.
    pub fn next_action(&mut self) -> Option<Action> {
        let mut action = self.actions.pop_front()?;
        if let Action::Start {
            step,
            attempt,
            vote_within,
            ..
        } = &mut action
            && let PhaseState::Running(ballot) = &self.state
            && (*step, *attempt) == (self.step, self.attempts)
        {
            // Time may have passed since the step's start.
            *vote_within = ballot.deadline.saturating_sub(self.now);
        }
        Some(action)
    }

    /// Activity of the coordinator.
    pub fn phase(&self) -> Phase {
        match self.state {
            PhaseState::Boundary => Phase::Boundary,
            PhaseState::Waiting { .. } => Phase::Waiting,
            PhaseState::Running(_) => Phase::Running,
            PhaseState::Stopped(_) => Phase::Stopped,
        }
    }

    /// Reason why the run is over, if it is.
    pub fn stopped(&self) -> Option<&StopReason> {
        match &self.state {
            PhaseState::Stopped(reason) => Some(reason),
            _ => None,
        }
    }

    /// Number of the set of workers that run steps; rises with every change of the set.
    pub fn generation(&self) -> Generation {
        self.members.generation
    }

    /// The step that runs, or runs next.
    pub fn step(&self) -> Step {
        self.step
    }

    /// Starts of [`Coordinator::step`] so far.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// All workers that ever joined, ascending.
    pub fn workers(&self) -> impl Iterator<Item = (WorkerId, &Member)> {
        self.members.iter()
    }

    /// One worker, if it ever joined.
    pub fn worker(&self, worker: WorkerId) -> Option<&Member> {
        self.members.get(worker)
    }

    /// The settings.
    pub fn config(&self) -> &CoordinatorConfig {
        &self.config
    }
}
