//! Times from a fault until the run goes on, by the leader's log.

use std::time::{Duration, Instant};

use super::{Place, Process, until};

/// The leader has told the nodes of a new generation.
const CONFIGURED: &str = "configured";
/// The run goes on.
const COMMITTED: &str = "first step of a generation committed";
/// Longest step of these runs.
const STEP: Duration = Duration::from_millis(50);

/// Starts a leader and workers, and waits until all take part.
fn run(place: &Place, workers: usize, more: &[&str]) -> (Process, Vec<Process>) {
    let epochs = ["--epochs", "1000000", "--batch-size", "50"];
    let leader = place.lead_aloud("run", &[&epochs, more].concat());
    let workers: Vec<Process> = (0..workers).map(|_| place.work("run")).collect();
    for worker in &workers {
        until("it joins", || worker.said().contains("joins the run"));
    }
    let all: Vec<String> = (0..=workers.len())
        .map(|worker| format!("WorkerId({worker})"))
        .collect();
    until("all take part", || {
        let said = leader.said();
        let mut lines = said.lines().filter(|line| line.contains(CONFIGURED));
        lines.any(|line| all.iter().all(|worker| line.contains(worker)))
    });
    leader.says(COMMITTED, Instant::now() - Duration::from_millis(1));
    (leader, workers)
}

/// Kills workers, one after the other, and starts others; returns the shortest pause. Other work on the machine makes
/// single pauses longer, and a wait for a timer would be in all of them.
fn shortest_pause(more: &[&str]) -> Duration {
    let place = Place::new();
    let (leader, mut workers) = run(&place, 3, &[more, &["--replicas", "2"]].concat());
    let mut pauses = Vec::new();
    for _ in 0..3 {
        let at = Instant::now();
        workers.remove(0).kill();
        pauses.push(leader.says(COMMITTED, at));
        let at = Instant::now();
        workers.push(place.work("run"));
        leader.says("joins", at);
        leader.says(COMMITTED, at + leader.says(CONFIGURED, at));
    }
    println!("pauses after a kill: {pauses:?}");
    assert!(
        !leader.said().contains("are made again"),
        "{}",
        leader.said()
    );
    pauses.into_iter().min().unwrap()
}

#[test]
fn a_killed_worker_costs_a_fifth_of_a_second() {
    let pause = shortest_pause(&[]);
    assert!(pause <= Duration::from_millis(200) + STEP, "{pause:?}");
}

#[test]
fn a_killed_worker_costs_a_fifth_of_a_second_against_all_entities() {
    let pause = shortest_pause(&["--set", "objective=1vsall"]);
    assert!(pause <= Duration::from_millis(200) + STEP, "{pause:?}");
}

#[test]
fn a_stopped_worker_is_noticed_within_two_and_a_half_seconds() {
    let place = Place::new();
    let (leader, workers) = run(&place, 2, &["--replicas", "2"]);
    let at = Instant::now();
    workers[0].signal(libc::SIGSTOP);
    let noticed = leader.says(CONFIGURED, at);
    println!("noticed after {noticed:?}");
    assert!(noticed <= Duration::from_millis(2500), "{noticed:?}");
    leader.says(COMMITTED, at);
}

#[test]
fn a_killed_holder_without_a_backup_costs_three_seconds() {
    let place = Place::new();
    let (leader, mut workers) = run(&place, 2, &[]);
    let at = Instant::now();
    workers.remove(0).kill();
    leader.says("are made again", at);
    let pause = leader.says(COMMITTED, at);
    println!("pause: {pause:?}");
    assert!(pause <= Duration::from_secs(3), "{pause:?}");
}

/// A process that is asked to end hands its shards over first.
#[test]
fn a_worker_that_leaves_costs_no_step() {
    let place = Place::new();
    let more = ["--batch-size", "50"];
    let epochs = ["--epochs", "1000000"];
    let mut leader = place.lead_aloud("run", &[&more[..], &epochs].concat());
    let mut workers = [place.work("run"), place.work("run")];
    for worker in &workers {
        until("it joins", || worker.said().contains("joins the run"));
    }
    place.reach("run", place.epochs("run") + 3);
    for (worker, signal) in workers.iter_mut().zip([libc::SIGTERM, libc::SIGINT]) {
        worker.signal(signal);
        worker.succeed();
        assert!(
            worker.said().contains("let this process go: left"),
            "{}",
            worker.said()
        );
        place.reach("run", place.epochs("run") + 2);
    }
    assert!(
        !leader.said().contains("are made again"),
        "{}",
        leader.said()
    );
    place.end_as_alone("run", &mut leader, &more);
}
