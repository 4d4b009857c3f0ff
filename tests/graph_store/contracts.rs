//! Contracts of GiGL's graph store that need a server and its clients, by their numbers. The others are beside
//! `store::session` and in `store::tests`.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use shardloom::net::graph_store::message::{
    ChannelInfo, ChannelRequest, CloseReply, CloseRequest, EpochInfo, SamplerInfo, SamplerRequest,
    StartRequest,
};
use shardloom::net::graph_store::{Remote, ServerOptions};
use shardloom::store::{
    ChannelSpec, GraphStore, SamplerSpec, SeedSpec, Select, Slice, StoreError, World,
};
use tonic::Code;

use crate::fixture::{Served, graph, next, rank, sampler, wait_until};
use crate::raw::Raw;

/// Number of a sampler with a key.
fn open_sampler(raw: &Raw, spec: &SamplerSpec) -> u64 {
    let spec = serde_json::to_string(spec).unwrap();
    let info: SamplerInfo = raw.one("OpenSampler", SamplerRequest { spec }).unwrap();
    info.sampler
}

fn channel_request(sampler: u64, name: &str, spec: &str) -> ChannelRequest {
    ChannelRequest {
        sampler,
        client: "a client".to_owned(),
        name: name.to_owned(),
        spec: spec.to_owned(),
        seeds: None,
    }
}

/// Rank of a loader with nodes for seeds.
fn nodes(rank: u32, size: u32) -> ChannelSpec {
    ChannelSpec {
        seeds: SeedSpec::Nodes {
            of: Select::All,
            slice: Slice::WHOLE,
        },
        world: World { rank, size },
        ..ChannelSpec::default()
    }
}

#[test]
fn g09_rank_and_number_of_ranks_come_together_or_not_at_all() {
    let served = Served::new(graph());
    let raw = Raw::new(&served.address);
    let sampler = open_sampler(&raw, &sampler("loader"));
    let open = |name: &str, spec: &str| -> Result<ChannelInfo, tonic::Status> {
        raw.one("OpenChannel", channel_request(sampler, name, spec))
    };
    for (spec, missing) in [
        (r#"{"world": {"rank": 1}}"#, "size"),
        (r#"{"world": {"size": 4}}"#, "rank"),
    ] {
        let refused = open("refused", spec).unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        let expected = format!("spec: missing field `{missing}`");
        assert!(refused.message().starts_with(&expected), "{refused}");
    }
    // Neither: the only rank, which has all batches.
    let batches = |name: &str, spec: &str| {
        let channel = open(name, spec).unwrap().channel;
        let begun: EpochInfo = raw
            .one("StartEpoch", StartRequest { channel, epoch: 1 })
            .unwrap();
        begun.batches
    };
    let all = batches("neither", "{}");
    let half = batches("both", r#"{"world": {"rank": 1, "size": 2}}"#);
    assert_eq!(all, 5_000u64.div_ceil(256));
    assert_eq!(half, all / 2);
}

#[test]
fn g13_clients_that_open_a_key_at_once_share_one_sampler() {
    let options = ServerOptions {
        lease: crate::fixture::LIMIT,
        ..ServerOptions::default()
    };
    let served = Served::with(graph(), &options);
    let numbers = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let raw = Raw::new(&served.address);
                    (0..20)
                        .map(|_| open_sampler(&raw, &sampler("loader")))
                        .collect::<BTreeSet<u64>>()
                })
            })
            .collect();
        let numbers = clients
            .into_iter()
            .flat_map(|client| client.join().unwrap());
        numbers.collect::<BTreeSet<u64>>()
    });
    assert_eq!(numbers.len(), 1);
    assert_eq!(served.count("samplers"), 1);
    // Of clients with different settings, one opens the key: the others get an error that names the field.
    let outcomes = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|seed| {
                let served = &served;
                scope.spawn(move || {
                    let mut spec = sampler("contended");
                    spec.seed = seed;
                    served.client().open(&spec, &rank(0, 1))
                })
            })
            .collect();
        let outcomes = clients.into_iter().map(|client| client.join().unwrap());
        outcomes.collect::<Vec<_>>()
    });
    let (open, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert!(!open.is_empty());
    for refused in refused {
        let told = refused.err().unwrap().to_string();
        // A sampler that has no channel yet gives its key away.
        assert!(
            told.contains("open with another seed") || told.contains("unknown sampler"),
            "{told}"
        );
    }
    assert_eq!(served.count("samplers"), 2);
}

#[test]
fn g16_ranks_of_a_loader_share_a_sampler_and_other_loaders_have_their_own() {
    let served = Served::new(graph());
    let ranks = [Raw::new(&served.address), Raw::new(&served.address)];
    let one = ranks
        .each_ref()
        .map(|raw| open_sampler(raw, &sampler("one")));
    let two = ranks
        .each_ref()
        .map(|raw| open_sampler(raw, &sampler("two")));
    assert_eq!(one[0], one[1]);
    assert_eq!(two[0], two[1]);
    assert_ne!(one[0], two[0]);
}

