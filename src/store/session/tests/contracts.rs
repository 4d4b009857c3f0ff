//! Contracts of GiGL's graph store, by their numbers.

use super::shell::Shell;
use super::*;

fn shell() -> Shell {
    Shell::new(SessionConfig::default())
}

fn running(started: Result<Start, StoreError>) -> u64 {
    match started.unwrap() {
        Start::Running(epoch) => epoch.epoch,
        Start::Closed => panic!("closed"),
    }
}

#[test]
fn g12_samplers_are_found_by_their_key() {
    let mut shell = shell();
    let open = |shell: &mut Shell, key| shell.session.open_sampler(shell.now, &spec(key));
    let first = open(&mut shell, "a").unwrap();
    assert_eq!(open(&mut shell, "a").unwrap(), first);
    // G16: other loaders have other samplers.
    assert_ne!(open(&mut shell, "b").unwrap(), first);
}

#[test]
fn g14_a_sampler_that_fails_leaves_nothing_and_may_be_tried_again() {
    let bad = SamplerSpec {
        key: String::new(),
        ..spec("a")
    };
    let error = bad.check(&**GRAPH, 1 << 20).unwrap_err();
    assert!(error.to_string().contains("key: 0 bytes"), "{error}");
    let mut shell = Shell::new(SessionConfig {
        most_samplers: 1,
        ..SessionConfig::default()
    });
    let first = shell.session.open_sampler(shell.now, &spec("a")).unwrap();
    let error = shell.session.open_sampler(shell.now, &spec("b"));
    let expected = StoreError::Limit {
        what: "samplers",
        found: 2,
        most: 1,
    };
    assert_eq!(error, Err(expected));
    assert_eq!(shell.session.status().samplers, 1);
    // After its lease, a sampler that no channel uses makes room.
    shell.at(seconds(10));
    let second = shell.session.open_sampler(shell.now, &spec("b")).unwrap();
    assert!(second > first);
    assert_eq!(
        shell.session.sampler(first),
        Err(StoreError::UnknownSampler(first))
    );
}

#[test]
fn g15_a_sampler_that_is_opened_while_its_last_channel_ends_is_whole() {
    let mut shell = shell();
    let channel = shell.open("a", "client", 30, 4);
    shell.start(channel, 1).unwrap();
    assert!(!shell.jobs.is_empty());
    shell.close(channel);
    // Batches of the closed channel are still under way.
    let other = SamplerSpec {
        seed: 5,
        ..spec("a")
    };
    let sampler = shell.session.open_sampler(shell.now, &other).unwrap();
    let plan = channel_plan(&other, 9);
    let opened = shell
        .session
        .open_channel(shell.now, "client", "new", sampler, plan, window(2));
    let opened = opened.unwrap();
    shell.start(opened, 1).unwrap();
    let stream = shell.fetch(opened, 1, 0, 9).unwrap();
    assert_eq!(shell.read(stream), 3);
    assert!(shell.streams[&stream].done);
}

#[test]
fn g17_settings_of_a_key_are_equal_while_channels_use_them() {
    let mut shell = shell();
    let channel = shell.open("a", "client", 30, 4);
    let other = SamplerSpec {
        drop_last: true,
        ..spec("a")
    };
    let error = shell.session.open_sampler(shell.now, &other).unwrap_err();
    assert!(error.to_string().contains("other drop_last"), "{error}");
    shell.close(channel);
    shell.session.open_sampler(shell.now, &other).unwrap();
}

#[test]
fn g18_channel_numbers_rise_and_failures_leave_nothing() {
    let mut shell = shell();
    let plan = || channel_plan(&spec("a"), 3);
    let unknown = shell
        .session
        .open_channel(shell.now, "client", "t", 9, plan(), window(1));
    assert_eq!(unknown, Err(StoreError::UnknownSampler(9)));
    assert_eq!(shell.session.status().channels, []);
    let first = shell.open("a", "client", 3, 1);
    shell.close(first);
    let second = shell.open("a", "client", 3, 1);
    assert!(second > first);
    // A token gives the same channel, but not for other seeds.
    let sampler = shell.session.open_sampler(shell.now, &spec("a")).unwrap();
    let mut again = |token: &str, seeds| {
        let plan = channel_plan(&spec("a"), seeds);
        let now = shell.now;
        shell
            .session
            .open_channel(now, "client", token, sampler, plan, window(1))
    };
    let third = again("mine", 6).unwrap();
    assert_eq!(again("mine", 6), Ok(third));
    let error = again("mine", 9).unwrap_err();
    assert!(error.to_string().contains("other seeds"), "{error}");
}

