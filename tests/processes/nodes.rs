//! Processes that are all started by the same command, as a cluster's scheduler does.

use std::fs;
use std::time::{Duration, Instant};

use super::{Place, Process, until};

const EPOCHS: [&str; 2] = ["--epochs", "60"];

/// A run that only cuts save until its end, and with two holders of each shard.
const RUN: [&str; 8] = [
    "--batch-size",
    "250",
    "--set",
    "checkpoint_every=0",
    "--set",
    "cut_seconds=0.3",
    "--replicas",
    "2",
];

fn arguments(place: &Place, more: &[&str]) -> Vec<String> {
    let mut arguments = place.arguments("run", &[&RUN[..], &["--threads", "1"], more].concat());
    for argument in &mut arguments {
        match argument.as_str() {
            "train" => "node".clone_into(argument),
            "--output" => "--run".clone_into(argument),
            _ => {}
        }
    }
    arguments
}

/// Starts one of the processes. The first step waits for three.
fn start(place: &Place) -> Process {
    let more = [&EPOCHS[..], &["--workers", "3"]].concat();
    Process::start(&arguments(place, &more), &[])
}

/// The process that leads in an epoch, which it has said with `words`.
fn leader(nodes: &[Process], words: &str) -> usize {
    let mut found = None;
    until(words, || {
        found = nodes.iter().position(|node| node.said().contains(words));
        found.is_some()
    });
    found.unwrap()
}

/// The tables of one process alone.
fn expected(place: &Place) -> Vec<Vec<u32>> {
    place.alone(&[&RUN[..6], &EPOCHS].concat())
}

#[test]
fn the_first_of_equal_processes_leads_and_another_one_when_it_is_killed() {
    let place = Place::new();
    let expected = expected(&place);
    let mut nodes: Vec<Process> = (0..3).map(|_| start(&place)).collect();
    let first = leader(&nodes, "listening at");
    place.reach("run", 10);
    let killed = Instant::now();
    nodes[first].kill();
    nodes.remove(first);
    let second = leader(&nodes, "this process leads, in epoch 2");
    assert!(
        killed.elapsed() < Duration::from_secs(5),
        "{:?}",
        killed.elapsed()
    );
    until("it resumes", || {
        nodes[second].said().contains("from the cut of step")
    });
    // The scheduler replaces the task that was lost.
    nodes.push(start(&place));
    let joins = |node: &Process| node.said().contains("joins the run");
    until("the new one joins", || joins(&nodes[2]));
    for node in &mut nodes {
        node.succeed();
    }
    assert!(place.tables("run") == expected, "{}", nodes[second].said());
    // A task that comes too late.
    let mut late = start(&place);
    late.succeed();
    assert!(late.said().contains("is over"), "{}", late.said());
}

#[test]
fn another_process_leads_when_the_leader_is_told_to_leave() {
    let place = Place::new();
    let expected = expected(&place);
    let mut nodes: Vec<Process> = (0..3).map(|_| start(&place)).collect();
    let first = leader(&nodes, "listening at");
    place.reach("run", 10);
    nodes[first].signal(libc::SIGTERM);
    nodes[first].end();
    nodes.remove(first);
    leader(&nodes, "this process leads, in epoch 2");
    // A worker that is told to leave does so without a failure.
    let worker = nodes
        .iter()
        .position(|node| !node.said().contains("this process leads"));
    let mut worker = nodes.remove(worker.unwrap());
    until("it joins again", || {
        worker.said().matches("joins the run").count() > 1
    });
    worker.signal(libc::SIGTERM);
    worker.succeed();
    nodes[0].succeed();
    assert!(place.tables("run") == expected, "{}", nodes[0].said());
}

#[test]
fn options_of_another_run_and_foreign_directories_are_refused() {
    let place = Place::new();
    let mut first = Process::start(
        &arguments(&place, &["--epochs", "3", "--workers", "1"]),
        &[],
    );
    first.succeed();
    fs::remove_file(place.path("run/result.json")).unwrap();
    let mut other = Process::start(
        &arguments(&place, &["--epochs", "3", "--workers", "1", "--lr", "0.7"]),
        &[],
    );
    assert_eq!(other.end().code(), Some(2));
    let said = other.said();
    assert!(
        said.contains("lr = 0.7 is asked for") && said.contains("has 0."),
        "{said}"
    );

    fs::remove_dir_all(place.path("run")).unwrap();
    fs::create_dir(place.path("run")).unwrap();
    fs::write(place.path("run/notes.txt"), "mine").unwrap();
    let mut foreign = start(&place);
    assert_eq!(foreign.end().code(), Some(2));
    assert!(
        foreign.said().contains("is not empty"),
        "{}",
        foreign.said()
    );
}
