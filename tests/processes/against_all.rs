//! Steps against all entities: queries travel between the processes.

use std::time::Duration;

use super::{Place, until};

const AGAINST_ALL: [&str; 6] = [
    "--objective",
    "1vsall",
    "--batch-size",
    "250",
    "--epochs",
    "60",
];

#[test]
fn killed_and_stopped_processes_leave_the_tables_as_they_would_be() {
    let place = Place::new();
    // A run of one process that others could join adds up in the same order.
    place.lead("alone", &AGAINST_ALL).succeed();
    let expected = place.tables("alone");

    let mut leader = place.lead("run", &[&AGAINST_ALL[..], &["--replicas", "2"]].concat());
    let mut first = place.work("run");
    let second = place.work("run");
    until("both have joined", || {
        first.said().contains("joins") && second.said().contains("joins")
    });
    place.reach("run", place.epochs("run") + 3);
    // In the middle of an epoch.
    std::thread::sleep(Duration::from_millis(100));
    first.kill();
    let after = place.reach("run", place.epochs("run") + 1);
    assert!(after < Duration::from_secs(6), "{after:?}");
    second.signal(libc::SIGSTOP);
    let after = place.reach("run", place.epochs("run") + 2);
    assert!(after < Duration::from_secs(8), "{after:?}");
    second.signal(libc::SIGCONT);
    leader.succeed();
    assert!(place.tables("run") == expected, "{}", leader.said());
}
