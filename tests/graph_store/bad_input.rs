//! Requests that make no sense: a sentence each, before any work, and a server that goes on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use shardloom::dataset::Triple;
use shardloom::graph::Side;
use shardloom::neighborhood::{Anchor, Draw, Fanout, Pick, SamplePlan, Seeds};
use shardloom::net::graph_store::{Address, Remote, RemoteOptions, ServerOptions};
use shardloom::net::transport::{Security, Token};
use shardloom::store::{ChannelSpec, GraphStore, LabelPlan, SeedSpec, Select, Slice};

use crate::fixture::{Served, epoch, graph, rank, sampler};

const DRAW: Draw = Draw {
    seed: 0,
    epoch: 0,
    index: 0,
};

/// The sentence of an error.
fn sentence<T>(result: Result<T, shardloom::store::StoreError>) -> String {
    result.err().expect("an error").to_string()
}

#[test]
fn bad_requests_are_told_where_what_and_what_is_right() {
    let served = Served::new(graph());
    let store = served.client();
    let plan = SamplePlan::uniform(&[5]);
    let sample =
        |seeds: &[u32], plan: &SamplePlan| sentence(store.sample(&Seeds::Nodes(seeds), plan, DRAW));
    let told = sample(&[1, 2, 5_000], &plan);
    assert_eq!(
        told,
        "seed 2: node 5000, and the graph has 5000 nodes, numbered from 0"
    );
    let weighted = SamplePlan {
        pick: Pick::Weighted,
        ..plan.clone()
    };
    assert!(sample(&[1], &weighted).contains("the graph has no weights"));
    let listed = SamplePlan {
        fanouts: vec![Fanout::Relations(vec![(7, 1)])],
        ..plan.clone()
    };
    assert!(sample(&[1], &listed).contains("relation 7, and the graph has 7"));
    let outside = Anchor {
        node: 0,
        relation: 9,
        side: Side::Out,
    };
    let told = sentence(store.labels(&[outside], None, DRAW));
    assert!(told.starts_with("anchor 0: relation 9"), "{told}");
    let told = sentence(store.ids(&Select::Heads(7), Slice::WHOLE));
    assert!(told.contains("relation 7"), "{told}");
    let backwards = Slice {
        start: 2,
        end: 1,
        of: 3,
    };
    let told = sentence(store.ids(&Select::All, backwards));
    assert!(told.contains("shares 2 to 1 of 3"), "{told}");

    let told = sentence(store.open(&sampler("loader"), &rank(2, 2)));
    assert!(told.contains("rank 2 of 2"), "{told}");
    let fact = Triple {
        head: 0,
        relation: 0,
        tail: 77_777,
    };
    let outside = ChannelSpec {
        seeds: SeedSpec::ListedFacts(vec![fact]),
        ..ChannelSpec::default()
    };
    let told = sentence(store.open(&sampler("loader"), &outside));
    assert!(
        told.contains("node 77777, and the graph has 5000 nodes"),
        "{told}"
    );
    let mut labels = sampler("labels");
    labels.labels = Some(LabelPlan {
        ask: shardloom::store::Ask::Tails,
        most: None,
    });
    let told = sentence(store.open(&labels, &ChannelSpec::default()));
    assert!(told.contains("seeds are nodes"), "{told}");
    let first = store.open(&sampler("taken"), &rank(0, 1)).unwrap();
    let mut other = sampler("taken");
    other.seed = 12;
    let told = sentence(store.open(&other, &rank(0, 1)));
    assert!(told.contains("open with another seed"), "{told}");
    drop(first);
    assert!(served.count("refused_total") >= 8);
}

#[test]
fn fanouts_that_are_too_large_are_refused_before_any_work() {
    let options = ServerOptions {
        most_facts: 1_000_000,
        ..ServerOptions::default()
    };
    let served = Served::with(graph(), &options);
    let store = served.client();
    store.describe().unwrap();
    let plan = SamplePlan {
        pick: Pick::Replace,
        ..SamplePlan::uniform(&[1_000, 1_000, 1_000])
    };
    let shortest = |call: &dyn Fn()| {
        let times = (0..20).map(|_| {
            let begun = Instant::now();
            call();
            begun.elapsed()
        });
        times.min().unwrap()
    };
    // The network takes as long for a call that asks for nothing.
    let usual = shortest(&|| drop(store.metrics().unwrap()));
    let refused = shortest(&|| {
        let told = sentence(store.sample(&Seeds::Nodes(&[1, 2, 3]), &plan, DRAW));
        assert!(told.contains("and a batch may have 1000000"), "{told}");
    });
    assert!(
        refused < usual + Duration::from_millis(1),
        "{refused:?}, and others take {usual:?}"
    );
    let mut spec = sampler("large");
    spec.plan = plan;
    let told = sentence(store.open(&spec, &rank(0, 1)));
    assert!(told.contains("and a batch may have 1000000"), "{told}");
    assert_eq!(served.count("batches_total"), 0);
}

