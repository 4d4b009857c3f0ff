//! Searches that end before their time.

use std::fs::File;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::*;

const LONG: &str = "search long.toml --strategy halving --trials 4 --eta 2";

fn long() -> Home {
    let home = home();
    let long = SPACE.replace("epochs = 9", "epochs = 60\ncheckpoint_every = 1");
    home.write("long.toml", &long);
    home
}

fn start(home: &Home) -> Child {
    let stderr = File::create(home.path("stderr")).unwrap();
    let line = format!("{LONG} --output found");
    let mut command = home.command(&words(&line));
    command
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .unwrap()
}

/// Waits until a trial is in the middle of a rung.
fn wait(home: &Home, trial: &str, epochs: usize) {
    let begun = Instant::now();
    let metrics = format!("found/trials/{trial}/metrics.jsonl");
    let enough = || home.path(&metrics).exists() && home.read(&metrics).lines().count() > epochs;
    while !enough() {
        assert!(begun.elapsed() < Duration::from_secs(60), "never came");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn end(mut child: Child, signal: i32) -> Option<i32> {
    // SAFETY: the child has not been waited for, so its number is still its own.
    assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
    child.wait().unwrap().code()
}

#[test]
fn whatever_stops_a_search_it_arrives_where_it_would_have() {
    let home = long();
    let child = start(&home);
    wait(&home, "001", 3);
    if let Some(code) = end(child, libc::SIGINT) {
        assert_eq!(code, 130);
        let said = home.read("stderr");
        assert!(said.contains("shardloom search --resume found"), "{said}");
        let statuses: Vec<_> = trials(&home, "found")
            .iter()
            .map(|t| t["status"].clone())
            .collect();
        assert!(statuses.iter().any(|s| s == "stopped"), "{statuses:?}");
    }
    // Then it is killed, and once more before the trial has come any further.
    let child = start(&home);
    wait(&home, "002", 3);
    assert_eq!(end(child, libc::SIGKILL), None);
    home.ok(&words("search --resume found"));
    home.ok(&words(&format!("{LONG} --output whole")));
    assert_eq!(told(&home, "found"), told(&home, "whole"));
    let result = |search: &str| {
        let trials = trials(&home, search);
        let best = trials
            .iter()
            .max_by_key(|t| t["scores"].as_array().unwrap().len());
        let number = best.unwrap()["trial"].as_u64().unwrap();
        home.json(format!("{search}/trials/{number:03}/result.json"))["test"]["mrr"].clone()
    };
    assert_eq!(result("found"), result("whole"));
}

#[test]
fn a_trial_that_kills_the_program_is_given_up() {
    let home = long();
    home.ok(&words(
        "search long.toml --trials 2 --set epochs=1 --output found",
    ));
    let text = home.read("found/trials.jsonl");
    let mut lines: Vec<Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let crashed = &mut lines[1];
    crashed["status"] = "running".into();
    crashed["scores"] = Value::Array(Vec::new());
    crashed["began_at"] = 1.into();
    crashed["crashes"] = 2.into();
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    home.write("found/trials.jsonl", &text);
    home.ok(&words("search --resume found"));
    let crashed = &trials(&home, "found")[1];
    assert_eq!(crashed["status"], "failed");
    assert!(
        crashed["cause"].as_str().unwrap().contains("ended 3 times"),
        "{crashed}"
    );
}

#[test]
fn a_search_is_gone_on_with_by_one_process_at_a_time() {
    let home = long();
    let child = start(&home);
    let number = child.id().to_string();
    wait(&home, "000", 1);
    for line in [
        "search --resume found",
        &format!("{LONG} --output found"),
        "train --resume found/trials/000 --epochs 61",
    ] {
        let error = home.fails(&words(line));
        assert!(
            error.contains("in use by another process") && error.contains(&number),
            "{error}"
        );
    }
    assert_eq!(end(child, libc::SIGKILL), None);
    home.ok(&words("search --resume found"));
}
