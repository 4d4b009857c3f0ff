//! Orders of the coordinator to the shell, and their reasons.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{Generation, Step, WorkerId};

/// An order for the shell to carry out, in the order of [`next_action`]. Lists of workers ascend.
///
/// [`next_action`]: super::Coordinator::next_action
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Run steps on other workers from now on. Only ever right before a [`Action::Start`].
    Reconfigured {
        /// Number of the new set of workers.
        generation: Generation,
        /// Workers that run the steps of this generation.
        workers: Vec<WorkerId>,
    },
    /// Run a step, uncommitted, on these workers.
    Start {
        /// The generation of these workers.
        generation: Generation,
        /// The step, from 1 over the whole run.
        step: Step,
        /// Starts of this step so far, this one included.
        attempt: u32,
        /// Workers of the generation, all of which run the step.
        workers: Vec<WorkerId>,
        /// Time that workers have to vote, from now on: a duration, so that it means the same to a
        /// worker whose clock is another one. A worker that does not vote in this time fails.
        vote_within: Duration,
    },
    /// Apply what the workers staged in this step. A coordinator that is made again from a saved
    /// state may repeat the order: a second commit of the same generation and step must change
    /// nothing.
    Commit {
        /// The generation of the step.
        generation: Generation,
        /// The step.
        step: Step,
        /// Workers of the step, all of which voted.
        workers: Vec<WorkerId>,
    },
    /// Drop what the workers staged in this step, everywhere.
    Discard {
        /// The generation of the step.
        generation: Generation,
        /// The step; unless the run stops, the same step starts again.
        step: Step,
        /// Reason of the discard.
        reason: Discarded,
    },
    /// Let a worker go: the worker takes no part in the run any more. Comes once for each worker.
    Dismiss {
        /// The worker.
        worker: WorkerId,
        /// Reason, for the log.
        cause: Cause,
    },
    /// Wait: there are too few workers to start a step.
    Paused {
        /// Number of workers that could start a step.
        active: usize,
        /// Number of workers that a step needs.
        min: usize,
    },
    /// Go on: there are enough workers again.
    Resumed {
        /// Number of workers that can start a step.
        active: usize,
    },
    /// End the run; no action follows.
    Stop {
        /// Reason of the end.
        reason: StopReason,
    },
}

/// Reason why a step is dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Discarded {
    /// Workers of the step failed; their [`Action::Dismiss`] has the failures.
    Lost(Vec<WorkerId>),
    /// The run stops.
    Stopping,
    /// The run goes back to an earlier step.
    WentBack,
}

/// Reason why a worker is dismissed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The worker asked to leave, or the run is over.
    #[error("left")]
    Left,
    /// The worker failed.
    #[error("failed: {0}")]
    Failed(Failure),
}

/// Failure of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The worker's thread panicked.
    #[error("panicked: {message}")]
    Panicked {
        /// Message of the panic.
        message: String,
    },
    /// The worker's device failed.
    #[error("device lost: {message}")]
    DeviceLost {
        /// Message of the driver.
        message: String,
    },
    /// The worker was ended from outside.
    #[error("killed")]
    Killed,
    /// The worker computed NaN or infinity where others did not.
    #[error("not finite in {step}: {what}")]
    NotFinite {
        /// The step.
        step: Step,
        /// Place of the value: a table and row, a loss.
        what: String,
    },
    /// The worker did not vote in time.
    #[error("no vote on {step} within {after:?}")]
    Stalled {
        /// The step.
        step: Step,
        /// The timeout.
        after: Duration,
    },
    /// The worker joined but was not synced in time.
    #[error("not synced within {after:?}")]
    SyncTimeout {
        /// The timeout.
        after: Duration,
    },
    /// The worker sent no sign of life in time.
    #[error("silent for {after:?}")]
    Silent {
        /// The timeout.
        after: Duration,
    },
    /// The coordinator was made again from a saved state; the worker has to join anew.
    #[error("the coordinator restarted")]
    CoordinatorRestarted,
    /// The worker and another could not reach each other. The worker may join anew.
    #[error("{message}")]
    Unreachable {
        /// The workers, and the failure of their connection.
        message: String,
    },
    /// Any other failure.
    #[error("{message}")]
    Other {
        /// Description of the failure.
        message: String,
    },
}

/// Reason why a run is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// All steps are done.
    #[error("finished")]
    Finished,
    /// A user asked for the end.
    #[error("interrupted")]
    Interrupted,
    /// The shell cannot go on.
    #[error("{message}")]
    Failed {
        /// Description of the failure.
        message: String,
    },
    /// There were too few workers for too long.
    #[error("{active} of at least {min} workers after a pause of {after:?}")]
    TooFewWorkers {
        /// Number of workers that could start a step.
        active: usize,
        /// Number of workers that a step needs.
        min: usize,
        /// Length of the pause.
        after: Duration,
    },
    /// Every worker of a step computed NaN or infinity: the model diverged, no device failed.
    #[error("training diverged: every worker of {step} is not finite, such as {what}")]
    Diverged {
        /// The step.
        step: Step,
        /// Place of the value, by the worker with the lowest number.
        what: String,
    },
    /// A step did not end well however often it was started.
    #[error("{step} failed {attempts} times")]
    TooManyAttempts {
        /// The step.
        step: Step,
        /// Number of starts.
        attempts: u32,
    },
}
