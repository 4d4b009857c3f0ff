//! Processes that race for the same epochs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use shardloom::net::registry::{Claim, Registry, StoreRegistry};

use crate::leaders::candidate;
use crate::process;

const PROCESSES: u32 = 8;
const EPOCHS: u32 = 200;

#[test]
fn of_eight_processes_exactly_one_wins_each_of_200_epochs() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path().to_str().unwrap();
    let test = "races::races_for_epochs";
    let racers: Vec<_> = (0..PROCESSES)
        .map(|owner| {
            let mut part = process::part(test, &[run, &owner.to_string()]);
            part.stdout(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    std::fs::write(directory.path().join("start"), "").unwrap();
    let mut winners: BTreeMap<u32, Vec<u128>> = BTreeMap::new();
    for (owner, racer) in racers.into_iter().enumerate() {
        let output = racer.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}");
        for epoch in text.lines().filter_map(|line| line.strip_prefix("won ")) {
            winners
                .entry(epoch.parse().unwrap())
                .or_default()
                .push(owner as u128);
        }
    }
    let epochs: Vec<u32> = winners.keys().copied().collect();
    assert_eq!(epochs, (1..=EPOCHS).collect::<Vec<_>>());
    for (epoch, winners) in &winners {
        assert_eq!(winners.len(), 1, "epoch {epoch} was won by {winners:?}");
    }
    let owners: BTreeSet<u128> = winners.values().map(|owners| owners[0]).collect();
    assert!(owners.len() > 1, "there was no race");
    // The records name who won, and nothing else is left behind.
    let registry = StoreRegistry::open(directory.path(), "race").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let newest = runtime.block_on(registry.current()).unwrap().unwrap();
    assert_eq!(
        (newest.epoch, newest.owner.0),
        (EPOCHS, winners[&EPOCHS][0])
    );
    let files = std::fs::read_dir(directory.path().join("leaders"))
        .unwrap()
        .count();
    assert_eq!(files, EPOCHS as usize);
}

#[test]
#[ignore = "part of of_eight_processes_exactly_one_wins_each_of_200_epochs"]
fn races_for_epochs() {
    let Some(arguments) = process::arguments() else {
        return;
    };
    let registry = StoreRegistry::open(Path::new(&arguments[0]), "race").unwrap();
    let owner: u128 = arguments[1].parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let start = Path::new(&arguments[0]).join("start");
    for _ in 0..2000 {
        if start.exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    runtime.block_on(async {
        let mut after = 0;
        while after < EPOCHS {
            match registry.acquire(after, candidate(owner)).await.unwrap() {
                Claim::Won(record) => {
                    println!("\nwon {}", record.epoch);
                    after = record.epoch;
                }
                Claim::Lost(record) => after = record.epoch,
            }
        }
    });
}
