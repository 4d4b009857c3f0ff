//! Behaviour of the coordinator, case by case; faults of its predecessors by name.

use super::actions::*;
use super::*;

const A: WorkerId = WorkerId(0);
const B: WorkerId = WorkerId(1);
const C: WorkerId = WorkerId(2);

/// A coordinator with so many workers, synced, in its first step at time 0.
fn running(config: CoordinatorConfig, workers: u32) -> Coordinator {
    let mut coordinator = Coordinator::new(config, Step(1), Generation(0)).unwrap();
    for number in 0..workers {
        assert_eq!(join(&mut coordinator, ms(0)), Ok(WorkerId(number)));
        coordinator.synced(ms(0), WorkerId(number)).unwrap();
    }
    coordinator.advance(ms(0)).unwrap();
    let all: Vec<WorkerId> = (0..workers).map(WorkerId).collect();
    let expected = [reconfigured(1, &all), start(1, 1, 1, &all)];
    assert_eq!(drain(&mut coordinator), expected);
    coordinator
}

#[test]
fn max_workers_counts_syncing_workers() {
    let mut c = Coordinator::new(config(1, 2), Step(1), Generation(0)).unwrap();
    let admitted = (0..5).filter(|_| join(&mut c, ms(0)).is_ok()).count();
    assert_eq!(admitted, 2);
    let full = CoordinatorError::Full { present: 2, max: 2 };
    assert_eq!(join(&mut c, ms(0)), Err(full.clone()));
    // Draining ones count, too; who is gone makes room, and its number is not given again.
    c.synced(ms(0), A).unwrap();
    c.synced(ms(0), B).unwrap();
    c.advance(ms(0)).unwrap();
    c.leave(ms(0), A).unwrap();
    assert_eq!(c.worker(A).unwrap().state, State::Draining);
    assert_eq!(join(&mut c, ms(0)), Err(full));
    c.fail(ms(0), B, Failure::Killed).unwrap();
    assert_eq!(join(&mut c, ms(0)), Ok(C));
}

#[test]
fn syncing_workers_time_out() {
    let mut c = Coordinator::new(config(1, 2), Step(1), Generation(0)).unwrap();
    join(&mut c, ms(10)).unwrap();
    assert_eq!(c.next_deadline(), Some(ms(210)));
    c.tick(ms(209));
    assert_eq!(c.worker(A).unwrap().state, State::Syncing);
    c.tick(ms(210));
    let failure = Failure::SyncTimeout { after: ms(200) };
    assert_eq!(drain(&mut c), [failed(A, failure)]);
    let gone = CoordinatorError::Gone {
        worker: A,
        state: State::Failed,
    };
    assert_eq!(c.synced(ms(211), A), Err(gone));
}

#[test]
fn one_worker_cannot_vote_three_times() {
    let mut c = running(config(1, 3), 3);
    vote(&mut c, ms(1), A, 1, 1, Vote::Ready).unwrap();
    let repeated = CoordinatorError::Repeated {
        worker: A,
        step: Step(1),
    };
    for _ in 0..2 {
        let again = vote(&mut c, ms(2), A, 1, 1, Vote::Ready);
        assert_eq!(again, Err(repeated.clone()));
        assert_eq!((c.phase(), drain(&mut c).len()), (Phase::Running, 0));
    }
    // Nor take its word back.
    assert_eq!(vote(&mut c, ms(2), A, 1, 1, broken()), Err(repeated));
    vote(&mut c, ms(3), B, 1, 1, Vote::Ready).unwrap();
    vote(&mut c, ms(3), C, 1, 1, Vote::Ready).unwrap();
    assert_eq!(drain(&mut c), [commit(1, 1, &[A, B, C])]);
}

#[test]
fn the_clock_is_an_argument() {
    // An hour passes in no time, and time does not pass unless it is said to.
    let play = || {
        let mut c = running(config(1, 2), 2);
        std::thread::sleep(ms(2));
        vote(&mut c, ms(99), A, 1, 1, Vote::Ready).unwrap();
        // The clock of the shell jumps back: the deadline does not move.
        vote(&mut c, ms(3), A, 1, 1, Vote::Ready).unwrap_err();
        assert_eq!(c.next_deadline(), Some(ms(100)));
        c.tick(Duration::from_secs(3600));
        c.advance(Duration::from_secs(3601)).unwrap();
        (drain(&mut c), c.next_deadline())
    };
    let (actions, deadline) = play();
    let stalled = Failure::Stalled {
        step: Step(1),
        after: ms(100),
    };
    let expected = [
        discard(1, 1, &[B]),
        failed(B, stalled),
        reconfigured(2, &[A]),
        start(2, 1, 2, &[A]),
    ];
    assert_eq!(actions, expected);
    assert_eq!(deadline, Some(ms(3_601_100)));
    assert_eq!(play(), (actions, deadline));
}