#[test]
fn g19_channels_without_seeds_are_done_at_once() {
    let mut shell = shell();
    let channel = shell.open("a", "client", 0, 4);
    shell.start(channel, 1).unwrap();
    assert!(shell.jobs.is_empty());
    let stream = shell.fetch(channel, 1, 0, 0).unwrap();
    assert!(shell.streams[&stream].done);
}

#[test]
fn g20_epochs_begin_once_and_never_go_back() {
    let mut shell = shell();
    let channel = shell.open("a", "client", 30, 4);
    assert_eq!(running(shell.start(channel, 3)), 3);
    let ordered = shell.jobs.len();
    assert_eq!(running(shell.start(channel, 3)), 3);
    assert_eq!(running(shell.start(channel, 2)), 3);
    assert_eq!(shell.jobs.len(), ordered);
    let stream = shell.fetch(channel, 3, 0, 100).unwrap();
    assert_eq!(shell.read(stream), 10);
    assert!(shell.streams[&stream].done);
}

#[test]
fn g21_starts_in_any_order_end_at_the_highest() {
    let mut shell = shell();
    let channel = shell.open("a", "client", 30, 4);
    let epochs = [4, 1, 7, 7, 3, 6].map(|epoch| running(shell.start(channel, epoch)));
    assert_eq!(epochs, [4, 4, 7, 7, 7, 7]);
    let stream = shell.fetch(channel, 7, 0, 100).unwrap();
    // Batches of the epochs that were begun before never arrive.
    assert_eq!(shell.read(stream), 10);
    let error = shell.fetch(channel, 4, 0, 1).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("epoch 4, and the channel is in epoch 7")
    );
}

#[test]
fn g22_unknown_channels_are_errors_and_closed_ones_are_not() {
    let mut shell = shell();
    let error = shell.start(7, 1).unwrap_err();
    assert_eq!(error.to_string(), "unknown channel 7");
    assert_eq!(shell.fetch(7, 1, 0, 1), Err(StoreError::UnknownChannel(7)));
    shell.close(7);
    let channel = shell.open("a", "client", 30, 4);
    shell.close(channel);
    shell.close(channel);
    assert_eq!(shell.start(channel, 1), Ok(Start::Closed));
    assert_eq!(shell.start(7, 1), Err(StoreError::UnknownChannel(7)));
}

#[test]
fn g23_batches_come_before_done_and_closed_channels_are_done() {
    let mut shell = shell();
    let channel = shell.open("a", "client", 6, 4);
    assert_eq!(shell.fetch(channel, 1, 0, 1), Err(StoreError::NotStarted));
    shell.start(channel, 1).unwrap();
    shell.finish_all();
    // Both batches are made; the stream gets them, then the end.
    let stream = shell.fetch(channel, 1, 0, 1).unwrap();
    assert_eq!(shell.streams[&stream].next, 1);
    assert!(!shell.streams[&stream].done);
    shell.credit(stream, 1);
    assert!(shell.streams[&stream].done);
    assert_eq!(shell.streams[&stream].untaken, [0, 1]);
    shell.close(channel);
    assert_eq!(shell.fetch(channel, 1, 0, 1), Err(StoreError::Closed));
}

