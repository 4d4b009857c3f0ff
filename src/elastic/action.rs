//! What the coordinator tells the shell to do, and why.

use std::time::Duration;

use crate::ids::WorkerId;

/// Something for the shell to carry out, in the order given. Lists of workers ascend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Steps run on other workers from now on. Only ever right before a [`Action::Start`].
    Reconfigured {
        /// Goes up with every change.
        generation: u64,
        /// Who runs the steps of this generation.
        workers: Vec<WorkerId>,
    },
    /// Run a step, uncommitted, on these workers.
    Start {
        /// The generation of these workers.
        generation: u64,
        /// The step, from 1 over the whole run.
        step: u64,
        /// How often this step has been started, from 1.
        attempt: u32,
        /// Who runs it: the workers of the generation.
        workers: Vec<WorkerId>,
        /// When whoever has not voted fails.
        deadline: Duration,
    },
    /// Apply what the workers staged in this step.
    Commit {
        /// The generation of the step.
        generation: u64,
        /// The step.
        step: u64,
        /// Who voted: all workers of the step.
        workers: Vec<WorkerId>,
    },
    /// Drop what the workers staged in this step, everywhere.
    Discard {
        /// The generation of the step.
        generation: u64,
        /// The step; unless the run stops, it is started again.
        step: u64,
        /// Why.
        reason: Discarded,
    },
    /// Let a worker go: it has no part in the run any more. Said once of every worker.
    Dismiss {
        /// The worker.
        worker: WorkerId,
        /// Why, for the log.
        cause: Cause,
    },
    /// Too few workers to start a step; nothing to do but find some.
    Paused {
        /// Workers that could start one.
        active: usize,
        /// How many are needed.
        min: usize,
    },
    /// There are enough workers again.
    Resumed {
        /// Workers that can start a step.
        active: usize,
    },
    /// The run is over; nothing follows.
    Stop {
        /// Why.
        reason: StopReason,
    },
}

/// Why a step is dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discarded {
    /// These workers of the step failed; their [`Action::Dismiss`] says how.
    Lost(Vec<WorkerId>),
    /// The run stops.
    Stopping,
}

/// Why a worker is dismissed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// It asked to leave, or the run is over.
    #[error("left")]
    Left,
    /// It failed.
    #[error("failed: {0}")]
    Failed(Failure),
}

/// How a worker failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Its thread panicked.
    #[error("panicked: {message}")]
    Panicked {
        /// What it said.
        message: String,
    },
    /// Its device failed.
    #[error("device lost: {message}")]
    DeviceLost {
        /// What the driver said.
        message: String,
    },
    /// Somebody ended it.
    #[error("killed")]
    Killed,
    /// It computed NaN or infinity where others did not.
    #[error("not finite in step {step}: {what}")]
    NotFinite {
        /// The step.
        step: u64,
        /// Where.
        what: String,
    },
    /// It did not vote in time.
    #[error("no vote on step {step} within {after:?}")]
    Stalled {
        /// The step.
        step: u64,
        /// The timeout.
        after: Duration,
    },
    /// It joined but was not synced in time.
    #[error("not synced within {after:?}")]
    SyncTimeout {
        /// The timeout.
        after: Duration,
    },
    /// Nothing was heard of it.
    #[error("silent for {after:?}")]
    Silent {
        /// The timeout.
        after: Duration,
    },
    /// Anything else.
    #[error("{message}")]
    Other {
        /// What happened.
        message: String,
    },
}

/// Why a run is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StopReason {
    /// All steps are done.
    #[error("finished")]
    Finished,
    /// Somebody asked for it.
    #[error("interrupted")]
    Interrupted,
    /// The shell cannot go on.
    #[error("{message}")]
    Failed {
        /// What happened.
        message: String,
    },
    /// Too few workers for too long.
    #[error("{active} of at least {min} workers after a pause of {after:?}")]
    TooFewWorkers {
        /// Workers that could start a step.
        active: usize,
        /// How many are needed.
        min: usize,
        /// How long there were too few.
        after: Duration,
    },
    /// Every worker of a step computed NaN or infinity: it is the model, not a worker.
    #[error("training diverged: every worker of step {step} is not finite, such as {what}")]
    Diverged {
        /// The step.
        step: u64,
        /// What the lowest worker said.
        what: String,
    },
    /// A step that could not be brought to an end.
    #[error("step {step} failed {attempts} times")]
    TooManyAttempts {
        /// The step.
        step: u64,
        /// How often it was started.
        attempts: u32,
    },
}