#[test]
fn a_late_vote_does_not_count_for_the_next_step() {
    let mut c = running(config(1, 2), 2);
    // Past the deadline without a tick: the timeout comes first.
    let late = vote(&mut c, ms(100), A, 1, 1, Vote::Ready);
    let gone = CoordinatorError::Gone {
        worker: A,
        state: State::Failed,
    };
    assert_eq!(late, Err(gone));

    let mut c = running(config(1, 3), 2);
    vote(&mut c, ms(1), A, 1, 1, Vote::Ready).unwrap();
    vote(&mut c, ms(1), B, 1, 1, Vote::Ready).unwrap();
    let none = CoordinatorError::NoStep {
        worker: A,
        step: Step(1),
    };
    assert_eq!(vote(&mut c, ms(2), A, 1, 1, Vote::Ready), Err(none));
    c.advance(ms(2)).unwrap();
    for (generation, step) in [(1, 1), (0, 2), (2, 2), (1, 3)] {
        let wrong = CoordinatorError::WrongStep {
            worker: A,
            generation: Generation(generation),
            step: Step(step),
            current: Generation(1),
            running: Step(2),
        };
        assert_eq!(
            vote(&mut c, ms(3), A, generation, step, Vote::Ready),
            Err(wrong)
        );
    }
    let unknown = CoordinatorError::Unknown { worker: C };
    assert_eq!(vote(&mut c, ms(3), C, 1, 2, Vote::Ready), Err(unknown));
    assert_eq!(join(&mut c, ms(3)), Ok(C));
    let outside = CoordinatorError::NotInStep {
        worker: C,
        step: Step(2),
    };
    assert_eq!(vote(&mut c, ms(3), C, 1, 2, Vote::Ready), Err(outside));
}

#[test]
fn a_failed_workers_step_is_redone_by_the_others() {
    let mut c = running(config(1, 3), 3);
    vote(&mut c, ms(1), A, 1, 1, Vote::Ready).unwrap();
    let panicked = Failure::Panicked {
        message: "index 7".into(),
    };
    c.fail(ms(2), B, panicked.clone()).unwrap();
    assert_eq!(drain(&mut c), [discard(1, 1, &[B]), failed(B, panicked)]);
    c.advance(ms(3)).unwrap();
    let expected = [reconfigured(2, &[A, C]), start(2, 1, 2, &[A, C])];
    assert_eq!(drain(&mut c), expected);
    vote(&mut c, ms(4), C, 2, 1, Vote::Ready).unwrap();
    vote(&mut c, ms(4), A, 2, 1, Vote::Ready).unwrap();
    assert_eq!(drain(&mut c), [commit(2, 1, &[A, C])]);
    assert_eq!((c.step(), c.attempts()), (Step(2), 0));
    assert_eq!(c.worker(A).unwrap().committed, 1);
}

#[test]
fn joiners_and_leavers_wait_for_the_boundary() {
    let mut c = running(config(1, 3), 2);
    assert_eq!(join(&mut c, ms(1)), Ok(C));
    c.synced(ms(2), C).unwrap();
    c.leave(ms(2), A).unwrap();
    c.leave(ms(2), A).unwrap();
    assert!(drain(&mut c).is_empty() && c.generation() == Generation(1));
    vote(&mut c, ms(3), A, 1, 1, Vote::Ready).unwrap();
    vote(&mut c, ms(3), B, 1, 1, Vote::Ready).unwrap();
    assert_eq!(drain(&mut c), [commit(1, 1, &[A, B]), left(A)]);
    c.advance(ms(4)).unwrap();
    let expected = [reconfigured(2, &[B, C]), start(2, 2, 1, &[B, C])];
    assert_eq!(drain(&mut c), expected);
}

