//! Actions in short.

use super::*;

pub fn reconfigured(generation: u64, workers: &[WorkerId]) -> Action {
    let workers = workers.to_vec();
    Action::Reconfigured {
        generation,
        workers,
    }
}

pub fn start(
    generation: u64,
    step: u64,
    attempt: u32,
    workers: &[WorkerId],
    deadline_ms: u64,
) -> Action {
    Action::Start {
        generation,
        step,
        attempt,
        workers: workers.to_vec(),
        deadline: ms(deadline_ms),
    }
}

pub fn commit(generation: u64, step: u64, workers: &[WorkerId]) -> Action {
    let workers = workers.to_vec();
    Action::Commit {
        generation,
        step,
        workers,
    }
}

pub fn discard(generation: u64, step: u64, lost: &[WorkerId]) -> Action {
    let reason = match lost {
        [] => Discarded::Stopping,
        lost => Discarded::Lost(lost.to_vec()),
    };
    Action::Discard {
        generation,
        step,
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
