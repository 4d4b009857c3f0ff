//! Thousands of random schedules, checked by the model.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::model::Model;
use super::*;

/// An event of a schedule. Workers are numbers into those that are present or, in eighths, into
/// those that ever joined and one beyond.
#[derive(Clone, Debug)]
enum Op {
    Join,
    Synced(u32),
    AllSynced,
    Leave(u32),
    Fail(u32),
    Heartbeat(u32),
    /// On the running step, or off by so much in generation and step.
    Vote(u32, bool, u64, u64),
    /// All workers of the running step are ready, in the order of the number.
    AllReady(u32),
    AllBroken,
    Advance,
    Wait,
    /// To the next deadline.
    Deadline,
    Stop,
}

fn ops() -> impl Strategy<Value = Vec<(u64, Op)>> {
    let worker = 0..64u32;
    let op = prop_oneof![
        8 => Just(Op::Join),
        4 => worker.clone().prop_map(Op::Synced),
        10 => Just(Op::AllSynced),
        1 => worker.clone().prop_map(Op::Leave),
        1 => worker.clone().prop_map(Op::Fail),
        3 => worker.clone().prop_map(Op::Heartbeat),
        8 => (worker.clone(), prop::bool::weighted(0.1)).prop_map(|(w, nan)| Op::Vote(w, nan, 0, 0)),
        2 => (worker, any::<bool>(), 0..3u64, 0..3u64).prop_map(|(w, n, g, s)| Op::Vote(w, n, g, s)),
        20 => (0..6u32).prop_map(Op::AllReady),
        20 => Just(Op::Advance),
        2 => Just(Op::Wait),
        2 => Just(Op::Deadline),
    ];
    let op = prop_oneof![300 => op, 1 => Just(Op::Stop), 1 => Just(Op::AllBroken)];
    let wait = prop_oneof![20 => 0..10u64, 1 => 0..120u64];
    prop::collection::vec((wait, op), 1..150)
}

fn configs() -> impl Strategy<Value = CoordinatorConfig> {
    (
        1..4usize,
        0..4usize,
        prop::option::of(80..300u64),
        any::<bool>(),
        1..5u32,
    )
        .prop_map(
            |(min, more, heartbeat, await_joiners, max_attempts)| CoordinatorConfig {
                heartbeat_timeout: heartbeat.map(ms),
                await_joiners,
                max_attempts,
                ..config(min, min + more)
            },
        )
}

/// Plays a schedule; says how often what was seen.
fn play(config: CoordinatorConfig, schedule: Vec<(u64, Op)>) -> Result<Model, TestCaseError> {
    let mut c = Coordinator::new(config.clone(), Step(1), Generation(0)).unwrap();
    let mut model = Model::new(config);
    let mut now = Duration::ZERO;
    let mut joined = 0;
    for (wait, op) in schedule {
        now += ms(wait);
        let states = model.states.iter();
        let present = states.filter(|(_, state)| state.is_present());
        let present: Vec<WorkerId> = present.map(|(worker, _)| *worker).collect();
        let pick = |number: u32| match number as usize / 8 {
            0 => WorkerId(number % (joined + 1)),
            n if present.is_empty() => WorkerId(n as u32),
            n => present[n % present.len()],
        };
        let current = (c.generation(), c.step());
        match op {
            Op::Join => {
                if let Ok(worker) = join(&mut c, now) {
                    prop_assert_eq!(worker, WorkerId(joined), "a number given again");
                    joined += 1;
                }
            }
            // What is refused must change nothing, which `standing` sees.
            Op::Synced(w) => drop(c.synced(now, pick(w))),
            Op::AllSynced => {
                c.tick(now);
                present.iter().for_each(|&w| drop(c.synced(now, w)));
            }
            Op::Leave(w) => drop(c.leave(now, pick(w))),
            Op::Fail(w) => drop(c.fail(now, pick(w), Failure::Killed)),
            Op::Heartbeat(w) => drop(c.heartbeat(now, pick(w))),
            Op::Vote(w, nan, g, s) => {
                let (Generation(generation), Step(step)) = current;
                let meant = (
                    Generation(generation.wrapping_sub(g)),
                    Step(step.wrapping_sub(s)),
                );
                model.vote(&mut c, now, pick(w), meant, !nan)?;
            }
            Op::AllReady(first) => {
                c.tick(now);
                let run = model.running.as_ref();
                let mut workers = run.map(|run| run.workers.clone()).unwrap_or_default();
                let at = first as usize % workers.len().max(1);
                workers.rotate_left(at);
                for worker in workers {
                    model.vote(&mut c, now, worker, current, true)?;
                }
            }
            Op::AllBroken => {
                c.tick(now);
                let run = model.running.as_ref();
                for worker in run.map(|run| run.workers.clone()).unwrap_or_default() {
                    model.vote(&mut c, now, worker, current, false)?;
                }
            }
            Op::Advance => drop(c.advance(now)),
            Op::Wait => c.tick(now),
            Op::Deadline => {
                if let Some(deadline) = c.next_deadline() {
                    now = now.max(deadline);
                    c.tick(now);
                }
            }
            Op::Stop => drop(c.stop(now, StopReason::Interrupted)),
        }
        model.observe(&mut c, now)?;
    }
    // Left alone, it comes to rest: every tick at the deadline moves something or the deadline.
    for _ in 0..100 {
        let Some(deadline) = c.next_deadline() else {
            let phase = c.phase();
            prop_assert!(matches!(phase, Phase::Boundary | Phase::Stopped));
            return Ok(model);
        };
        let before = c.status();
        now = now.max(deadline);
        c.tick(now);
        let acted = model.observe(&mut c, now)? > 0;
        prop_assert!(acted || before != c.status() || c.next_deadline() > Some(now));
    }
    Err(TestCaseError::fail("it never comes to rest"))
}

