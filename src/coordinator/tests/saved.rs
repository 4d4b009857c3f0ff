//! Coordinators that are made again from a saved state.

use super::actions::*;
use super::*;

const A: WorkerId = WorkerId(0);
const B: WorkerId = WorkerId(1);
const C: WorkerId = WorkerId(2);

/// A coordinator from what another one saved, by way of text, in generation 9.
fn restored(saved: &SavedCoordinator) -> Coordinator {
    let text = serde_json::to_string(saved).unwrap();
    let read: SavedCoordinator = serde_json::from_str(&text).unwrap();
    assert_eq!(read, *saved);
    Coordinator::restore(config(1, 3), read, Generation(9), ms(5)).unwrap()
}

/// A coordinator with two workers in the first step of their generation.
fn running() -> Coordinator {
    let mut c = Coordinator::new(config(1, 3), Step(7), Generation(3)).unwrap();
    for worker in [A, B] {
        assert_eq!(join(&mut c, ms(0)), Ok(worker));
        c.synced(ms(0), worker).unwrap();
    }
    c.advance(ms(0)).unwrap();
    let expected = [reconfigured(4, &[A, B]), start(4, 7, 1, &[A, B])];
    assert_eq!(drain(&mut c), expected);
    c
}

fn restarted(worker: WorkerId) -> Action {
    failed(worker, Failure::CoordinatorRestarted)
}

#[test]
fn a_running_step_is_discarded_and_its_workers_join_anew() {
    let mut old = running();
    assert_eq!(join(&mut old, ms(1)), Ok(C));
    vote(&mut old, ms(1), A, 4, 7, Vote::Ready).unwrap();
    let mut c = restored(&old.save());
    let expected = [
        discard(4, 7, &[A, B]),
        restarted(A),
        restarted(B),
        restarted(C),
    ];
    assert_eq!(drain(&mut c), expected);
    assert_eq!((c.phase(), c.next_deadline()), (Phase::Boundary, None));
    assert_eq!((c.step(), c.generation()), (Step(7), Generation(9)));

    let gone = CoordinatorError::Gone {
        worker: B,
        state: State::Failed,
    };
    assert_eq!(vote(&mut c, ms(6), B, 4, 7, Vote::Ready), Err(gone));
    let d = WorkerId(3);
    assert_eq!(join(&mut c, ms(6)), Ok(d));
    c.synced(ms(6), d).unwrap();
    c.advance(ms(6)).unwrap();
    assert_eq!(
        drain(&mut c),
        [reconfigured(10, &[d]), start(10, 7, 1, &[d])]
    );
    vote(&mut c, ms(7), d, 10, 7, Vote::Ready).unwrap();
    assert_eq!(drain(&mut c), [commit(10, 7, &[d])]);
}

#[test]
fn a_decision_that_was_not_carried_out_comes_again() {
    let mut old = running();
    for worker in [A, B] {
        vote(&mut old, ms(1), worker, 4, 7, Vote::Ready).unwrap();
    }
    let mut c = restored(&old.save());
    let expected = [commit(4, 7, &[A, B]), restarted(A), restarted(B)];
    assert_eq!(drain(&mut c), expected);
    assert_eq!(c.step(), Step(8));

    // A start that was not carried out is none.
    old = Coordinator::new(config(1, 3), Step(1), Generation(0)).unwrap();
    join(&mut old, ms(0)).unwrap();
    old.synced(ms(0), A).unwrap();
    old.advance(ms(0)).unwrap();
    let mut c = restored(&old.save());
    assert_eq!(drain(&mut c), [discard(1, 1, &[A]), restarted(A)]);
}

#[test]
fn a_stopped_run_stays_stopped() {
    let mut old = running();
    old.stop(ms(1), StopReason::Finished).unwrap();
    let pending = [
        discard(4, 7, &[]),
        left(A),
        left(B),
        stop(StopReason::Finished),
    ];
    let mut c = restored(&old.save());
    assert_eq!(drain(&mut c), pending);
    assert_eq!(drain(&mut old), pending);
    let mut c = restored(&old.save());
    assert_eq!(drain(&mut c), []);
    assert_eq!(c.stopped(), Some(&StopReason::Finished));
    assert_eq!(join(&mut c, ms(6)), Err(CoordinatorError::Stopped));
}

#[test]
fn what_cannot_be_restored_is_refused() {
    let saved = running().save();
    let restore = |config, saved, generation| {
        Coordinator::restore(config, saved, Generation(generation), ms(0)).map(|c| c.step())
    };
    for first in [0, 3, 4] {
        let error = RestoreError::Generation {
            saved: Generation(4),
            first: Generation(first),
        };
        assert_eq!(restore(config(1, 3), saved.clone(), first), Err(error));
    }
    assert_eq!(restore(config(1, 3), saved.clone(), 5), Ok(Step(7)));
    let error = restore(config(2, 1), saved.clone(), 5);
    assert!(matches!(error, Err(RestoreError::Config(_))), "{error:?}");

    let mut damaged = serde_json::to_value(saved).unwrap();
    damaged["next_worker"] = 1.into();
    let damaged = serde_json::from_value(damaged).unwrap();
    let error = RestoreError::Numbers { worker: B, next: 1 };
    assert_eq!(restore(config(1, 3), damaged, 5), Err(error));
}
