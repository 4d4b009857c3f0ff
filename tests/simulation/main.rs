//! Whole runs on simulated time: nodes, leaders and records of leaders under seeded schedules of delay, loss, crash
//! and restart.
//!
//! Sessions, requests for rows, shards, placement, the coordinator and the registry are those of the library. The
//! network and the arithmetic of a step are simulated, so that a schedule depends on nothing but its seed: one
//! thread, and a clock that jumps to the next event. (Simulators of sockets, such as turmoil, come in below the
//! transport, and count every millisecond of every host; a schedule of two simulated minutes would take seconds.)

// As in the library: futures hold shards, and these wgpu's types.
#![recursion_limit = "256"]

mod arithmetic;
mod faults;
mod leader;
mod model;
mod network;
mod process;
mod world;
mod zombies;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use self::world::{Outcome, World};

/// Variable with the schedules to run: a number of them, or `FIRST..END`; or one seed as `SEED..SEED`, whose course
/// is printed.
const SEEDS: &str = "SHARDLOOM_SIMULATION_SEEDS";
/// Schedules of a run without the variable.
const DEFAULT: u64 = 300;

/// Schedules to run, and whether to print their course.
fn seeds() -> (std::ops::Range<u64>, bool) {
    let Ok(text) = std::env::var(SEEDS) else {
        return (0..DEFAULT, false);
    };
    let number = |text: &str| -> u64 { text.parse().expect(SEEDS) };
    match text.split_once("..") {
        None => (0..number(&text), false),
        Some((first, end)) if first == end => (number(first)..number(first) + 1, true),
        Some((first, end)) => (number(first)..number(end), false),
    }
}

/// Runs a schedule.
fn simulate(seed: u64, unfenced: bool) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(World::run(seed, unfenced))
}

#[test]
fn runs_end_with_equal_tables_whatever_the_schedule() {
    let (seeds, print) = seeds();
    let count = seeds.end - seeds.start;
    let next = AtomicU64::new(seeds.start);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let mut all = Outcome::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return all;
            }
            let outcome = simulate(seed, false);
            if print {
                println!("{}", outcome.course.join("\n"));
            }
            assert!(
                outcome.violations.is_empty(),
                "{:#?}\nrepeat with {SEEDS}={seed}..{seed}",
                outcome.violations
            );
            all.add(&outcome);
        }
    };
    let start = std::time::Instant::now();
    let all = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut all = Outcome::default();
        for worker in workers {
            match worker.join() {
                Ok(outcome) => all.add(&outcome),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    });
    println!(
        "{count} schedules in {:.1?}: {}",
        start.elapsed(),
        all.figures
    );
    if count >= DEFAULT {
        // The schedules do what they are for.
        let figures = all.figures;
        assert!(figures.losses > count, "{figures}");
        assert!(figures.returns > count / 20, "{figures}");
        assert!(figures.leaders > count + count / 5, "{figures}");
        assert!(figures.deposed > count / 100, "{figures}");
        assert!(figures.refused > count, "{figures}");
    }
}

#[test]
fn a_schedule_repeats() {
    for seed in 0..12 {
        let [first, second] = [0, 1].map(|_| simulate(seed, false).course);
        for (line, again) in first.iter().zip(&second) {
            assert_eq!(line, again, "seed {seed}");
        }
        assert_eq!(first.len(), second.len(), "seed {seed}");
    }
}

/// The requests of a node that is behind do harm where nobody refuses them.
#[test]
fn without_fences_a_schedule_ends_with_other_tables() {
    let broken = (0..200).find(|&seed| !simulate(seed, true).violations.is_empty());
    assert!(broken.is_some(), "the schedules find nothing");
}

/// One model for all schedules.
fn model() -> Arc<model::Model> {
    static MODEL: std::sync::OnceLock<Arc<model::Model>> = std::sync::OnceLock::new();
    // A runtime of its own, because the first caller has one already.
    let make = || {
        std::thread::scope(|scope| {
            let made = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().build();
                Arc::new(runtime.unwrap().block_on(model::Model::make()))
            });
            made.join().unwrap()
        })
    };
    Arc::clone(MODEL.get_or_init(make))
}
