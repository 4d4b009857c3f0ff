//! Faults again and again: kills, stops and cut lines, by a seed.

use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::lines::{Line, Passage, work_by};
use super::{Place, Process};

/// Longest time without an epoch.
const STALL: Duration = Duration::from_secs(20);
/// Workers, the last of which joins by a line.
const WORKERS: usize = 3;

/// A run in a storm of some seconds; its faults come every `pause` milliseconds, or later by at most as long again.
fn storm(seed: u64, seconds: u64, pause: u64) {
    println!("seed {seed}");
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let place = Place::new();
    let more = ["--batch-size", "250"];
    let epochs = ["--epochs", "100000000", "--replicas", "2"];
    let mut leader = place.lead_aloud("run", &[&more[..], &epochs].concat());
    let (address, token) = place.leader_of("run");
    let line = Line::to(&address);
    let start = |number: usize| match number + 1 == WORKERS {
        true => work_by(&line, &token),
        false => place.work("run"),
    };
    let mut workers: Vec<Process> = (0..WORKERS).map(start).collect();
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut seen, mut since, mut longest) = (0, Instant::now(), Duration::ZERO);
    let mut calm = |place: &Place, millis: u64| {
        let until = Instant::now() + Duration::from_millis(millis);
        while Instant::now() < until {
            std::thread::sleep(Duration::from_millis(50));
            let epochs = place.epochs("run");
            if epochs > seen {
                (seen, since) = (epochs, Instant::now());
            }
            longest = longest.max(since.elapsed());
            assert!(
                since.elapsed() < STALL,
                "no epoch for {:?}",
                since.elapsed()
            );
        }
        longest
    };
    while Instant::now() < end {
        calm(&place, random.random_range(pause..2 * pause));
        let number = random.random_range(0..WORKERS);
        match random.random_range(0..4) {
            0 | 1 => {
                workers[number].kill();
                calm(&place, random.random_range(0..1000));
            }
            2 => {
                workers[number].signal(libc::SIGSTOP);
                calm(&place, random.random_range(100..4000));
                workers[number].signal(libc::SIGCONT);
            }
            _ => {
                let passage = [Passage::Cut, Passage::Stalled, Passage::Slow];
                line.set(passage[random.random_range(0..3)]);
                calm(&place, random.random_range(100..4000));
                line.set(Passage::Open);
            }
        }
        for (number, worker) in workers.iter_mut().enumerate() {
            if worker.has_ended() {
                *worker = start(number);
            }
        }
        assert!(!leader.has_ended(), "{}", leader.said());
    }
    let longest = calm(&place, 100);
    let said = leader.said();
    println!(
        "{} epochs, {} losses, {} returns to a cut, at most {longest:?} without an epoch",
        place.epochs("run"),
        said.matches("dismissed").count(),
        said.matches("are made again").count(),
    );
    place.end_as_alone("run", &mut leader, &more);
}

#[test]
fn a_run_in_a_storm_ends_with_equal_tables() {
    storm(7, 12, 400);
}

/// `SHARDLOOM_STORM_SEED` and `SHARDLOOM_STORM_SECONDS` change the seed and the half hour.
#[test]
#[ignore = "takes half an hour"]
fn a_run_in_a_long_storm_ends_with_equal_tables() {
    let number = |name: &str, default: u64| {
        let text = std::env::var(name).ok();
        text.map_or(default, |text| text.parse().expect(name))
    };
    let seed = number("SHARDLOOM_STORM_SEED", 1);
    storm(seed, number("SHARDLOOM_STORM_SECONDS", 1800), 2500);
}