#[test]
fn more_channels_and_seeds_than_allowed_are_refused() {
    let options = ServerOptions {
        channels: 2,
        memory_limit: 16 << 10,
        ..ServerOptions::default()
    };
    let served = Served::with(graph(), &options);
    let store = served.client();
    let mut spec = sampler("loader");
    spec.plan = SamplePlan::uniform(&[2]);
    let listed = |nodes: u32| ChannelSpec {
        seeds: SeedSpec::Listed((0..nodes).collect()),
        ..ChannelSpec::default()
    };
    let told = sentence(store.open(&spec, &listed(3_000)));
    assert!(
        told.contains("bytes of listed seeds of all channels: 12000, and the store allows 8192"),
        "{told}"
    );
    let kept = [
        store.open(&spec, &listed(10)).unwrap(),
        store.open(&spec, &listed(10)).unwrap(),
    ];
    let told = sentence(store.open(&spec, &listed(10)));
    assert!(
        told.contains("channels: 3, and the store allows 2"),
        "{told}"
    );
    for channel in kept {
        channel.close().unwrap();
    }
    store.open(&spec, &listed(10)).unwrap();
}

#[test]
fn a_token_is_needed_where_there_is_one() {
    let token = Token::random().unwrap();
    let secured = |token: Option<Token>| Security { token, tls: None };
    let options = ServerOptions {
        security: secured(Some(token.clone())),
        ..ServerOptions::default()
    };
    let served = Served::with(graph(), &options);
    let client = |token| {
        let options = RemoteOptions {
            security: secured(token),
            ..RemoteOptions::default()
        };
        Remote::new(&served.address, &options).unwrap()
    };
    let told = sentence(client(None).describe());
    assert!(told.contains("brings no token"), "{told}");
    let told = sentence(client(Some(Token::random().unwrap())).describe());
    assert!(told.contains("another token"), "{told}");
    client(Some(token)).describe().unwrap();
    assert!(get(&served.address, "/metrics").starts_with("HTTP/1.1 401"));
}

/// Answer to a request over HTTP/1.
fn get(address: &Address, path: &str) -> String {
    let mut stream = TcpStream::connect(address.to_string()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn metrics_are_there_over_http() {
    let served = Served::new(graph());
    let mut channel = served.channel();
    epoch(&mut *channel, 1);
    let text = get(&served.address, "/metrics");
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert!(
        text.contains("\nshardloom_graph_store_batches_total 40\n"),
        "{text}"
    );
    assert!(
        text.contains("sampling_seconds_bucket{le=\"+Inf\"} 40\n"),
        "{text}"
    );
}

/// Random bytes, the same in every run.
fn noise(state: &mut u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

#[test]
fn random_bytes_and_cut_connections_leave_the_server_as_it_was() {
    let served = Served::new(graph());
    let client = served.client();
    let mut channel = client.open(&sampler("loader"), &rank(0, 1)).unwrap();
    let expected = epoch(&mut *channel, 1);
    // The first bytes of a client that speaks the protocol, cut at every byte.
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64";
    let mut state = 5;
    for round in 0..400usize {
        let Ok(mut stream) = TcpStream::connect(served.address.to_string()) else {
            continue;
        };
        let bytes: Vec<u8> = match round % 2 {
            0 => preface[..round / 2 % preface.len()].to_vec(),
            _ => (0..noise(&mut state) % 600)
                .map(|_| noise(&mut state) as u8)
                .collect(),
        };
        // The server may have closed the connection already.
        let _ = stream.write_all(&bytes);
    }
    assert_eq!(epoch(&mut *channel, 2).len(), expected.len());
    assert_eq!(served.count("channels"), 1);
}

#[test]
fn a_batch_of_nothing_is_a_batch() {
    let served = Served::new(graph());
    let batch = served
        .client()
        .sample(&Seeds::Nodes(&[]), &SamplePlan::uniform(&[3]), DRAW);
    assert_eq!(batch.unwrap().nodes.len(), 0);
    let mut spec = sampler("loader");
    spec.batch_size = NonZeroU32::new(1 << 24).unwrap();
    spec.plan = SamplePlan::uniform(&[1]);
    let mut channel = served.client().open(&spec, &rank(0, 1)).unwrap();
    assert_eq!(epoch(&mut *channel, 1).len(), 1);
}