/// State of the only channel.
fn only_channel(client: &Remote) -> shardloom::store::session::ChannelStatus {
    let mut session = client.session().unwrap();
    assert_eq!(session.channels.len(), 1);
    session.channels.remove(0)
}

#[test]
fn g25_epochs_begin_before_batches_are_asked_for_and_no_more_than_a_window_is_on_its_way() {
    let served = Served::new(graph());
    let watcher = served.client();
    let mut channel = served.channel();
    assert_eq!(channel.next(Duration::ZERO), Err(StoreError::NotStarted));
    // The answer to the start names the epoch: the server has begun it.
    assert_eq!(channel.start(5).unwrap().batches, 40);
    assert_eq!(only_channel(&watcher).epoch, Some(5));
    let window = u64::from(ChannelSpec::default().window.batches.get());
    for taken in 0..3 {
        let full = window + taken;
        wait_until("a window of batches", || {
            only_channel(&watcher).position == full
        });
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(only_channel(&watcher).position, full);
        next(&mut *channel).unwrap();
    }
    // The end comes after all batches.
    let left = std::iter::from_fn(|| next(&mut *channel)).count();
    assert_eq!(left as u64, 40 - 3);
}

#[test]
fn g26_batches_come_in_order_whatever_the_threads() {
    let options = ServerOptions {
        threads: NonZeroU32::new(4).unwrap(),
        ..ServerOptions::default()
    };
    let served = Served::with(graph(), &options);
    let mut two = served
        .client()
        .open(&sampler("loader"), &rank(1, 3))
        .unwrap();
    two.start(1).unwrap();
    let indices = std::iter::from_fn(|| next(&mut *two)).map(|sampled| sampled.draw.index);
    assert_eq!(
        indices.collect::<Vec<u64>>(),
        (1..40).step_by(3).collect::<Vec<u64>>()
    );
}

#[test]
fn g39_channels_are_closed_with_and_without_seeds_and_a_server_that_is_away_is_named() {
    let options = ServerOptions {
        lease: Duration::from_millis(300),
        ..ServerOptions::default()
    };
    let served = Served::with(graph(), &options);
    let none = ChannelSpec {
        seeds: SeedSpec::Listed(Vec::new()),
        ..ChannelSpec::default()
    };
    let mut spec = sampler("nothing");
    spec.labels = None;
    let client = served.client();
    let channels = [
        client.open(&spec, &none).unwrap(),
        client.open(&sampler("loader"), &rank(0, 1)).unwrap(),
    ];
    assert_eq!(served.count("channels"), 2);
    for channel in channels {
        channel.close().unwrap();
    }
    assert_eq!(served.count("channels"), 0);
    wait_until("the end of the samplers", || served.count("samplers") == 0);
    // Closing again, or what was never open, changes nothing.
    let raw = Raw::new(&served.address);
    for channel in [0, 7, u64::MAX] {
        let closed: Result<CloseReply, _> = raw.one("CloseChannel", CloseRequest { channel });
        closed.unwrap();
    }
    let channel = client.open(&sampler("loader"), &rank(0, 1)).unwrap();
    let address = served.address.to_string();
    drop(served);
    let told = channel.close().unwrap_err().to_string();
    assert!(told.contains(&address), "{told}");
}

#[test]
fn g42_loaders_at_once_and_after_one_another_see_every_seed_once() {
    let options = ServerOptions {
        threads: NonZeroU32::new(2).unwrap(),
        ..ServerOptions::default()
    };
    let served = Served::with(graph(), &options);
    let seen = |loader: u32, number: u32| {
        let mut spec = sampler(&format!("loader {loader}"));
        spec.seed = u64::from(loader);
        spec.batch_size = NonZeroU32::new(64).unwrap();
        let mut channel = served.client().open(&spec, &nodes(number, 3)).unwrap();
        channel.start(1).unwrap();
        let mut seeds = Vec::new();
        while let Some(sampled) = next(&mut *channel) {
            let batch = &sampled.batch;
            seeds.extend(batch.seeds.iter().map(|&seed| batch.nodes[seed as usize]));
        }
        channel.close().unwrap();
        seeds
    };
    for loaders in [0..4, 4..6] {
        std::thread::scope(|scope| {
            let seen = &seen;
            let started: Vec<Vec<_>> = loaders
                .map(|loader| {
                    let ranks = (0..3).map(|number| scope.spawn(move || seen(loader, number)));
                    ranks.collect()
                })
                .collect();
            for ranks in started {
                let seeds = ranks.into_iter().flat_map(|rank| rank.join().unwrap());
                let mut seeds: Vec<u32> = seeds.collect();
                seeds.sort_unstable();
                assert!(seeds.into_iter().eq(0..5_000));
            }
        });
        assert_eq!(served.count("channels"), 0);
    }
}
