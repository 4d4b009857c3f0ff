//! Why the coordinator refuses an event.

use super::State;
use crate::ids::WorkerId;

/// An event that the coordinator refuses. It changes nothing (timeouts that were due at its time
/// aside).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElasticError {
    /// The run is over.
    #[error("the run has stopped")]
    Stopped,
    /// As many workers as there may be, those that are syncing or draining counted.
    #[error("{present} workers are here, of at most {max}")]
    Full {
        /// Workers that are present.
        present: usize,
        /// Most that may be.
        max: usize,
    },
    /// Every number has been given to a worker once.
    #[error("all worker numbers have been given away")]
    NoNumbersLeft,
    /// A worker that never joined.
    #[error("{worker} never joined")]
    Unknown {
        /// The worker.
        worker: WorkerId,
    },
    /// A worker that has failed or left.
    #[error("{worker} is gone ({})", .state.name())]
    Gone {
        /// The worker.
        worker: WorkerId,
        /// [`State::Failed`] or [`State::Left`].
        state: State,
    },
    /// A worker that is past syncing says it is synced.
    #[error("{worker} is {}, not syncing", .state.name())]
    NotSyncing {
        /// The worker.
        worker: WorkerId,
        /// What it is.
        state: State,
    },
    /// A vote while no step runs.
    #[error("{worker} voted on step {step}, but no step is running")]
    NoStep {
        /// The worker.
        worker: WorkerId,
        /// What it voted on.
        step: u64,
    },
    /// A vote on another step or generation than the running one.
    #[error(
        "{worker} voted on step {step} of generation {generation}; \
         step {running} of generation {current} is running"
    )]
    WrongStep {
        /// The worker.
        worker: WorkerId,
        /// The generation it voted in.
        generation: u64,
        /// The step it voted on.
        step: u64,
        /// The generation now.
        current: u64,
        /// The step that runs.
        running: u64,
    },
    /// A vote of a worker that waits for the boundary to take part.
    #[error("{worker} does not take part in step {step}")]
    NotInStep {
        /// The worker.
        worker: WorkerId,
        /// The step that runs.
        step: u64,
    },
    /// Another vote of the same worker on the same step; the first one counts.
    #[error("{worker} voted on step {step} already")]
    Repeated {
        /// The worker.
        worker: WorkerId,
        /// The step that runs.
        step: u64,
    },
    /// [`Coordinator::advance`](super::Coordinator::advance) between a step's start and its end.
    #[error("step {step} has not ended")]
    NotAtBoundary {
        /// The step that runs, or waits for workers.
        step: u64,
    },
}
