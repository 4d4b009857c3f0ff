//! Clients that stop reading or leave, leases, memory limits, and the end of a server.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use shardloom::net::graph_store::ServerOptions;
use shardloom::store::{ChannelSpec, GraphStore, Next, StoreError, Window};

use crate::fixture::{Served, epoch, graph, next, rank, sampler, wait_until};

/// A rank whose window is wide.
fn wide(batches: u32) -> ChannelSpec {
    ChannelSpec {
        window: Window {
            batches: NonZeroU32::new(batches).unwrap(),
            bytes: 1 << 30,
        },
        ..rank(0, 1)
    }
}

/// Rank of a long epoch: all facts, in small batches.
fn long(key: &str) -> shardloom::store::SamplerSpec {
    let mut spec = sampler(key);
    spec.batch_size = NonZeroU32::new(16).unwrap();
    spec
}

#[test]
fn a_client_that_stops_reading_stalls_nobody() {
    let served = Served::new(graph());
    let client = served.client();
    // The time alone.
    let mut alone = client.open(&sampler("alone"), &rank(0, 1)).unwrap();
    epoch(&mut *alone, 1);
    let begun = Instant::now();
    epoch(&mut *alone, 2);
    let usual = begun.elapsed();
    let idle = served.client();
    let mut stopped = Vec::new();
    for number in 0..8 {
        let mut channel = idle
            .open(&long(&format!("stopped {number}")), &rank(0, 1))
            .unwrap();
        channel.start(1).unwrap();
        next(&mut *channel).unwrap();
        stopped.push(channel);
    }
    let begun = Instant::now();
    epoch(&mut *alone, 3);
    epoch(&mut *alone, 4);
    let took = begun.elapsed() / 2;
    // Their windows are full, so that they take no time.
    assert!(
        took < 2 * usual + Duration::from_millis(300),
        "{took:?} instead of {usual:?}"
    );
    for mut channel in stopped {
        next(&mut *channel).unwrap();
    }
}

#[test]
fn memory_of_waiting_batches_keeps_to_the_limit_and_everyone_finishes() {
    let limit = 2 << 20;
    let options = ServerOptions {
        memory_limit: limit,
        threads: NonZeroU32::new(2).unwrap(),
        ..ServerOptions::default()
    };
    let served = Served::with(graph(), &options);
    let expected = {
        let mut channel = served.channel();
        epoch(&mut *channel, 1)
    };
    let largest = expected
        .iter()
        .map(|(_, bytes)| bytes.len() as u64)
        .max()
        .unwrap();
    let watcher = served.client();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watched = scope.spawn(|| {
            let mut most = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                most = most.max(crate::fixture::count(&watcher, "memory_bytes"));
            }
            most
        });
        let clients = (0..6).map(|number| {
            let (served, expected) = (&served, &expected);
            scope.spawn(move || {
                let spec = sampler(&format!("loader {number}"));
                let mut channel = served.client().open(&spec, &wide(64)).unwrap();
                channel.start(1).unwrap();
                if number % 2 == 0 {
                    // Slow readers.
                    std::thread::sleep(Duration::from_millis(400));
                }
                assert_eq!(&epoch(&mut *channel, 1), expected);
            })
        });
        let clients: Vec<_> = clients.collect();
        clients
            .into_iter()
            .for_each(|client| client.join().unwrap());
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        let most = watched.join().unwrap();
        // Batches that are being drawn when the limit is reached come on top.
        assert!(
            most <= limit + 2 * largest,
            "{most} bytes, and the limit is {limit}"
        );
    });
}

#[test]
fn channels_of_silent_clients_close_and_their_owners_go_on() {
    let options = ServerOptions {
        lease: Duration::from_millis(300),
        ..ServerOptions::default()
    };
    let served = Served::with(graph(), &options);
    let mut channel = served.channel();
    let all = epoch(&mut *channel, 1);
    wait_until("the end of the lease", || served.count("channels") == 0);
    assert_eq!(served.count("lapsed_channels_total"), 1);
    wait_until("the end of the sampler", || served.count("samplers") == 0);
    assert_eq!(epoch(&mut *channel, 2).len(), all.len());
    // An open fetch prolongs the lease.
    channel.start(3).unwrap();
    next(&mut *channel).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(served.count("channels"), 1);
    channel.close().unwrap();
    assert_eq!(served.count("channels"), 0);
}

#[test]
fn a_fetch_may_begin_anywhere_again_and_again() {
    let served = Served::new(graph());
    let mut channel = served.channel();
    let all = epoch(&mut *channel, 1);
    let mut again = served.channel();
    again.start(1).unwrap();
    for position in [39, 0, 17, 17, 5] {
        again.seek(position).unwrap();
        let found = next(&mut *again).unwrap();
        assert_eq!(
            shardloom::store::packed::encode(&found),
            all[position as usize].1
        );
    }
}

#[test]
fn a_server_that_ends_finishes_epochs_and_refuses_new_ones() {
    let served = Served::new(graph());
    let client = served.client();
    let mut running = client.open(&sampler("running"), &rank(0, 1)).unwrap();
    let mut idle = client.open(&sampler("idle"), &rank(0, 1)).unwrap();
    running.start(1).unwrap();
    next(&mut *running).unwrap();
    // The channel without an epoch is closed.
    assert_eq!(client.drain().unwrap(), 1);
    let refused = client.open(&sampler("late"), &rank(0, 1)).err().unwrap();
    assert!(refused.to_string().contains("the store ends"), "{refused}");
    // A client waits for the server that takes the place of this one.
    let waiting = std::thread::spawn(move || idle.start(1));
    while next(&mut *running).is_some() {}
    let begun = Instant::now();
    assert_eq!(served.end(), []);
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    drop(waiting);
}

#[test]
fn an_epoch_that_nobody_fetches_is_cut_off_after_the_deadline() {
    let options = ServerOptions {
        drain: Duration::from_millis(200),
        ..ServerOptions::default()
    };
    let served = Served::with(graph(), &options);
    let mut channel = served.channel();
    channel.start(1).unwrap();
    let begun = Instant::now();
    let cut_off = served.end();
    assert_eq!(cut_off.len(), 1);
    // The first window may have been sent.
    assert!((36..=40).contains(&cut_off[0].left), "{cut_off:?}");
    assert!(
        begun.elapsed() < Duration::from_millis(1500),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn nothing_in_time_changes_nothing() {
    let served = Served::new(graph());
    let mut channel = served.channel();
    assert_eq!(channel.next(Duration::ZERO), Err(StoreError::NotStarted));
    channel.start(1).unwrap();
    let mut batches = 0;
    loop {
        match channel.next(Duration::ZERO) {
            Ok(Next::Batch(sampled)) => {
                assert_eq!(sampled.draw.index, batches);
                batches += 1;
            }
            Ok(Next::Done(_)) => break,
            Err(StoreError::Timeout(_)) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(batches, 40);
}
