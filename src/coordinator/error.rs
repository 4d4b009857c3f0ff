//! Reasons why the coordinator refuses an event.

use serde::{Deserialize, Serialize};

use super::{InvalidMember, State};
use crate::ids::{Generation, Step, WorkerId};

/// An event that the coordinator refuses. A refused event changes nothing, except that timeouts
/// due at its time take effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum CoordinatorError {
    /// The run is over.
    #[error("the run has stopped")]
    Stopped,
    /// There are as many workers as there may be, those that are syncing or draining counted.
    #[error("{present} workers are here, of at most {max}")]
    Full {
        /// Number of workers that are present.
        present: usize,
        /// Largest number of workers.
        max: usize,
    },
    /// The description of a worker is too large.
    #[error(transparent)]
    Member(#[from] InvalidMember),
    /// Every number has been given to a worker once.
    #[error("all worker numbers have been given away")]
    NoNumbersLeft,
    /// The worker never joined.
    #[error("{worker} never joined")]
    Unknown {
        /// The worker.
        worker: WorkerId,
    },
    /// The worker has failed or left.
    #[error("{worker} is gone ({})", .state.name())]
    Gone {
        /// The worker.
        worker: WorkerId,
        /// [`State::Failed`] or [`State::Left`].
        state: State,
    },
    /// A worker that is past syncing says that it is synced.
    #[error("{worker} is {}, not syncing", .state.name())]
    NotSyncing {
        /// The worker.
        worker: WorkerId,
        /// State of the worker.
        state: State,
    },
    /// A vote while no step runs.
    #[error("{worker} voted on {step}, but no step is running")]
    NoStep {
        /// The worker.
        worker: WorkerId,
        /// The step of the vote.
        step: Step,
    },
    /// A vote on another step or generation than the running one.
    #[error(
        "{worker} voted on {step} of {generation}; \
         {running} of {current} is running"
    )]
    WrongStep {
        /// The worker.
        worker: WorkerId,
        /// The generation of the vote.
        generation: Generation,
        /// The step of the vote.
        step: Step,
        /// The generation now.
        current: Generation,
        /// The step that runs.
        running: Step,
    },
    /// A vote of a worker that waits for the boundary to take part.
    #[error("{worker} does not take part in {step}")]
    NotInStep {
        /// The worker.
        worker: WorkerId,
        /// The step that runs.
        step: Step,
    },
    /// Another vote of the same worker on the same step; the first one counts.
    #[error("{worker} voted on {step} already")]
    Repeated {
        /// The worker.
        worker: WorkerId,
        /// The step that runs.
        step: Step,
    },
    /// A return to a step that is still to come.
    #[error("{step} is not before {current}: nothing to go back to")]
    NotBack {
        /// The step.
        step: Step,
        /// The step that runs, or runs next.
        current: Step,
    },
    /// [`Coordinator::advance`](super::Coordinator::advance) between a step's start and its end.
    #[error("{step} has not ended")]
    NotAtBoundary {
        /// The step that runs, or waits for workers.
        step: Step,
    },
}