#[test]
fn random_schedules_keep_the_invariants() {
    let cases = 8000;
    let mut runner = TestRunner::new(ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let tally = RefCell::new(BTreeMap::new());
    let result = runner.run(&(configs(), ops()), |(config, schedule)| {
        for (what, times) in play(config, schedule)?.tally {
            *tally.borrow_mut().entry(what).or_insert(0) += times;
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    // The schedules must get everywhere to mean something.
    let tally = tally.into_inner();
    assert!(
        tally.len() == 15 && tally.values().all(|&n| n > 20),
        "{tally:?}"
    );
    assert!(tally["commit"] > cases as usize, "{tally:?}");
}

/// The way of actions after an event.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// The shell carries them out.
    Taken,
    /// The shell is busy.
    Left,
    /// The process ends, and another one goes on from the saved state, in a generation that many
    /// above.
    Restored(u64),
}

fn fates() -> impl Strategy<Value = Fate> {
    prop_oneof![
        20 => Just(Fate::Taken),
        4 => Just(Fate::Left),
        1 => (1..4u64).prop_map(Fate::Restored),
    ]
}

/// Actions that the shells of all processes carried out.
#[derive(Debug, Default)]
struct Shells {
    generation: Generation,
    committed: u64,
    joined: u32,
    dismissed: BTreeSet<WorkerId>,
    restored: usize,
    /// Commits that came from a saved state.
    repeated: usize,
}

impl Shells {
    fn carry_out(&mut self, c: &mut Coordinator) -> Result<(), TestCaseError> {
        for action in drain(c) {
            match action {
                Action::Reconfigured { generation, .. } => {
                    prop_assert!(generation > self.generation);
                    self.generation = generation;
                }
                Action::Start {
                    generation, step, ..
                } => {
                    prop_assert_eq!(generation, self.generation);
                    prop_assert_eq!(step, Step(self.committed + 1));
                }
                Action::Commit { step, .. } => {
                    prop_assert_eq!(step, Step(self.committed + 1), "twice, or one left out");
                    self.committed += 1;
                }
                Action::Dismiss { worker, .. } => prop_assert!(self.dismissed.insert(worker)),
                _ => {}
            }
        }
        prop_assert_eq!(c.step(), Step(self.committed + 1));
        Ok(())
    }

    fn restore(
        &mut self,
        c: &Coordinator,
        now: Duration,
        above: u64,
    ) -> Result<Coordinator, TestCaseError> {
        let text = serde_json::to_string(&c.save()).unwrap();
        let read = || serde_json::from_str::<SavedCoordinator>(&text).unwrap();
        prop_assert_eq!(&read(), &c.save());
        let (config, saved) = (c.config().clone(), c.generation());
        let same = Coordinator::restore(config.clone(), read(), saved, now);
        let refused = matches!(same, Err(RestoreError::Generation { .. }));
        prop_assert!(refused, "in the saved generation");
        let first = Generation(saved.0 + above);
        let new = Coordinator::restore(config, read(), first, now).unwrap();
        prop_assert_eq!((new.step(), new.generation()), (c.step(), first));
        prop_assert_eq!(new.stopped(), c.stopped());
        prop_assert!(new.workers().all(|(_, member)| !member.state.is_present()));
        prop_assert!(
            new.workers()
                .map(|(w, _)| w)
                .eq(c.workers().map(|(w, _)| w))
        );
        let pending = new.actions.iter();
        self.repeated += pending
            .filter(|a| matches!(a, Action::Commit { .. }))
            .count();
        self.restored += 1;
        self.generation = self.generation.max(saved);
        Ok(new)
    }
}

/// Plays a schedule in which processes end.
fn survive(
    config: CoordinatorConfig,
    schedule: Vec<((u64, Op), Fate)>,
) -> Result<Shells, TestCaseError> {
    let mut c = Coordinator::new(config, Step(1), Generation(0)).unwrap();
    let mut shells = Shells::default();
    let mut now = Duration::ZERO;
    for ((wait, op), fate) in schedule {
        now += ms(wait);
        let present = c.workers().filter(|(_, m)| m.state.is_present());
        let present: Vec<WorkerId> = present.map(|(worker, _)| worker).collect();
        let pick = |n: u32| WorkerId(n % (shells.joined + 1));
        let (generation, step) = (c.generation(), c.step());
        let mut all_vote = |vote: Vote| {
            for &worker in &present {
                drop(c.vote(now, worker, generation, step, vote.clone()));
            }
        };
        match op {
            Op::Join => {
                if let Ok(worker) = join(&mut c, now) {
                    prop_assert_eq!(worker, WorkerId(shells.joined), "a number given again");
                    shells.joined += 1;
                }
            }
            Op::Synced(w) => drop(c.synced(now, pick(w))),
            Op::AllSynced => present.iter().for_each(|&w| drop(c.synced(now, w))),
            Op::Leave(w) => drop(c.leave(now, pick(w))),
            Op::Fail(w) => drop(c.fail(now, pick(w), Failure::Killed)),
            Op::Heartbeat(w) => drop(c.heartbeat(now, pick(w))),
            Op::Vote(w, nan, ..) => {
                let vote = if nan { broken() } else { Vote::Ready };
                drop(c.vote(now, pick(w), generation, step, vote));
            }
            Op::AllReady(_) => all_vote(Vote::Ready),
            Op::AllBroken => all_vote(broken()),
            Op::Advance => drop(c.advance(now)),
            Op::Wait | Op::Deadline => c.tick(now),
            Op::Stop => drop(c.stop(now, StopReason::Interrupted)),
        }
        match fate {
            Fate::Taken => shells.carry_out(&mut c)?,
            Fate::Left => {}
            Fate::Restored(above) => c = shells.restore(&c, now, above)?,
        }
    }
    shells.carry_out(&mut c)?;
    Ok(shells)
}

#[test]
fn saved_states_restore_at_any_point() {
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let schedules = (ops(), prop::collection::vec(fates(), 150))
        .prop_map(|(ops, fates)| ops.into_iter().zip(fates).collect::<Vec<_>>());
    let seen = RefCell::new((0, 0, 0));
    let result = runner.run(&(configs(), schedules), |(config, schedule)| {
        let shells = survive(config, schedule)?;
        let mut seen = seen.borrow_mut();
        seen.0 += shells.restored;
        seen.1 += shells.repeated;
        seen.2 += shells.committed;
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    // The schedules must get everywhere to mean something.
    let (restored, repeated, committed) = seen.into_inner();
    assert!(
        restored > 1000 && repeated > 10 && committed > 1000,
        "{restored} restored, {repeated} commits repeated, {committed} committed"
    );
}