#[test]
fn g24_a_batch_that_cannot_be_drawn_is_raised_at_its_reader() {
    let mut shell = shell();
    let channel = shell.open("a", "client", 12, 4);
    shell.start(channel, 1).unwrap();
    let stream = shell.fetch(channel, 1, 0, 100).unwrap();
    let failed = StoreError::Failed("row 5 is damaged".to_owned());
    // The second batch fails; the first comes before the error.
    let job = shell.jobs.remove(1).unwrap();
    assert_eq!(job.position, 1);
    shell
        .session
        .sampled(shell.now, job.job, Err(failed.clone()));
    shell.observe();
    assert_eq!(shell.streams[&stream].end, None);
    assert_eq!(shell.read(stream), 1);
    let ended = shell.streams[&stream].end.clone();
    assert_eq!(ended, Some(EndReason::Failed(failed)));
    // Until somebody asks again, it is not tried again; then it is.
    assert_eq!(shell.finish_all(), 0);
    let stream = shell.fetch(channel, 1, 1, 100).unwrap();
    assert_eq!(shell.jobs[0].position, 1);
    assert_eq!(shell.read(stream), 3);
    assert!(shell.streams[&stream].done);
}

#[test]
fn g26_batches_are_sent_in_order_whatever_order_they_are_made_in() {
    let mut shell = shell();
    let channel = shell.open("a", "client", 30, 4);
    shell.start(channel, 1).unwrap();
    let stream = shell.fetch(channel, 1, 0, 100).unwrap();
    let mut seen = Vec::new();
    while !shell.jobs.is_empty() {
        // The last that was ordered is the first to be made.
        shell.finish(shell.jobs.len() - 1, 100);
        seen.extend(std::iter::from_fn(|| shell.take(stream)));
    }
    assert!(seen.iter().copied().eq(0..10));
    assert!(shell.streams[&stream].done);
}

#[test]
fn g27_a_channel_with_many_seeds_does_not_starve_one_with_few() {
    let mut shell = Shell::new(SessionConfig {
        jobs: 1,
        ..SessionConfig::default()
    });
    let many = shell.open("a", "client", 6000, 64);
    shell.start(many, 1).unwrap();
    let stream = shell.fetch(many, 1, 0, 1 << 40).unwrap();
    for _ in 0..50 {
        shell.finish(0, 100);
        shell.take(stream);
    }
    let few = shell.open("b", "client", 9, 64);
    shell.start(few, 1).unwrap();
    let light = shell.fetch(few, 1, 0, 100).unwrap();
    // The channel with few seeds gets every other batch.
    for _ in 0..7 {
        shell.finish(0, 100);
        shell.take(stream);
        shell.take(light);
    }
    assert!(shell.streams[&light].done);
}

#[test]
fn g27_shares_are_counted_in_facts() {
    let mut shell = Shell::new(SessionConfig {
        jobs: 1,
        ..SessionConfig::default()
    });
    let mut counts = [0u32; 2];
    let channels = ["a", "b"].map(|key| shell.open(key, "client", 60_000, 4));
    let streams = channels.map(|channel| {
        shell.start(channel, 1).unwrap();
        shell.fetch(channel, 1, 0, 1 << 40).unwrap()
    });
    for _ in 0..2200 {
        let job = shell.jobs[0].job;
        let of = shell.session.jobs[&job].0;
        let heavy = of == channels[0];
        counts[usize::from(!heavy)] += 1;
        // A batch of the first channel has ten times as many facts.
        shell.finish(0, if heavy { 1000 } else { 100 });
        for stream in streams {
            shell.take(stream);
        }
    }
    let [heavy, light] = counts.map(f64::from);
    assert!((light / heavy - 10.0).abs() < 0.5, "{counts:?}");
}

#[test]
fn g28_a_channel_with_a_full_window_is_parked_until_a_batch_is_sent() {
    let mut shell = shell();
    let channel = shell.open("a", "client", 30, 3);
    shell.start(channel, 1).unwrap();
    assert_eq!(shell.finish_all(), 3);
    assert_eq!(shell.session.status().parked, 1);
    let stream = shell.fetch(channel, 1, 0, 1).unwrap();
    assert_eq!(shell.finish_all(), 1);
    assert_eq!(shell.session.status().parked, 1);
    shell.credit(stream, 100);
    assert_eq!(shell.read(stream), 10);
    assert!(shell.streams[&stream].done);
}

