//! Random events against a model of what clients may expect.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::shell::Shell;
use super::*;

/// Channel, as its client knows it.
struct Known {
    epoch: Option<u64>,
    batches: u64,
    open: bool,
}

#[derive(Default)]
struct Tally {
    steps: usize,
    sends: u64,
    lapsed: u64,
    evicted: u64,
    done: usize,
}

fn events(choices: &[(u8, u16, u16)], memory: u64) -> Result<Tally, TestCaseError> {
    let mut shell = Shell::new(SessionConfig {
        memory,
        jobs: 3,
        most_channels: 6,
        ..SessionConfig::default()
    });
    let mut channels: BTreeMap<u64, Known> = BTreeMap::new();
    let mut tally = Tally::default();
    for &(kind, a, b) in choices {
        tally.steps += 1;
        let (first, second) = (u64::from(a), u64::from(b));
        let channel = 1 + first % (channels.len() as u64 + 2);
        let stream = shell.streams.keys().nth(a as usize % 4).copied();
        let known = channels.get(&channel).map(|known| known.open);
        match kind {
            0 => {
                let key = ["a", "b"][a as usize % 2];
                let client = ["one", "two"][b as usize % 2];
                if shell.session.status().channels.len() < 6 {
                    let batches = second % 7;
                    let number = shell.open(key, client, 3 * batches as u32, 1 + a as u32 % 4);
                    prop_assert_eq!(number, channels.len() as u64 + 1, "numbers rise");
                    let known = Known {
                        epoch: None,
                        batches,
                        open: true,
                    };
                    channels.insert(number, known);
                }
            }
            1..=2 => {
                let started = shell.start(channel, second % 5);
                match channels.get_mut(&channel) {
                    None => prop_assert_eq!(started, Err(StoreError::UnknownChannel(channel))),
                    Some(known) if !known.open => prop_assert_eq!(started, Ok(Start::Closed)),
                    Some(known) => {
                        let epoch = known.epoch.map_or(second % 5, |at| at.max(second % 5));
                        known.epoch = Some(epoch);
                        match started {
                            Ok(Start::Running(begun)) => {
                                prop_assert_eq!(begun.epoch, epoch);
                                prop_assert_eq!(begun.batches, known.batches);
                            }
                            other => prop_assert!(false, "{:?}", other),
                        }
                    }
                }
            }
            3..=4 => {
                let epoch = channels.get(&channel).and_then(|known| known.epoch);
                let from = second % 7;
                let credits = second % 5 * 3;
                let fetched = shell.fetch(channel, epoch.unwrap_or(0), from, credits);
                match (known, epoch) {
                    (None, _) => {
                        prop_assert_eq!(fetched, Err(StoreError::UnknownChannel(channel)));
                    }
                    (Some(false), _) => prop_assert_eq!(fetched, Err(StoreError::Closed)),
                    (Some(true), None) => prop_assert_eq!(fetched, Err(StoreError::NotStarted)),
                    (Some(true), Some(_)) => {
                        let batches = channels[&channel].batches;
                        prop_assert_eq!(fetched.is_ok(), from <= batches);
                    }
                }
            }
            5 => {
                if let Some(stream) = stream {
                    shell.credit(stream, second % 4);
                }
            }
            6..=8 => {
                if let Some(stream) = stream {
                    shell.take(stream);
                }
            }
            9 => {
                if let Some(stream) = stream {
                    tally.done += usize::from(shell.streams[&stream].done);
                    shell.ended(stream);
                }
            }
            10..=14 => {
                if !shell.jobs.is_empty() {
                    let at = a as usize % shell.jobs.len();
                    shell.finish(at, 1 + second % 3000);
                }
            }
            15 => {
                let client = ["one", "two"][a as usize % 2];
                shell.session.renew(shell.now, client);
                shell.observe();
            }
            16 => {
                shell.close(channel);
                if let Some(known) = channels.get_mut(&channel) {
                    known.open = false;
                }
            }
            17 => {
                let later = shell.now + Duration::from_millis(first % 3000);
                let before = shell.session.status().lapsed;
                shell.at(later);
                let status = shell.session.status();
                for (number, known) in &mut channels {
                    known.open &= status.channels.iter().any(|open| open.channel == *number);
                }
                tally.lapsed += status.lapsed - before;
            }
            _ => {
                if !shell.jobs.is_empty() {
                    let job = shell.jobs.remove(0).unwrap();
                    let failed = StoreError::Failed("fault".to_owned());
                    shell.session.sampled(shell.now, job.job, Err(failed));
                    shell.observe();
                }
            }
        }
        let open = channels.values().filter(|known| known.open).count();
        prop_assert_eq!(shell.session.status().channels.len(), open);
        // Batches under way may turn out larger than expected: at most one for each job.
        prop_assert!(shell.session.held <= memory + 3 * (1 << 20));
    }
    let status = shell.session.status();
    (tally.evicted, tally.sends) = (status.evicted, status.batches);
    // Clients that come back and read get all that is left, whatever happened before.
    shell.finish_all();
    let open = shell.session.status().channels;
    for channel in &open {
        let streams: Vec<u64> = shell.streams.keys().copied().collect();
        for stream in streams {
            shell.ended(stream);
        }
        shell.start(channel.channel, 9).unwrap();
        let stream = shell.fetch(channel.channel, 9, 0, 100).unwrap();
        prop_assert_eq!(
            shell.read(stream),
            channel.batches.max(channels[&channel.channel].batches)
        );
        prop_assert!(shell.streams[&stream].done);
    }
    // A drain ends by its deadline at the latest.
    shell.session.drain(shell.now, shell.now + seconds(5));
    shell.observe();
    shell.at(shell.now + seconds(5));
    prop_assert!(shell.stopped.is_some());
    prop_assert_eq!(shell.session.status().memory, 0);
    Ok(tally)
}

#[test]
fn random_events_keep_the_contracts() {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let choices = proptest::collection::vec((0u8..19, any::<u16>(), any::<u16>()), 60..240);
    let seen = std::cell::RefCell::new(Tally::default());
    let memory = prop_oneof![Just(4_000u64), Just(3 << 20), Just(1 << 30)];
    let result = runner.run(&(choices, memory), |(choices, memory)| {
        let tally = events(&choices, memory)?;
        let mut seen = seen.borrow_mut();
        seen.steps += tally.steps;
        seen.sends += tally.sends;
        seen.lapsed += tally.lapsed;
        seen.evicted += tally.evicted;
        seen.done += tally.done;
        Ok(())
    });
    result.unwrap();
    let seen = seen.into_inner();
    // Events that never happened were not tried.
    assert!(seen.steps >= 100_000, "{}", seen.steps);
    assert!(
        seen.sends > 500 && seen.lapsed > 50 && seen.done > 100,
        "{} {} {}",
        seen.sends,
        seen.lapsed,
        seen.done
    );
    assert!(seen.evicted > 0, "{}", seen.evicted);
}
