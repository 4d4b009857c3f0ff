//! The page about a run of several processes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use super::{Place, Process, until};

/// Answer to a request, with its head.
fn get(address: &str, path: &str, host: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

/// Address of the page that a process has told of.
fn page_of(process: &Process) -> String {
    let mark = "dashboard at http://";
    until("a dashboard", || process.said().contains(mark));
    let said = process.said();
    let at = said.split_once(mark).unwrap().1;
    at.split_once('/').unwrap().0.to_owned()
}

fn state(address: &str) -> Value {
    let answer = get(address, "/state", address);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    serde_json::from_str(body(&answer)).unwrap()
}

#[test]
fn the_dashboard_outlives_a_worker_and_says_what_happened() {
    let place = Place::new();
    let more = [
        "--epochs",
        "100000",
        "--replicas",
        "2",
        "--batch-size",
        "250",
    ];
    let mut leader = place.lead(
        "run",
        &[&more[..], &["--dashboard", "127.0.0.1:0"]].concat(),
    );
    let address = page_of(&leader);
    let mut worker = place.work("run");
    let workers = |state: &Value, in_state: &str| {
        let workers = state["workers"].as_array().unwrap().iter();
        workers.filter(|worker| worker["state"] == in_state).count()
    };
    until("two workers", || workers(&state(&address), "active") == 2);
    until("epochs", || {
        state(&address)["history"].as_array().unwrap().len() > 2
    });
    let seen = state(&address);
    assert_eq!(seen["run"], "run");
    assert_eq!(seen["stage"], "training");
    assert_eq!(seen["epochs"], 100_000);
    let shards = seen["shards"].as_array().unwrap();
    assert!(shards.len() >= 16, "{}", shards.len());
    // Two processes hold each shard, and both serve some.
    let serves = |worker: u64| {
        shards
            .iter()
            .filter(|shard| shard["holders"][0] == worker)
            .count()
    };
    assert!(
        shards
            .iter()
            .all(|shard| shard["holders"].as_array().unwrap().len() == 2)
    );
    assert!(serves(0) > 0 && serves(1) > 0);
    assert!(
        shards
            .iter()
            .all(|shard| shard["bytes"].as_u64().unwrap() > 0)
    );

    worker.kill();
    until("one worker", || workers(&state(&address), "failed") == 1);
    let after = state(&address);
    let events = after["events"].as_array().unwrap();
    let warned = |event: &&Value| event["warning"] == true;
    let told = events.iter().find(warned).unwrap()["text"]
        .as_str()
        .unwrap();
    assert!(
        told.starts_with("worker ") && told.contains("failed: "),
        "{told}"
    );
    until("steps go on", || {
        state(&address)["steps_done"].as_u64() > after["steps_done"].as_u64()
    });
    until("one holder", || {
        let state = state(&address);
        let mut shards = state["shards"].as_array().unwrap().iter();
        shards.all(|shard| shard["holders"].as_array().unwrap().len() == 1)
    });

    let counts = get(&address, "/metrics", &address);
    assert!(
        body(&counts).contains("\nshardloom_worker_failures_total 1\n"),
        "{counts}"
    );
    assert!(
        body(&counts).contains("\nshardloom_workers_active 1\n"),
        "{counts}"
    );
    let page = get(&address, "/", &address);
    assert!(
        page.contains("content-security-policy") && page.contains("EventSource"),
        "{page}"
    );
    // A stream of events has the same JSON.
    let mut stream = TcpStream::connect(&address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    write!(stream, "GET /events HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let mut text = String::new();
    let mut buffer = [0; 4096];
    until("an event", || {
        let read = stream.read(&mut buffer).unwrap();
        text.push_str(&String::from_utf8_lossy(&buffer[..read]));
        text.contains("data: {\"run\":\"run\"")
    });
    // Pages of other sites cannot read along under a name of their own.
    for host in ["example.org", "127.0.0.1.example.org", "10.0.0.1"] {
        let refused = get(&address, "/state", host);
        assert!(refused.starts_with("HTTP/1.1 403"), "{host}: {refused}");
    }
    leader.signal(libc::SIGINT);
    leader.end();
}

#[test]
fn a_dashboard_is_for_this_machine_alone() {
    let place = Place::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (address, sentence) in [
        ("0.0.0.0:0", "for this machine alone"),
        (taken.as_str(), "in use"),
        ("nonsense", "--dashboard nonsense: "),
    ] {
        let arguments = place.arguments("run", &["--dashboard", address]);
        let mut refused = Process::start(&arguments, &[]);
        assert_eq!(refused.end().code(), Some(2), "{address}");
        assert!(refused.said().contains(sentence), "{}", refused.said());
        assert!(!place.path("run").exists());
    }
}