#[test]
fn g29_a_paused_client_stalls_nobody() {
    let mut shell = shell();
    let paused = shell.open("a", "paused", 3000, 4);
    shell.start(paused, 1).unwrap();
    let stuck = shell.fetch(paused, 1, 0, 1 << 40).unwrap();
    shell.finish_all();
    let other = shell.open("b", "other", 30, 4);
    for epoch in 1..=2 {
        shell.start(other, epoch).unwrap();
        let stream = shell.fetch(other, epoch, 0, 100).unwrap();
        assert_eq!(shell.read(stream), 10);
        assert!(shell.streams[&stream].done);
        shell.ended(stream);
    }
    // Two batches are on their way, and the window is full.
    assert_eq!(shell.streams[&stuck].untaken.len(), 2);
    assert_eq!(shell.session.status().channels[0].ahead, 4);
    // After its lease the client is gone; the other one is not.
    shell.session.renew(seconds(9), "other");
    shell.at(seconds(10));
    assert_eq!(shell.streams[&stuck].end, Some(EndReason::Lapsed));
    let left = shell.session.status();
    assert_eq!((left.channels.len(), left.lapsed, left.memory), (1, 1, 120));
}

#[test]
fn g30_parked_channels_do_nothing() {
    let mut shell = shell();
    let channels: Vec<u64> = (0..100).map(|_| shell.open("a", "client", 30, 1)).collect();
    for &channel in &channels {
        shell.start(channel, 1).unwrap();
        shell.finish_all();
        shell.fetch(channel, 1, 0, 0).unwrap();
    }
    let actions = shell.actions;
    assert_eq!(shell.session.next_deadline(), None);
    shell.at(seconds(100_000));
    assert_eq!(shell.actions, actions);
    assert_eq!(shell.session.status().parked, 100);
}

/// A channel that is fetched, with batches under way, and its stream.
fn fetched(shell: &mut Shell) -> (u64, u64) {
    let channel = shell.open("a", "client", 30, 4);
    shell.start(channel, 1).unwrap();
    let stream = shell.fetch(channel, 1, 0, 100).unwrap();
    shell.finish(0, 100);
    (channel, stream)
}

#[test]
fn g34_closing_is_idempotent() {
    let mut shell = shell();
    let (channel, stream) = fetched(&mut shell);
    for _ in 0..2 {
        shell.close(channel);
        assert_eq!(shell.streams[&stream].end, Some(EndReason::Closed));
        let status = shell.session.status();
        assert_eq!((status.channels.len(), status.memory), (0, 0));
    }
    // Numbers that were never given are left alone.
    for never in [0, channel + 1, u64::MAX] {
        shell.close(never);
    }
    assert_eq!(shell.open("a", "client", 30, 4), channel + 1);
}

#[test]
fn g35_a_sampler_outlives_its_channels() {
    let mut shell = shell();
    let (channel, _) = fetched(&mut shell);
    let other = shell.open("a", "client", 30, 4);
    for (closed, left) in [(channel, 1), (other, 0)] {
        shell.close(closed);
        shell.finish_all();
        let status = shell.session.status();
        assert_eq!((status.samplers, status.channels.len()), (1, left));
    }
    // After its last channel it is kept for its lease, then forgotten.
    shell.at(seconds(9));
    assert_eq!(shell.session.status().samplers, 1);
    shell.at(seconds(10));
    assert_eq!(shell.session.status().samplers, 0);
    assert_eq!(shell.session.next_deadline(), None);
}

#[test]
fn g37_closing_returns_at_once_and_batches_under_way_are_dropped_as_they_arrive() {
    let mut shell = shell();
    let (channel, stream) = fetched(&mut shell);
    let under_way = shell.jobs.len();
    assert!(under_way > 0);
    shell.close(channel);
    assert_eq!(shell.session.status().jobs, under_way);
    let seen = shell.streams[&stream].next;
    assert_eq!(shell.finish_all(), under_way);
    let status = shell.session.status();
    assert_eq!((status.jobs, status.memory), (0, 0));
    assert_eq!(shell.streams[&stream].next, seen);
}

