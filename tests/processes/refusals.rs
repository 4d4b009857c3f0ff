//! Processes that cannot take part: one sentence, exit status 2, and the run goes on without them.

use std::net::TcpListener;

use super::{Place, Process, until};

/// The sentence of a process that fails.
fn refused(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let mut process = Process::start(arguments, environment);
    let status = process.end();
    assert_eq!(status.code(), Some(2), "{}", process.said());
    let said = process.said();
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with("error: "), "{said}");
    said
}

#[test]
fn wrong_places_are_refused() {
    let place = Place::new();
    let home = place.home.path().display().to_string();
    let said = refused(&["worker", &home], &[]);
    assert!(said.contains("nobody leads the run in"), "{said}");
    let said = refused(&["worker", "--join", "127.0.0.1:1"], &[]);
    assert!(said.contains("127.0.0.1:1"), "{said}");
    let said = refused(&["worker", "--join", "nonsense"], &[]);
    assert!(said.contains("host and port"), "{said}");
    let said = refused(
        &[
            "train",
            "--listen",
            "0.0.0.0:0",
            "--device",
            "cpu",
            "--output",
            &format!("{home}/a"),
        ],
        &[],
    );
    assert!(said.contains("--tls"), "{said}");
    assert!(
        !place.path("a").exists(),
        "a run was made before its leader could listen"
    );
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = refused(
        &[
            "train",
            "--listen",
            &address,
            "--device",
            "cpu",
            "--output",
            &format!("{home}/b"),
        ],
        &[],
    );
    assert!(said.contains(&address) && said.contains("in use"), "{said}");
    let said = refused(
        &["train", "--processes", "2", "--update-mode", "async"],
        &[],
    );
    assert!(said.contains("several processes train with sync"), "{said}");
}

#[test]
fn a_run_goes_on_without_those_it_refuses() {
    let place = Place::new();
    let mut leader = place.lead("run", &["--epochs", "250"]);
    let path = place.path("run");
    until("somebody leads", || {
        path.join("leaders/00000001.json").exists()
    });
    let record = std::fs::read_to_string(path.join("leaders/00000001.json")).unwrap();
    let value: serde_json::Value = serde_json::from_str(&record).unwrap();
    let (address, token) = (
        value["record"]["address"].as_str().unwrap(),
        value["record"]["token"].as_str().unwrap(),
    );
    let said = refused(&["worker", "--join", address], &[]);
    assert!(said.contains("token"), "{said}");
    let wrong = "00112233445566778899aabbccddeeff";
    let said = refused(
        &["worker", "--join", address],
        &[("SHARDLOOM_TOKEN", wrong)],
    );
    assert!(said.contains("token"), "{said}");
    let run = path.display().to_string();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().to_string();
    let said = refused(&["worker", &run, "--listen", &port], &[]);
    assert!(said.contains(&port) && said.contains("in use"), "{said}");
    // It joins, and is given shards that it has no room for.
    let said = refused(
        &["worker", &run, "--device", "cpu", "--memory", "1KiB"],
        &[],
    );
    assert!(
        said.contains("shards take ") && said.contains("this process has 1.00 KiB"),
        "{said}"
    );
    // Without the run's directory, the leader sends what a node needs.
    let mut worker = Process::start(
        &[
            "worker",
            "--join",
            address,
            "--threads",
            "1",
            "--device",
            "cpu",
        ],
        &[("SHARDLOOM_TOKEN", token)],
    );
    until("it joins", || worker.said().contains("joins the run"));
    leader.succeed();
    worker.succeed();
    let ended = path.display().to_string();
    let said = refused(&["worker", &ended], &[]);
    assert!(said.contains("lead"), "{said}");
}
