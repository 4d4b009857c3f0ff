mod actions;
mod behaviour;
mod model;
mod schedules;

use std::time::Duration;

use super::*;
use crate::ids::WorkerId;

/// Milliseconds.
fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn config(min_workers: usize, max_workers: usize) -> ElasticConfig {
    ElasticConfig {
        min_workers,
        max_workers,
        sync_timeout: ms(200),
        heartbeat_timeout: None,
        step_timeout: ms(100),
        pause_timeout: ms(500),
        await_joiners: false,
        max_attempts: 6,
    }
}

fn drain(coordinator: &mut Coordinator) -> Vec<Action> {
    std::iter::from_fn(|| coordinator.next_action()).collect()
}

fn broken() -> Vote {
    Vote::NotFinite {
        what: "row 3".into(),
    }
}