#[test]
fn c_elastic_001_joining_and_leaving_commit_nothing() {
    let mut c = Coordinator::new(config(1, 3), Step(1), Generation(0)).unwrap();
    for worker in [A, B, C] {
        assert_eq!(join(&mut c, ms(0)), Ok(worker));
        c.synced(ms(0), worker).unwrap();
    }
    for worker in [C, A, B] {
        c.leave(ms(1), worker).unwrap();
    }
    assert_eq!(drain(&mut c), [left(C), left(A), left(B)]);
    assert_eq!((c.step(), c.generation()), (Step(1), Generation(0)));
}

#[test]
fn one_workers_nan_costs_that_worker_and_everyones_nan_stops() {
    let mut c = running(config(1, 3), 3);
    vote(&mut c, ms(1), C, 1, 1, Vote::Ready).unwrap();
    vote(&mut c, ms(1), B, 1, 1, broken()).unwrap();
    assert!(drain(&mut c).is_empty());
    vote(&mut c, ms(1), A, 1, 1, Vote::Ready).unwrap();
    let nan = Failure::NotFinite {
        step: Step(1),
        what: "row 3".into(),
    };
    assert_eq!(drain(&mut c), [discard(1, 1, &[B]), failed(B, nan)]);
    c.advance(ms(2)).unwrap();
    drain(&mut c);
    vote(&mut c, ms(3), A, 2, 1, broken()).unwrap();
    vote(&mut c, ms(3), C, 2, 1, broken()).unwrap();
    let diverged = StopReason::Diverged {
        step: Step(1),
        what: "row 3".into(),
    };
    let expected = [discard(2, 1, &[]), left(A), left(C), stop(diverged.clone())];
    assert_eq!(drain(&mut c), expected);
    assert_eq!(c.stopped(), Some(&diverged));
    assert_eq!(join(&mut c, ms(4)), Err(CoordinatorError::Stopped));
}

#[test]
fn training_pauses_below_min_and_resumes() {
    let mut c = running(config(2, 3), 2);
    c.fail(ms(1), A, Failure::Killed).unwrap();
    c.advance(ms(2)).unwrap();
    let killed = failed(A, Failure::Killed);
    assert_eq!(drain(&mut c), [discard(1, 1, &[A]), killed, paused(1, 2)]);
    assert_eq!(c.next_deadline(), Some(ms(502)));
    let busy = CoordinatorError::NotAtBoundary { step: Step(1) };
    assert_eq!(c.advance(ms(3)), Err(busy));
    assert_eq!(join(&mut c, ms(10)), Ok(C));
    c.synced(ms(20), C).unwrap();
    let expected = [
        Action::Resumed { active: 2 },
        reconfigured(2, &[B, C]),
        start(2, 1, 2, &[B, C]),
    ];
    assert_eq!(drain(&mut c), expected);
}

#[test]
fn a_pause_ends() {
    let mut c = running(config(1, 3), 1);
    c.leave(ms(1), A).unwrap();
    vote(&mut c, ms(2), A, 1, 1, Vote::Ready).unwrap();
    c.advance(ms(3)).unwrap();
    let expected = [commit(1, 1, &[A]), left(A), paused(0, 1)];
    assert_eq!(drain(&mut c), expected);
    c.tick(c.next_deadline().unwrap());
    let reason = StopReason::TooFewWorkers {
        active: 0,
        min: 1,
        after: ms(500),
    };
    assert_eq!(drain(&mut c), [stop(reason)]);
    assert_eq!(c.next_deadline(), None);
}

#[test]
fn a_step_may_wait_for_who_is_syncing() {
    let config = CoordinatorConfig {
        await_joiners: true,
        ..config(1, 3)
    };
    let mut c = Coordinator::new(config, Step(1), Generation(0)).unwrap();
    for worker in [A, B, C] {
        assert_eq!(join(&mut c, ms(0)), Ok(worker));
    }
    c.synced(ms(50), B).unwrap();
    c.advance(ms(60)).unwrap();
    c.synced(ms(70), A).unwrap();
    // No pause, though nobody is active: workers are on their way.
    assert!(drain(&mut c).is_empty() && c.phase() == Phase::Waiting);
    assert_eq!(c.next_deadline(), Some(ms(200)));
    c.tick(ms(200));
    let late = failed(C, Failure::SyncTimeout { after: ms(200) });
    let expected = [late, reconfigured(1, &[A, B]), start(1, 1, 1, &[A, B])];
    assert_eq!(drain(&mut c), expected);
}

