//! Leaders that are killed or stopped, and those that follow them.

use std::time::Duration;

use super::{Place, Process, until};

/// Longest time without a leader who trains: silence, the next epoch of leadership, and the cut.
const FOLLOWED: Duration = Duration::from_secs(5);

/// A run that only cuts save until its end.
const CUTS: [&str; 8] = [
    "--batch-size",
    "250",
    "--set",
    "checkpoint_every=0",
    "--set",
    "cut_seconds=0.3",
    "--replicas",
    "2",
];

fn epochs(count: &'static str) -> Vec<&'static str> {
    [&CUTS[..], &["--epochs", count]].concat()
}

/// Starts a process that stands by for the leader of a run.
fn stand_by(place: &Place, name: &str, more: &[&str]) -> Process {
    let path = place.path(name);
    until("somebody leads", || {
        path.join("leaders/00000001.json").exists()
    });
    let path = path.display().to_string();
    let arguments = ["train", "--standby", &path, "--threads", "1"];
    let standby = Process::start(&[&arguments, more].concat(), &[]);
    until("it stands by", || standby.said().contains("standing by"));
    // Its stream to the leader.
    std::thread::sleep(Duration::from_millis(300));
    standby
}

/// An address of this machine at which nobody listens.
fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// Waits until a leader has done an epoch of its own.
fn until_led(standby: &Process) -> Duration {
    until("it leads", || {
        let said = standby.said();
        said.contains("this process leads, in epoch 2") && said.contains("loss ")
    })
}

#[test]
fn a_standby_goes_on_from_the_cut_when_the_leader_is_killed() {
    let place = Place::new();
    let more = epochs("150");
    let expected = place.alone(&more);
    let mut leader = place.lead("run", &more);
    let mut worker = place.work("run");
    let next = free_address();
    let mut standby = stand_by(&place, "run", &["--listen", &next]);
    let (address, token) = place.leader_of("run");
    let join = ["worker", "--join", &address, "--join", &next];
    let join = [&join[..], &["--threads", "1", "--device", "cpu"]].concat();
    let mut told = Process::start(&join, &[("SHARDLOOM_TOKEN", token.as_str())]);
    until("it joins", || told.said().contains("joins the run"));
    place.reach("run", place.epochs("run") + 10);
    leader.kill();
    let followed = until_led(&standby);
    assert!(followed < FOLLOWED, "{followed:?}: {}", standby.said());
    assert!(
        standby.said().contains("from the cut of step"),
        "{}",
        standby.said()
    );
    standby.succeed();
    // One worker has found the new leader by the run's directory, the other one by its address.
    for worker in [&mut worker, &mut told] {
        worker.succeed();
        let said = worker.said();
        assert_eq!(said.matches("joins the run").count(), 2, "{said}");
        assert!(said.contains(&format!("joins the run at {next}")), "{said}");
    }
    assert!(place.tables("run") == expected, "{}", standby.said());
    assert!(place.path("run/leaders/00000002.json").exists());
    assert!(!place.path("run/cuts").exists());
}

#[test]
fn a_leader_that_was_stopped_and_wakes_up_commits_nothing() {
    let place = Place::new();
    let more = epochs("250");
    let expected = place.alone(&more);
    let mut leader = place.lead("run", &more);
    let mut worker = place.work("run");
    let mut standby = stand_by(&place, "run", &[]);
    place.reach("run", place.epochs("run") + 10);
    leader.signal(libc::SIGSTOP);
    let stopped = std::time::Instant::now();
    let followed = until_led(&standby);
    assert!(followed < FOLLOWED, "{followed:?}: {}", standby.said());
    std::thread::sleep(Duration::from_secs(8).saturating_sub(stopped.elapsed()));
    leader.signal(libc::SIGCONT);
    let status = leader.end();
    let said = leader.said();
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(said.contains("leads this run now (epoch 2"), "{said}");
    standby.succeed();
    worker.succeed();
    assert!(place.tables("run") == expected, "{}", standby.said());
}

#[test]
fn a_restarted_leader_goes_on_from_the_cut() {
    let place = Place::new();
    let more = epochs("80");
    let expected = place.alone(&more);
    let mut leader = place.lead("run", &more);
    let mut worker = place.work("run");
    place.reach("run", place.epochs("run") + 15);
    leader.kill();
    let path = place.path("run").display().to_string();
    let resume = [
        "train",
        "--resume",
        &path,
        "--listen",
        "127.0.0.1:0",
        "--threads",
        "1",
    ];
    let mut leader = Process::start(&resume, &[]);
    leader.succeed();
    assert!(
        leader.said().contains("from the cut of step"),
        "{}",
        leader.said()
    );
    worker.succeed();
    assert!(place.tables("run") == expected, "{}", leader.said());
}

#[test]
fn a_standby_ends_with_the_run() {
    let place = Place::new();
    let mut leader = place.lead("run", &epochs("150"));
    let mut standby = stand_by(&place, "run", &[]);
    leader.succeed();
    standby.succeed();
    assert!(
        standby.said().contains("the run is over"),
        "{}",
        standby.said()
    );
    // Nobody leads by now.
    let path = place.path("run").display().to_string();
    let mut late = Process::start(&["train", "--standby", &path], &[]);
    assert_eq!(late.end().code(), Some(2), "{}", late.said());
    assert!(
        late.said().contains("nobody leads the run in"),
        "{}",
        late.said()
    );
}
