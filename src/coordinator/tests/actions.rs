//! Actions in short form.

use super::*;

pub fn reconfigured(generation: u64, workers: &[WorkerId]) -> Action {
    let workers = workers.to_vec();
    Action::Reconfigured {
        generation: Generation(generation),
        workers,
    }
}

/// A start whose workers have all their time left.
pub fn start(generation: u64, step: u64, attempt: u32, workers: &[WorkerId]) -> Action {
    Action::Start {
        generation: Generation(generation),
        step: Step(step),
        attempt,
        workers: workers.to_vec(),
        vote_within: STEP_TIMEOUT,
    }
}

pub fn commit(generation: u64, step: u64, workers: &[WorkerId]) -> Action {
    let workers = workers.to_vec();
    Action::Commit {
        generation: Generation(generation),
        step: Step(step),
        workers,
    }
}

pub fn discard(generation: u64, step: u64, lost: &[WorkerId]) -> Action {
    let reason = match lost {
        [] => Discarded::Stopping,
        lost => Discarded::Lost(lost.to_vec()),
    };
    Action::Discard {
        generation: Generation(generation),
        step: Step(step),
        reason,
    }
}

pub fn left(worker: WorkerId) -> Action {
    let cause = Cause::Left;
    Action::Dismiss { worker, cause }
}

pub fn failed(worker: WorkerId, failure: Failure) -> Action {
    let cause = Cause::Failed(failure);
    Action::Dismiss { worker, cause }
}

pub fn stop(reason: StopReason) -> Action {
    Action::Stop { reason }
}

pub fn paused(active: usize, min: usize) -> Action {
    Action::Paused { active, min }
}
