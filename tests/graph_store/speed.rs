//! Costs of a server, compared with a store within the process. On an idle machine:
//! `cargo test --release --test graph_store speed -- --ignored --nocapture`.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shardloom::graph::{Builder, Graph};
use shardloom::neighborhood::SamplePlan;
use shardloom::store::{Channel, ChannelSpec, GraphStore, Local, Next, Order, SamplerSpec};

use crate::fixture::{LIMIT, Process, Served, graph, next, rank, sampler};

/// Batches that are measured, after some that warm up.
const BATCHES: u64 = 200;

/// Writes a graph of a million nodes and ten million facts.
fn large_graph(directory: &Path) -> std::path::PathBuf {
    let path = directory.join("large.graph");
    let facts = crate::fixture::facts(1_000_000, 10_000_000, 1);
    Builder::new(1_000_000, 1).write(&facts, &path).unwrap();
    path
}

fn loader() -> SamplerSpec {
    let plan = SamplePlan::uniform(&[15, 10, 5]);
    let mut spec = SamplerSpec::new("speed", plan, NonZeroU32::new(1024).unwrap());
    spec.order = Order::Shuffled;
    spec
}

/// Processor time of a process, in seconds; of this one without a number.
fn processor_time(process: Option<u32>) -> f64 {
    let process = process.map_or("self".to_owned(), |id| id.to_string());
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = text
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    // User and system time, in ticks of 10 ms.
    let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}

/// Processor time of both ends for a batch, in milliseconds.
fn cost(channel: &mut dyn Channel, epoch: u64, server: Option<u32>) -> f64 {
    channel.start(epoch).unwrap();
    let take = |channel: &mut dyn Channel, batches: u64| {
        for _ in 0..batches {
            assert!(next(channel).unwrap().batch.facts() > 10_000);
        }
    };
    take(channel, 20);
    let both = || processor_time(None) + server.map_or(0.0, |server| processor_time(Some(server)));
    let before = both();
    take(channel, BATCHES);
    (both() - before) / BATCHES as f64 * 1e3
}

#[test]
#[ignore = "measures: on an idle machine"]
fn serving_costs_little_more_than_sampling() {
    let directory = tempfile::tempdir().unwrap();
    let file = large_graph(directory.path());
    let socket = format!("unix:{}", directory.path().join("store.sock").display());
    let arguments = ["--threads", "1", "--listen", &socket];
    let unix = Process::start(&file, &arguments);
    let tcp = Process::start(&file, &["--threads", "1", "--listen", "127.0.0.1:0"]);
    let local = Local::new(Arc::new(Graph::open(&file).unwrap()), NonZeroU32::MIN).unwrap();
    let mut channels: Vec<(&str, Box<dyn Channel>, Option<u32>)> = vec![
        (
            "in process",
            local.open(&loader(), &ChannelSpec::default()).unwrap(),
            None,
        ),
        (
            "Unix socket",
            unix.client()
                .open(&loader(), &ChannelSpec::default())
                .unwrap(),
            Some(unix.child.id()),
        ),
        (
            "TCP",
            tcp.client()
                .open(&loader(), &ChannelSpec::default())
                .unwrap(),
            Some(tcp.child.id()),
        ),
    ];
    let mut costs = vec![Vec::new(); channels.len()];
    for epoch in 1..=5 {
        for (at, (_, channel, server)) in channels.iter_mut().enumerate() {
            costs[at].push(cost(&mut **channel, epoch, *server));
        }
    }
    let medians: Vec<f64> = costs
        .iter_mut()
        .map(|of| {
            of.sort_by(f64::total_cmp);
            of[of.len() / 2]
        })
        .collect();
    for (median, (name, ..)) in medians.iter().zip(&channels) {
        println!(
            "{name}: {median:.2} ms of processor time a batch, {:.2} ×",
            median / medians[0]
        );
    }
    assert!(medians[1] <= 1.25 * medians[0], "a Unix socket");
    assert!(medians[2] <= 1.35 * medians[0], "TCP");
}

#[test]
#[ignore = "measures: on an idle machine"]
fn the_end_of_an_epoch_comes_at_once() {
    let served = Served::new(graph());
    let mut channel = served.channel();
    let mut longest = Duration::ZERO;
    for epoch in 1..=10 {
        let begun = channel.start(epoch).unwrap();
        for _ in 0..begun.batches {
            next(&mut *channel).unwrap();
        }
        let last = Instant::now();
        assert!(matches!(channel.next(LIMIT).unwrap(), Next::Done(_)));
        longest = longest.max(last.elapsed());
    }
    println!("the end comes {longest:?} after the last batch, at most");
    assert!(longest <= Duration::from_millis(5));
}

