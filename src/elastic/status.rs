//! A picture of the run for progress lines and JSON.

use serde::Serialize;

use super::{Coordinator, Phase, State};
use crate::ids::WorkerId;

/// Where a run stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// What the coordinator is doing.
    pub phase: Phase,
    /// Goes up with every change of the workers that run steps.
    pub generation: u64,
    /// The step that runs, or runs next.
    pub step: u64,
    /// How often that step has been started.
    pub attempts: u32,
    /// Everybody who ever joined, ascending.
    pub workers: Vec<WorkerStatus>,
}

/// Where a worker stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WorkerStatus {
    /// The worker.
    pub worker: WorkerId,
    /// Where it stands.
    pub state: State,
    /// Steps committed with its part.
    pub committed: u64,
    /// How it failed, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl Coordinator {
    /// Where the run stands.
    pub fn status(&self) -> Status {
        let workers = self.workers().map(|(worker, member)| WorkerStatus {
            worker,
            state: member.state,
            committed: member.committed,
            failure: member.failure.as_ref().map(ToString::to_string),
        });
        Status {
            phase: self.phase(),
            generation: self.generation(),
            step: self.step(),
            attempts: self.attempts(),
            workers: workers.collect(),
        }
    }
}