#[test]
fn answers_to_single_calls_count_as_memory() {
    let mut shell = Shell::new(SessionConfig {
        memory: 1000,
        ..SessionConfig::default()
    });
    // One answer is taken whatever it has, and no second one beside it.
    shell.session.hold_answer(900).unwrap();
    let error = shell.session.hold_answer(1).unwrap_err().to_string();
    assert!(error.contains("901, and the store allows 500"), "{error}");
    assert_eq!(shell.session.status().memory, 900);
    shell.session.release_answer(shell.now, 900);
    shell.session.hold_answer(300).unwrap();
    shell.session.hold_answer(200).unwrap();
    shell.session.hold_answer(1).unwrap_err();
    // Seeds that clients list share the half with them.
    let sampler = shell.session.open_sampler(shell.now, &spec("a")).unwrap();
    let plan = channel_plan(&spec("a"), 3);
    let open = |shell: &mut Shell, plan| {
        let now = shell.now;
        let session = &mut shell.session;
        session.open_channel(now, "client", "t", sampler, plan, window(1))
    };
    let error = open(&mut shell, plan).unwrap_err().to_string();
    assert!(error.contains("512, and the store allows 500"), "{error}");
    shell.session.release_answer(shell.now, 300);
    let plan = channel_plan(&spec("a"), 3);
    open(&mut shell, plan).unwrap();
    assert_eq!(shell.session.status().memory, 212);
}

#[test]
fn g36_a_closed_channel_begins_no_epoch() {
    let mut shell = shell();
    let channel = shell.open("a", "client", 30, 4);
    shell.close(channel);
    assert_eq!(shell.start(channel, 5), Ok(Start::Closed));
    assert!(shell.jobs.is_empty());
}

#[test]
fn g38_closing_a_channel_leaves_others_alone() {
    let mut shell = shell();
    let channels = ["a", "b"].map(|key| shell.open(key, "client", 30, 4));
    let streams = channels.map(|channel| {
        shell.start(channel, 1).unwrap();
        shell.fetch(channel, 1, 0, 100).unwrap()
    });
    shell.close(channels[0]);
    assert_eq!(shell.read(streams[1]), 10);
    assert!(shell.streams[&streams[1]].done);
}

#[test]
fn g40_drains_when_the_epochs_that_run_have_ended() {
    let mut shell = shell();
    let [running, idle] = ["a", "b"].map(|key| shell.open(key, "client", 30, 4));
    shell.start(running, 1).unwrap();
    let stream = shell.fetch(running, 1, 0, 100).unwrap();
    shell.session.drain(shell.now, seconds(60));
    shell.observe();
    assert_eq!(shell.start(idle, 1), Ok(Start::Closed));
    assert_eq!(shell.start(running, 2), Err(StoreError::Draining));
    let sampler = shell.session.open_sampler(shell.now, &spec("c"));
    assert_eq!(sampler, Err(StoreError::Draining));
    assert_eq!(shell.read(stream), 10);
    assert!(shell.streams[&stream].done);
    assert_eq!(shell.stopped, None);
    shell.ended(stream);
    assert_eq!(shell.stopped, Some(Vec::new()));
}

#[test]
fn g41_channels_that_are_cut_off_are_named() {
    let mut shell = shell();
    let channel = shell.open("a", "trainer 3", 30, 4);
    let lapsing = shell.open("a", "gone", 30, 4);
    for channel in [channel, lapsing] {
        shell.start(channel, 1).unwrap();
    }
    let stream = shell.fetch(channel, 1, 0, 3).unwrap();
    shell.read(stream);
    shell.session.drain(seconds(1), seconds(30));
    shell.observe();
    assert_eq!(shell.session.next_deadline(), Some(seconds(10)));
    shell.at(seconds(10));
    shell.at(seconds(30));
    assert_eq!(shell.streams[&stream].end, Some(EndReason::CutOff));
    let cut_off = CutOff {
        channel,
        client: "trainer 3".to_owned(),
        left: 7,
    };
    assert_eq!(shell.stopped, Some(vec![cut_off]));
}

