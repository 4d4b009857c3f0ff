//! Saving a coordinator, and making it again from what was saved.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::membership::Membership;
use super::state_machine::PhaseState;
use super::{
    Action, Cause, Coordinator, CoordinatorConfig, Discarded, Failure, InvalidConfig, Member,
    StopReason,
};
use crate::ids::{Generation, Step, WorkerId};

/// State of a [`Coordinator`] as plain data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedCoordinator {
    /// The step that ran, or was to run next.
    pub step: Step,
    /// Number of the set of workers that ran steps.
    pub generation: Generation,
    /// Workers of the step that ran; `None` between steps.
    running: Option<Vec<WorkerId>>,
    /// Reason why the run was over, if it was.
    stopped: Option<StopReason>,
    /// Number of the next worker to join.
    next_worker: u32,
    /// All workers that ever joined.
    members: BTreeMap<WorkerId, Member>,
    /// Orders that the shell had not taken.
    actions: Vec<Action>,
}

/// Reason why a coordinator cannot be made from a saved state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The settings make no sense.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    /// The first generation is not above the saved one, so that messages of workers from before
    /// could be taken for new ones.
    #[error("the saved state is of {saved}; the first generation must be above it, found {first}")]
    Generation {
        /// The saved generation.
        saved: Generation,
        /// The generation given.
        first: Generation,
    },
    /// The saved state contradicts itself: a worker has a number that is still to be given.
    #[error("the saved state is damaged: {worker} is in it, but the next number is {next}")]
    Numbers {
        /// The worker.
        worker: WorkerId,
        /// Number of the next worker.
        next: u32,
    },
}

impl Coordinator {
    /// The state as plain data.
    ///
    /// A shell that wants to outlive a crash saves after every event, before it carries out the
    /// actions: a step may be committed only once the decision is kept. Actions that the shell has
    /// not taken are part of the state.
    pub fn save(&self) -> SavedCoordinator {
        SavedCoordinator {
            step: self.step,
            generation: self.members.generation,
            running: match &self.state {
                PhaseState::Running(ballot) => Some(ballot.workers.clone()),
                _ => None,
            },
            stopped: self.stopped().cloned(),
            next_worker: self.members.next,
            members: self.members.members.clone(),
            actions: self.actions.iter().cloned().collect(),
        }
    }

    /// A coordinator at the boundary before the saved step, or stopped if the saved one was.
    ///
    /// All workers that were present have failed with [`Failure::CoordinatorRestarted`] and are
    /// dismissed; they join anew, and numbers go on where they were. A step that ran is discarded;
    /// its starts count from 0 again. Of the actions that the last shell had not taken, those that
    /// end something come first: commits, discards, dismissals and the end of the run.
    ///
    /// The first workers that run steps make the generation after `first_generation`, as in
    /// [`Coordinator::new`]. Whoever runs coordinators keeps two of them from leading at once, and
    /// gives each one a generation above all that the ones before may have reached.
    ///
    /// `now` is the time on the new shell's clock; times in the saved state stay as they are.
    ///
    /// # Errors
    /// [`RestoreError`]; nothing is made then.
    pub fn restore(
        config: CoordinatorConfig,
        saved: SavedCoordinator,
        first_generation: Generation,
        now: Duration,
    ) -> Result<Coordinator, RestoreError> {
        config.validate()?;
        if first_generation <= saved.generation {
            return Err(RestoreError::Generation {
                saved: saved.generation,
                first: first_generation,
            });
        }
        if let Some((&worker, _)) = saved.members.last_key_value()
            && worker.0 >= saved.next_worker
        {
            let next = saved.next_worker;
            return Err(RestoreError::Numbers { worker, next });
        }
        let ends = |action: &Action| match action {
            Action::Commit { .. }
            | Action::Discard { .. }
            | Action::Dismiss { .. }
            | Action::Stop { .. } => true,
            Action::Reconfigured { .. }
            | Action::Start { .. }
            | Action::Paused { .. }
            | Action::Resumed { .. } => false,
        };
        let mut coordinator = Coordinator {
            config,
            members: Membership {
                members: saved.members,
                next: saved.next_worker,
                generation: first_generation,
                roster: Vec::new(),
            },
            state: match saved.stopped {
                Some(reason) => PhaseState::Stopped(reason),
                None => PhaseState::Boundary,
            },
            now,
            step: saved.step,
            attempts: 0,
            actions: saved.actions.into_iter().filter(ends).collect(),
        };
        if let Some(workers) = saved.running {
            coordinator.actions.push_back(Action::Discard {
                generation: saved.generation,
                step: saved.step,
                reason: Discarded::Lost(workers),
            });
        }
        let present = coordinator.workers().filter(|(_, m)| m.state.is_present());
        let present: Vec<WorkerId> = present.map(|(worker, _)| worker).collect();
        for worker in present {
            let failure = Failure::CoordinatorRestarted;
            coordinator.members.fail(worker, failure.clone());
            coordinator.dismiss(worker, Cause::Failed(failure));
        }
        Ok(coordinator)
    }
}
