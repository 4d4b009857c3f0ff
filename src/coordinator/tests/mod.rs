mod actions;
mod behaviour;
mod messages;
mod model;
mod saved;
mod schedules;

use std::time::Duration;

use super::*;
use crate::ids::{Generation, Step, WorkerId};

/// Milliseconds.
fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

const STEP_TIMEOUT: Duration = Duration::from_millis(100);

fn config(min_workers: usize, max_workers: usize) -> CoordinatorConfig {
    CoordinatorConfig {
        min_workers,
        max_workers,
        sync_timeout: ms(200),
        heartbeat_timeout: None,
        step_timeout: STEP_TIMEOUT,
        pause_timeout: ms(500),
        await_joiners: false,
        max_attempts: 6,
    }
}

/// Admits a worker of this process.
fn join(c: &mut Coordinator, now: Duration) -> Result<WorkerId, CoordinatorError> {
    c.join(now, MemberInfo::default())
}

/// Votes, with plain numbers of generation and step.
fn vote(
    c: &mut Coordinator,
    now: Duration,
    worker: WorkerId,
    generation: u64,
    step: u64,
    vote: Vote,
) -> Result<(), CoordinatorError> {
    c.vote(now, worker, Generation(generation), Step(step), vote)
}

fn drain(coordinator: &mut Coordinator) -> Vec<Action> {
    std::iter::from_fn(|| coordinator.next_action()).collect()
}

fn broken() -> Vote {
    Vote::NotFinite {
        what: "row 3".into(),
    }
}
