//! Clients that stop reading: others keep their rate, memory keeps to the limit, and after their leases they are gone.

use std::time::Instant;

use shardloom::store::session::SessionStatus;
use shardloom::store::{Channel, GraphStore};

use crate::fixture::{
    Process, anonymous_memory, count, graph_file, next, processor_nanos, rank, sampler,
    signal_process, wait_until,
};
use crate::processes::Trainer;

/// Bytes of waiting batches that the servers may have.
const LIMIT: u64 = 2 << 20;
/// Clients that stop.
const STOPPED: u32 = 4;
/// Comparisons of the two servers, and batches of each.
const ROUNDS: u64 = 40;
const BATCHES: u64 = 20;

/// Nanoseconds of processor time of the server, and of the clock, for a batch.
fn cost(server: &Process, channel: &mut dyn Channel) -> (f64, f64) {
    let id = server.child.id();
    let (used, begun) = (processor_nanos(id), Instant::now());
    for _ in 0..BATCHES {
        next(channel).unwrap();
    }
    let used = (processor_nanos(id) - used) as f64;
    let took = begun.elapsed().as_nanos() as f64;
    (used / BATCHES as f64, took / BATCHES as f64)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[test]
fn clients_that_stop_reading_leave_others_their_rate_and_the_server_its_memory() {
    let directory = tempfile::tempdir().unwrap();
    let file = graph_file(directory.path());
    let limit = format!("{LIMIT}B");
    let start = || {
        let arguments = [
            "--listen",
            "127.0.0.1:0",
            "--threads",
            "1",
            "--memory-limit",
            &limit,
            "--lease",
            "5",
        ];
        Process::start(&file, &arguments)
    };
    // Both servers do the same for the client that reads; one has clients that stop, besides.
    let (alone, shared) = (start(), start());
    let trainers: Vec<_> = (0..STOPPED)
        .map(|rank| {
            let trainer = Trainer {
                rank,
                world: STOPPED,
                from: 0,
                // Ten batches each: all four are started before the first has ended.
                pause: 1_000,
            };
            trainer.start(&shared.addresses[0])
        })
        .collect();
    let watcher = shared.client();
    let of_stopped = |session: &SessionStatus| -> Vec<(u64, u64)> {
        let of = session.channels.iter().filter(|of| of.key == "loader");
        of.map(|of| (of.channel, of.position)).collect()
    };
    wait_until("four epochs", || {
        let running = of_stopped(&watcher.session().unwrap());
        running.len() == STOPPED as usize && running.iter().all(|&(_, position)| position > 0)
    });
    for trainer in &trainers {
        signal_process(trainer.id(), 19);
    }
    let before = of_stopped(&watcher.session().unwrap());
    let drawn = |server: &Process| count(&server.client(), "sampling_seconds_count");
    let (mut costs, mut clocks, mut most) = ([vec![], vec![]], [vec![], vec![]], 0);
    let mut channels = [&alone, &shared].map(|server| {
        let mut spec = sampler("reading");
        // Enough batches for all rounds.
        spec.batch_size = std::num::NonZeroU32::new(10).unwrap();
        let mut channel = server.client().open(&spec, &rank(0, 1)).unwrap();
        channel.start(1).unwrap();
        next(&mut *channel).unwrap();
        channel
    });
    let drawn_before = drawn(&shared);
    for _ in 0..ROUNDS {
        for (at, server) in [&alone, &shared].into_iter().enumerate() {
            let (used, took) = cost(server, &mut *channels[at]);
            costs[at].push(used);
            clocks[at].push(took);
            most = most.max(count(&watcher, "memory_bytes"));
        }
    }
    let made = drawn(&shared) - drawn_before;
    let memory = [&alone, &shared].map(|server| anonymous_memory(server.child.id()));
    let [usual, cost] = costs.map(median);
    let [usual_clock, clock] = clocks.map(median);
    println!(
        "a batch takes {:.0} µs of the server's processor time alone, {:.0} µs beside {STOPPED} clients that \
         have stopped; {:.0} and {:.0} µs by the clock; memory: {most} bytes of batches at most, {} and {} in all",
        usual / 1e3,
        cost / 1e3,
        usual_clock / 1e3,
        clock / 1e3,
        memory[0],
        memory[1]
    );
    // The rate: batches for a second of the processor.
    assert!(usual / cost >= 0.9, "{cost} ns a batch instead of {usual}");
    // No batch is made for those that have stopped: what is made is what was read, and a window.
    let wanted = ROUNDS * BATCHES;
    assert!(made <= wanted + 64, "{made} batches made for {wanted}");
    assert!(most <= LIMIT, "{most} bytes of batches");
    let more = memory[1].saturating_sub(memory[0]);
    assert!(more <= LIMIT, "{more} bytes for clients that have stopped");
    // The server has heard nothing of them since: their leases end.
    wait_until("the end of the leases", || {
        of_stopped(&watcher.session().unwrap()).is_empty()
    });
    assert!(count(&watcher, "lapsed_channels_total") >= before.len() as u64);
    assert_eq!(count(&watcher, "channels"), 1);
    next(&mut *channels[1]).unwrap();
    // A client that goes on comes back, and has all of its batches.
    for trainer in &trainers {
        signal_process(trainer.id(), 18);
    }
    for trainer in trainers {
        let (_, done) = crate::processes::printed(trainer);
        assert!(done);
    }
}
