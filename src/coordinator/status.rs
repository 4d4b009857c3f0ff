//! A picture of the run for progress lines and JSON.

use serde::{Deserialize, Serialize};

use super::{Coordinator, MemberInfo, Phase, State};
use crate::ids::{Generation, Step, WorkerId};

/// State of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Activity of the coordinator.
    pub phase: Phase,
    /// Number of the set of workers that run steps.
    pub generation: Generation,
    /// The step that runs, or runs next.
    pub step: Step,
    /// Starts of that step so far.
    pub attempts: u32,
    /// All workers that ever joined, ascending.
    pub workers: Vec<WorkerStatus>,
}

/// State of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// The worker.
    pub worker: WorkerId,
    /// The worker's description of itself.
    #[serde(default, skip_serializing_if = "MemberInfo::is_empty")]
    pub info: MemberInfo,
    /// Stage of the worker's life.
    pub state: State,
    /// Number of steps committed with the worker's part.
    pub committed: u64,
    /// Failure of the worker in words, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl Coordinator {
    /// State of the run.
    pub fn status(&self) -> Status {
        let workers = self.workers().map(|(worker, member)| WorkerStatus {
            worker,
            info: member.info.clone(),
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