#[test]
fn a_lease_ends_unless_the_client_calls_or_its_stream_is_open() {
    let mut shell = shell();
    let [quiet, renewed, streaming] =
        ["quiet", "renewed", "streaming"].map(|client| shell.open("a", client, 30, 4));
    shell.start(streaming, 1).unwrap();
    let stream = shell.fetch(streaming, 1, 0, 0).unwrap();
    shell.at(seconds(9));
    assert_eq!(shell.session.renew(shell.now, "renewed"), 1);
    shell.at(seconds(10));
    assert_eq!(shell.start(quiet, 1), Ok(Start::Closed));
    let open = |shell: &Shell| -> Vec<u64> {
        let channels = shell.session.status().channels;
        channels.iter().map(|channel| channel.channel).collect()
    };
    assert_eq!(open(&shell), [renewed, streaming]);
    shell.at(seconds(1000));
    assert_eq!(open(&shell), [streaming]);
    // The stream has gone: the lease begins.
    shell.ended(stream);
    shell.at(seconds(1009));
    assert_eq!(open(&shell), [streaming]);
    shell.at(seconds(1010));
    assert_eq!(open(&shell), [0u64; 0]);
}

#[test]
fn any_batch_can_be_asked_for_again() {
    let mut shell = shell();
    let channel = shell.open("a", "client", 30, 4);
    shell.start(channel, 1).unwrap();
    for from in [0, 7, 3, 10, 9, 0] {
        let stream = shell.fetch(channel, 1, from, 100).unwrap();
        assert_eq!(shell.read(stream), 10 - from);
        assert!(shell.streams[&stream].done);
    }
    let error = shell.fetch(channel, 1, 11, 1).unwrap_err();
    assert!(error.to_string().contains("position 11"), "{error}");
    // A new stream ends the one before.
    let first = shell.fetch(channel, 1, 0, 0).unwrap();
    shell.fetch(channel, 1, 0, 0).unwrap();
    assert_eq!(shell.streams[&first].end, Some(EndReason::Replaced));
}

#[test]
fn memory_is_bounded_and_clients_that_wait_come_first() {
    let memory = 20_000_000;
    let mut shell = Shell::new(SessionConfig {
        memory,
        jobs: 2,
        ..SessionConfig::default()
    });
    // Ten clients without streams fill half of the memory. Two batches at once turn out 1 MB larger than expected.
    let idle: Vec<u64> = (0..10).map(|_| shell.open("a", "idle", 600, 64)).collect();
    for &channel in &idle {
        shell.start(channel, 1).unwrap();
    }
    while shell.finish(0, 2_000_000).is_some() {}
    let ahead = shell.session.status().memory;
    assert!((8_000_000..=12_000_000).contains(&ahead), "{ahead}");
    // Streams that do not read, and then one that does: it gets all of its batches.
    for &channel in &idle[..5] {
        shell.fetch(channel, 1, 0, 1 << 40).unwrap();
        while shell.finish(0, 2_000_000).is_some() {}
    }
    assert!(shell.session.status().memory <= memory + 2_000_000);
    let reading = shell.open("b", "reading", 30, 4);
    shell.start(reading, 1).unwrap();
    let stream = shell.fetch(reading, 1, 0, 100).unwrap();
    for _ in 0..100 {
        shell.finish(0, 2_000_000);
        assert!(shell.session.status().memory <= memory + 4_000_000);
        shell.take(stream);
    }
    assert!(shell.streams[&stream].done);
}

#[test]
fn lists_of_seeds_count_as_memory() {
    let mut shell = Shell::new(SessionConfig {
        memory: 1000,
        ..SessionConfig::default()
    });
    shell.open("a", "client", 100, 1);
    let sampler = shell.session.open_sampler(shell.now, &spec("a")).unwrap();
    let plan = channel_plan(&spec("a"), 30);
    let refused = shell
        .session
        .open_channel(shell.now, "client", "t", sampler, plan, window(1));
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("520, and the store allows 500"), "{error}");
}