#[test]
#[ignore = "measures: on an idle machine"]
fn idle_channels_take_little() {
    let directory = tempfile::tempdir().unwrap();
    let file = crate::fixture::graph_file(directory.path());
    let arguments = [
        "--threads",
        "1",
        "--listen",
        "127.0.0.1:0",
        "--lease",
        "600",
    ];
    let server = Process::start(&file, &arguments);
    let memory = || crate::fixture::anonymous_memory(server.child.id());
    let client = server.client();
    let mut channel = client.open(&sampler("first"), &rank(0, 1)).unwrap();
    crate::fixture::epoch(&mut *channel, 1);
    let before = memory();
    let open = |number: u32| client.open(&sampler(&format!("loader {number}")), &rank(0, 1));
    let channels: Vec<_> = (0..1000).map(|number| open(number).unwrap()).collect();
    let more = memory().saturating_sub(before);
    let used = processor_time(Some(server.child.id()));
    std::thread::sleep(Duration::from_secs(5));
    let idle = processor_time(Some(server.child.id())) - used;
    println!(
        "1,000 idle channels: {:.1} MiB, {:.2} % of a core",
        more as f64 / 1048576.0,
        idle / 5.0 * 100.0
    );
    assert_eq!(channels.len(), 1000);
    assert!(more <= 64 << 20);
    assert!(idle <= 0.05, "{idle} s of 5 s");
}

#[test]
#[ignore = "measures: on an idle machine"]
fn a_large_graph_opens_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let file = large_graph(directory.path());
    let begun = Instant::now();
    let server = Process::start(&file, &["--listen", "127.0.0.1:0"]);
    let took = begun.elapsed();
    println!("{} takes calls after {took:?}", server.addresses[0]);
    assert!(took < Duration::from_secs(1));
}

/// Median of times.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[test]
#[ignore = "measures: on an idle machine"]
fn the_first_batch_of_an_epoch_comes_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let file = large_graph(directory.path());
    let arguments = ["--threads", "1", "--listen", "127.0.0.1:0"];
    let server = Process::start(&file, &arguments);
    let local = Local::new(Arc::new(Graph::open(&file).unwrap()), NonZeroU32::MIN).unwrap();
    let mut here = local.open(&loader(), &ChannelSpec::default()).unwrap();
    let client = server.client();
    let mut there = client.open(&loader(), &ChannelSpec::default()).unwrap();
    let (mut first, mut one) = (Vec::new(), Vec::new());
    for epoch in 1..=40 {
        // One batch alone: drawn in this process, with no other under way.
        here.start(epoch).unwrap();
        let begun = Instant::now();
        here.seek(20).unwrap();
        next(&mut *here).unwrap();
        one.push(begun.elapsed());
        for _ in 0..4 {
            next(&mut *here).unwrap();
        }
        let begun = Instant::now();
        there.start(epoch).unwrap();
        next(&mut *there).unwrap();
        first.push(begun.elapsed());
        // What was made ahead is not on the way of the next epoch.
        std::thread::sleep(Duration::from_millis(100));
    }
    let (first, one) = (median(first), median(one));
    println!("first batch {first:?} after the start of an epoch; one batch takes {one:?}");
    assert!(first <= 2 * one);
}

#[test]
#[ignore = "measures: on an idle machine"]
fn no_fetch_of_many_waits_for_long() {
    const CLIENTS: u32 = 32;
    const CHANNELS: u32 = 8;
    let directory = tempfile::tempdir().unwrap();
    let file = large_graph(directory.path());
    let arguments = ["--threads", "1", "--listen", "127.0.0.1:0"];
    let server = Process::start(&file, &arguments);
    let all_at_once = std::sync::Barrier::new((CLIENTS * CHANNELS) as usize);
    let waits = std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for client in 0..CLIENTS {
            let store = Arc::new(server.client());
            for number in 0..CHANNELS {
                let (store, all_at_once) = (Arc::clone(&store), &all_at_once);
                threads.push(scope.spawn(move || {
                    let mut spec = loader();
                    spec.key = format!("loader {client} {number}");
                    spec.plan = SamplePlan::uniform(&[10, 10]);
                    let mut channel = ChannelSpec::default();
                    // One batch is asked for at a time.
                    channel.window.batches = NonZeroU32::MIN;
                    let mut channel = store.open(&spec, &channel).unwrap();
                    channel.start(1).unwrap();
                    next(&mut *channel).unwrap();
                    all_at_once.wait();
                    let wait = |_| {
                        let begun = Instant::now();
                        next(&mut *channel).unwrap();
                        begun.elapsed()
                    };
                    // The first of them was made ahead.
                    let waits: Vec<Duration> = (0..6).map(wait).collect();
                    waits[2..].to_vec()
                }));
            }
        }
        let waits = threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap());
        waits.collect::<Vec<Duration>>()
    });
    let mean = waits.iter().sum::<Duration>() / waits.len() as u32;
    let longest = waits.iter().max().unwrap();
    println!(
        "{} fetches of {CLIENTS} clients: a batch comes after {mean:?} on average, {longest:?} at most",
        CLIENTS * CHANNELS
    );
    assert!(*longest <= 2 * mean);
}
