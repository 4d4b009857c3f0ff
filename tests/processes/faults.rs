//! Faults: the tables at the end are those of one process that nothing happened to.

use std::time::Duration;

use super::{Place, Process, until};

#[test]
fn processes_started_by_the_leader_train_together_and_end_with_it() {
    let place = Place::new();
    let expected = place.alone(&["--epochs", "20", "--batch-size", "250"]);
    let mut leader = place.lead(
        "run",
        &["--epochs", "20", "--batch-size", "250", "--processes", "3"],
    );
    leader.succeed();
    assert!(place.tables("run") == expected);

    let mut leader = place.lead("again", &["--epochs", "100000", "--processes", "3"]);
    place.reach("again", 1);
    let children = format!("/proc/{0}/task/{0}/children", leader.child.id());
    let children = std::fs::read_to_string(children).unwrap();
    assert_eq!(children.split_whitespace().count(), 2, "{children}");
    leader.kill();
    for child in children.split_whitespace() {
        let alive = format!("/proc/{child}/stat");
        until("the child ends", || {
            // A process that nobody has waited for yet has ended, too.
            std::fs::read_to_string(&alive).map_or(true, |stat| stat.contains(") Z "))
        });
    }
}

/// Kills a holder of shards in the middle of a run, and starts another.
fn holder_killed(replicas: &str) -> String {
    let place = Place::new();
    let more = ["--epochs", "28", "--batch-size", "50"];
    let expected = place.alone(&more);
    let mut leader = place.lead("run", &[&more[..], &["--replicas", replicas]].concat());
    let mut first = place.work("run");
    let mut second = place.work("run");
    until("both have joined", || {
        first.said().contains("joins") && second.said().contains("joins")
    });
    place.reach("run", place.epochs("run") + 5);
    // In the middle of an epoch of 40 steps, not at the cut at its end.
    std::thread::sleep(Duration::from_millis(100));
    first.kill();
    let after = place.reach("run", place.epochs("run") + 1);
    assert!(after < Duration::from_secs(6), "{after:?}");
    let mut third = place.work("run");
    leader.succeed();
    assert!(place.tables("run") == expected, "{}", leader.said());
    second.succeed();
    third.succeed();
    leader.said()
}

#[test]
fn a_killed_holder_sends_the_run_back_to_its_cut() {
    let said = holder_killed("1");
    assert!(said.contains("are made again"), "{said}");
}

#[test]
fn with_a_backup_a_killed_holder_costs_no_step() {
    let said = holder_killed("2");
    assert!(!said.contains("are made again"), "{said}");
}

#[test]
fn a_stopped_process_is_noticed_and_joins_anew() {
    let place = Place::new();
    let more = ["--epochs", "150", "--batch-size", "250"];
    let expected = place.alone(&more);
    let mut leader = place.lead("run", &[&more[..], &["--replicas", "2"]].concat());
    let mut worker = place.work("run");
    place.reach("run", 10);
    worker.signal(libc::SIGSTOP);
    let noticed = place.reach("run", place.epochs("run") + 3);
    assert!(noticed < Duration::from_secs(5), "{noticed:?}");
    worker.signal(libc::SIGCONT);
    until("it joins again", || {
        worker.said().matches("joins the run").count() == 2
    });
    leader.succeed();
    worker.succeed();
    assert!(place.tables("run") == expected);
}

#[test]
fn a_killed_leader_is_followed_by_a_restart() {
    let place = Place::new();
    let more = [
        "--epochs",
        "110",
        "--batch-size",
        "250",
        "--set",
        "checkpoint_every=1",
    ];
    let expected = place.alone(&more);
    let mut leader = place.lead("run", &more);
    let mut worker = place.work("run");
    place.reach("run", 20);
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
    // The worker has found the new leader by the run's directory.
    worker.succeed();
    assert!(
        worker.said().matches("joins the run").count() == 2,
        "{}",
        worker.said()
    );
    assert!(place.tables("run") == expected);
}

#[test]
fn below_the_fewest_workers_a_run_pauses_and_goes_on() {
    let place = Place::new();
    let more = [
        "--epochs",
        "110",
        "--batch-size",
        "250",
        "--set",
        "min_workers=2",
        "--set",
        "workers=2",
    ];
    let expected = place.alone(&["--epochs", "110", "--batch-size", "250"]);
    let mut leader = place.lead("run", &[&more[..], &["--replicas", "2"]].concat());
    let mut worker = place.work("run");
    place.reach("run", 10);
    worker.kill();
    until("it pauses", || {
        leader.said().contains("paused: 1 of at least 2")
    });
    let at = place.epochs("run");
    std::thread::sleep(Duration::from_millis(500));
    assert!(place.epochs("run") <= at + 1);
    let mut worker = place.work("run");
    leader.succeed();
    assert!(
        leader.said().contains("resumed with 2 workers"),
        "{}",
        leader.said()
    );
    worker.succeed();
    assert!(place.tables("run") == expected);
}
