//! A model of what a coordinator may do.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// The step that runs, as the actions told.
#[derive(Debug)]
pub struct Running {
    generation: Generation,
    step: Step,
    pub workers: Vec<WorkerId>,
    deadline: Duration,
    votes: BTreeMap<WorkerId, bool>,
}

/// Rules that every sequence of actions keeps.
#[derive(Debug, Default)]
pub struct Model {
    config: CoordinatorConfig,
    pub running: Option<Running>,
    generation: Generation,
    roster: Vec<WorkerId>,
    committed: u64,
    /// Starts of the step after `committed`.
    attempts: u32,
    dismissed: BTreeSet<WorkerId>,
    paused: bool,
    stopped: bool,
    pub states: BTreeMap<WorkerId, State>,
    /// Number of times that each event was seen.
    pub tally: BTreeMap<&'static str, usize>,
}

impl Model {
    pub fn new(config: CoordinatorConfig) -> Model {
        Model {
            config,
            ..Model::default()
        }
    }

    /// Takes the coordinator's actions and checks each, and where it stands now.
    pub fn observe(&mut self, c: &mut Coordinator, now: Duration) -> Result<usize, TestCaseError> {
        let actions = drain(c);
        let taken = actions.len();
        for action in actions {
            prop_assert!(!self.stopped, "{:?} after the end", action);
            self.action(action, c, now)?;
        }
        self.standing(c, now)?;
        Ok(taken)
    }

    fn action(
        &mut self,
        action: Action,
        c: &Coordinator,
        now: Duration,
    ) -> Result<(), TestCaseError> {
        match action {
            Action::Reconfigured {
                generation,
                workers,
            } => {
                prop_assert!(self.running.is_none(), "reconfigured inside a step");
                prop_assert!(generation > self.generation && workers != self.roster);
                self.count("reconfigured");
                (self.generation, self.roster) = (generation, workers);
            }
            Action::Start {
                generation,
                step,
                attempt,
                workers,
                vote_within,
            } => {
                prop_assert!(self.running.is_none() && !self.paused);
                prop_assert_eq!((generation, &workers), (self.generation, &self.roster));
                // In order, and what was discarded is redone.
                prop_assert_eq!((step.0, attempt), (self.committed + 1, self.attempts + 1));
                prop_assert!(attempt <= self.config.max_attempts);
                prop_assert!(workers.len() >= self.config.min_workers);
                prop_assert!(workers.is_sorted_by(|a, b| a < b));
                prop_assert!(workers.iter().all(|w| !self.dismissed.contains(w)));
                prop_assert_eq!(vote_within, self.config.step_timeout);
                self.count(if attempt > 1 { "redo" } else { "start" });
                self.attempts = attempt;
                self.running = Some(Running {
                    generation,
                    step,
                    workers,
                    deadline: now + vote_within,
                    votes: BTreeMap::new(),
                });
            }
            Action::Commit {
                generation,
                step,
                workers,
            } => {
                let Some(run) = self.running.take() else {
                    return Err(TestCaseError::fail("commit of nothing"));
                };
                prop_assert_eq!((generation, step), (run.generation, run.step));
                // One ready vote from each worker of its start.
                prop_assert_eq!(&workers, &run.workers);
                prop_assert!(run.workers.iter().eq(run.votes.keys()));
                prop_assert!(run.votes.values().all(|&ready| ready));
                self.count("commit");
                self.committed = step.0;
                self.attempts = 0;
            }
            Action::Discard {
                generation,
                step,
                reason,
            } => {
                let Some(run) = self.running.take() else {
                    return Err(TestCaseError::fail("discard of nothing"));
                };
                prop_assert_eq!((generation, step), (run.generation, run.step));
                if let Discarded::Lost(lost) = reason {
                    prop_assert!(!lost.is_empty());
                    for worker in lost {
                        prop_assert!(run.workers.contains(&worker));
                        prop_assert_eq!(c.worker(worker).map(|m| m.state), Some(State::Failed));
                    }
                }
            }
            Action::Dismiss { worker, cause } => {
                prop_assert!(self.dismissed.insert(worker), "dismissed twice");
                let running = self.running.as_ref();
                prop_assert!(running.is_none_or(|run| !run.workers.contains(&worker)));
                let member = c.worker(worker).map(|m| (m.state, m.failure.clone()));
                prop_assert_eq!(
                    member,
                    Some(match cause {
                        Cause::Left => (State::Left, None),
                        Cause::Failed(ref failure) => (State::Failed, Some(failure.clone())),
                    })
                );
                self.count(match cause {
                    Cause::Left => "left",
                    Cause::Failed(Failure::NotFinite { .. }) => "not finite",
                    Cause::Failed(Failure::Stalled { .. }) => "stalled",
                    Cause::Failed(Failure::SyncTimeout { .. }) => "sync timeout",
                    Cause::Failed(Failure::Silent { .. }) => "silent",
                    Cause::Failed(_) => "failed",
                });
            }
            Action::Paused { active, min } => {
                prop_assert!(self.running.is_none() && !self.paused);
                prop_assert!(active < min && min == self.config.min_workers);
                self.paused = true;
            }
            Action::Resumed { active } => {
                prop_assert!(self.paused && active >= self.config.min_workers);
                self.paused = false;
                self.count("resumed");
            }
            Action::Stop { reason } => {
                prop_assert!(self.running.is_none());
                self.count(match reason {
                    StopReason::TooFewWorkers { .. } => "too few workers",
                    StopReason::Diverged { .. } => "diverged",
                    StopReason::TooManyAttempts { .. } => "too many attempts",
                    _ => "stopped",
                });
                self.stopped = true;
            }
        }
        Ok(())
    }

    fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    /// Checks what the coordinator says of itself between calls.
    fn standing(&mut self, c: &Coordinator, now: Duration) -> Result<(), TestCaseError> {
        let mut present = 0;
        for (worker, member) in c.workers() {
            let state = member.state;
            let before = self.states.insert(worker, state).unwrap_or(State::Syncing);
            prop_assert!(may_become(before, state), "{:?} to {:?}", before, state);
            prop_assert_eq!(self.dismissed.contains(&worker), !state.is_present());
            let part = self.running.as_ref();
            let part = part.is_some_and(|run| run.workers.contains(&worker));
            prop_assert!(part == (state == State::Draining) || state == State::Active);
            present += usize::from(state.is_present());
            let pending = state == State::Syncing && !member.synced;
            prop_assert!(!pending || now < member.joined + self.config.sync_timeout);
        }
        prop_assert!(present <= self.config.max_workers);
        prop_assert_eq!(c.step(), Step(self.committed + 1));
        prop_assert_eq!(c.generation(), self.generation);
        let phase = c.phase();
        prop_assert_eq!(phase == Phase::Running, self.running.is_some());
        prop_assert_eq!(phase == Phase::Stopped, self.stopped);
        prop_assert!(!self.stopped || present == 0);
        // Nobody is waited for who has voted.
        let open = |run: &Running| run.votes.len() < run.workers.len();
        prop_assert!(self.running.as_ref().is_none_or(open));
        // No wait without a deadline, and none past it.
        let waits = matches!(phase, Phase::Running | Phase::Waiting);
        prop_assert!(!waits || c.next_deadline().is_some());
        prop_assert!(c.next_deadline().is_none_or(|at| at > now));
        prop_assert!(self.running.as_ref().is_none_or(|run| run.deadline > now));
        Ok(())
    }

    /// Casts a vote, after what was due before it; it must be taken if and only if the model says.
    pub fn vote(
        &mut self,
        c: &mut Coordinator,
        now: Duration,
        worker: WorkerId,
        (generation, step): (Generation, Step),
        ready: bool,
    ) -> Result<(), TestCaseError> {
        let vote = if ready { Vote::Ready } else { broken() };
        // Without that tick, the same would happen.
        let mut unticked = c.clone();
        let _ = unticked.vote(now, worker, generation, step, vote.clone());
        c.tick(now);
        self.observe(c, now)?;
        let run = self.running.as_mut();
        let mut run = run.filter(|run| {
            let current = (run.generation, run.step) == (generation, step);
            current && run.workers.contains(&worker) && !run.votes.contains_key(&worker)
        });
        if let Some(run) = &mut run {
            run.votes.insert(worker, ready);
        }
        let (expected, before) = (run.is_some(), c.status());
        prop_assert_eq!(
            c.vote(now, worker, generation, step, vote).is_ok(),
            expected
        );
        prop_assert_eq!(unticked.status(), c.status());
        if !expected {
            prop_assert_eq!(before, c.status());
            prop_assert_eq!(c.next_action(), None);
        }
        self.observe(c, now).map(|_| ())
    }
}

fn may_become(from: State, to: State) -> bool {
    use State::*;
    from == to
        || match from {
            Syncing => true,
            Active => matches!(to, Draining | Failed | Left),
            Draining => matches!(to, Failed | Left),
            Failed | Left => false,
        }
}