#[test]
fn an_endless_stream_of_joiners_does_not_hold_a_step_up() {
    let config = CoordinatorConfig {
        await_joiners: true,
        ..config(1, 2)
    };
    let mut c = Coordinator::new(config, Step(1), Generation(0)).unwrap();
    join(&mut c, ms(0)).unwrap();
    c.synced(ms(0), A).unwrap();
    join(&mut c, ms(0)).unwrap();
    c.advance(ms(0)).unwrap();
    for now in (100..=200).step_by(50) {
        assert_eq!(c.phase(), Phase::Waiting);
        let last = c.workers().last().unwrap().0;
        let lost = c.fail(ms(now - 1), last, Failure::Killed);
        let joined = join(&mut c, ms(now - 1));
        c.tick(ms(now));
        if c.phase() == Phase::Running {
            return;
        }
        assert!(lost.is_ok() && joined.is_ok());
    }
    panic!("the step never started: {:?}", c.status());
}

#[test]
fn silence_is_noticed_in_any_state() {
    let config = CoordinatorConfig {
        heartbeat_timeout: Some(ms(30)),
        ..config(1, 3)
    };
    let mut c = running(config, 2);
    join(&mut c, ms(10)).unwrap();
    c.heartbeat(ms(20), A).unwrap();
    c.leave(ms(21), A).unwrap();
    assert_eq!(c.next_deadline(), Some(ms(30)));
    c.tick(ms(30));
    let silent = |worker| failed(worker, Failure::Silent { after: ms(30) });
    let expected = [discard(1, 1, &[B]), silent(B), left(A)];
    assert_eq!(drain(&mut c), expected);
    c.tick(ms(40));
    assert_eq!(drain(&mut c), [silent(C)]);
    assert_eq!(c.next_deadline(), None);
}

#[test]
fn a_step_that_never_ends_well_is_given_up() {
    let mut c = running(config(1, 9), 9);
    for attempt in 1..=6 {
        c.fail(ms(1), WorkerId(attempt), Failure::Killed).unwrap();
        let last = drain(&mut c).pop();
        if attempt == 6 {
            let (step, attempts) = (Step(1), 6);
            let reason = StopReason::TooManyAttempts { step, attempts };
            assert_eq!(last, Some(stop(reason)));
        } else {
            assert_eq!(last, Some(failed(WorkerId(attempt), Failure::Killed)));
            c.advance(ms(1)).unwrap();
        }
    }
}

#[test]
fn stopping_dismisses_everybody_once() {
    let mut c = running(config(1, 3), 2);
    join(&mut c, ms(1)).unwrap();
    c.stop(ms(2), StopReason::Interrupted).unwrap();
    let interrupted = stop(StopReason::Interrupted);
    let expected = [discard(1, 1, &[]), left(A), left(B), left(C), interrupted];
    assert_eq!(drain(&mut c), expected);
    let again = c.stop(ms(3), StopReason::Finished);
    assert_eq!(again, Err(CoordinatorError::Stopped));
    c.tick(ms(9999));
    assert_eq!((drain(&mut c).len(), c.next_deadline()), (0, None));
    assert_eq!(c.stopped(), Some(&StopReason::Interrupted));
}

#[test]
fn a_run_may_resume_in_the_middle_and_says_where_it_stands() {
    let mut c = Coordinator::new(config(1, 2), Step(41), Generation(0)).unwrap();
    for worker in [A, B] {
        assert_eq!(join(&mut c, ms(0)), Ok(worker));
    }
    c.synced(ms(0), A).unwrap();
    let lost = Failure::DeviceLost {
        message: "reset".into(),
    };
    c.fail(ms(0), B, lost).unwrap();
    c.advance(ms(0)).unwrap();
    let json = serde_json::to_value(c.status()).unwrap();
    let expected = serde_json::json!({
        "phase": "running", "generation": 1, "step": 41, "attempts": 1,
        "workers": [
            {"worker": 0, "state": "active", "committed": 0},
            {"worker": 1, "state": "failed", "committed": 0, "failure": "device lost: reset"},
        ],
    });
    assert_eq!(json, expected);
}
