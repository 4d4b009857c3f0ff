//! Requests that make no sense: a sentence each, before any work, and a server that goes on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use shardloom::dataset::Triple;
use shardloom::graph::Side;
use shardloom::neighborhood::{Anchor, Draw, Fanout, Pick, SamplePlan, Seeds};
use shardloom::net::graph_store::message::{
    ChannelInfo, ChannelRequest, Chunk, Credit, DescribeRequest, Description, EpochInfo,
    SampleRequest, SamplerInfo, SamplerRequest, Seeds as SeedsMessage, StartRequest,
};
use shardloom::net::graph_store::{Address, Remote, RemoteOptions, ServerOptions};
use shardloom::net::transport::{Security, Token};
use shardloom::store::{ChannelSpec, GraphStore, LabelPlan, SeedSpec, Select, Slice};

use tokio_stream::StreamExt;
use tonic::{Code, Status};

use crate::fixture::{Served, epoch, graph, rank, sampler};
use crate::raw::Raw;

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
        told.contains(
            "bytes of listed seeds of all channels, and of answers that wait to be sent: 12000, \
             and the store allows 8192"
        ),
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

#[test]
fn other_versions_methods_and_compressed_messages_are_refused() {
    let served = Served::new(graph());
    let mut raw = Raw::new(&served.address);
    let describe = |raw: &Raw, method: &str| -> Status {
        let answer: Result<Description, Status> = raw.one(method, DescribeRequest {});
        answer.unwrap_err()
    };
    let told = describe(&raw, "DescribeAll");
    assert_eq!(told.code(), Code::Unimplemented);
    assert!(told.message().contains("no method"), "{told}");
    raw.version = "2".to_owned();
    let told = describe(&raw, "Describe");
    assert_eq!(told.code(), Code::FailedPrecondition);
    assert_eq!(
        told.message(),
        "the protocol of the caller is 2, the one here 1: use the same release everywhere"
    );
    let mut raw = Raw::new(&served.address);
    raw.encoding = Some("gzip");
    for method in ["Describe", "Ids"] {
        assert_eq!(describe(&raw, method).code(), Code::Unimplemented);
    }
    raw.encoding = Some("identity");
    let described: Description = raw.one("Describe", DescribeRequest {}).unwrap();
    assert_eq!(described.nodes, 5_000);
}

#[test]
fn settings_that_are_no_settings_are_refused_by_field() {
    let served = Served::new(graph());
    let raw = Raw::new(&served.address);
    let sampler = |spec: &str| -> Result<SamplerInfo, Status> {
        let spec = spec.to_owned();
        raw.one("OpenSampler", SamplerRequest { spec })
    };
    let long = format!("\"{}\"", "a".repeat(1 << 20));
    for (spec, expected) in [
        ("", "spec: EOF"),
        ("null", "spec: invalid type: null"),
        ("{\"key\": \"a\"", "spec: EOF"),
        ("{}", "spec: missing field `key`"),
        (r#"{"key": "a", "batch_size": 0}"#, "spec: invalid value"),
        (
            r#"{"key": "a", "batch_size": 4294967296}"#,
            "spec: invalid value",
        ),
        (
            r#"{"key": "a", "batch_size": 1e400}"#,
            "spec: number out of range",
        ),
        (r#"{"key": "a", "batch_size": NaN}"#, "spec: expected value"),
        (
            r#"{"key": "a", "batch_size": 1, "seed": -1}"#,
            "spec: invalid value",
        ),
        (
            r#"{"key": "a", "batch_size": 1, "seed": 18446744073709551616}"#,
            "spec: invalid type",
        ),
        (
            r#"{"key": "a", "batch_size": 1, "sead": 1}"#,
            "spec: unknown field `sead`",
        ),
        (
            r#"{"key": "a", "batch_size": 1, "plan": {"fanouts": [{"most": -1}]}}"#,
            "spec: ",
        ),
        (&"[".repeat(100_000), "spec: invalid type: sequence"),
        (&long, "spec: 1048578 bytes of JSON; at most 1048576"),
    ] {
        let told = sampler(spec).unwrap_err();
        assert_eq!(told.code(), Code::InvalidArgument, "{told}");
        let shown = &spec[..spec.len().min(80)];
        assert!(told.message().starts_with(expected), "{shown}: {told}");
    }
    let told = sampler(r#"{"key": "", "batch_size": 1}"#).unwrap_err();
    assert!(told.message().contains("key: 0 bytes"), "{told}");
    let number = sampler(r#"{"key": "a", "batch_size": 16}"#)
        .unwrap()
        .sampler;
    let open = |client: &str, name: &str, spec: &str, seeds: Option<SeedsMessage>| -> Status {
        let request = ChannelRequest {
            sampler: number,
            client: client.to_owned(),
            name: name.to_owned(),
            spec: spec.to_owned(),
            seeds,
        };
        let opened: Result<ChannelInfo, Status> = raw.one("OpenChannel", request);
        opened.unwrap_err()
    };
    let listed = |nodes: &'static [u8], facts: &'static [u8]| {
        Some(SeedsMessage {
            nodes: nodes.into(),
            times: Default::default(),
            facts: facts.into(),
        })
    };
    for (told, expected) in [
        (
            open("", "b", "", None),
            "client: 0 bytes; a name has 1 to 256",
        ),
        (open("a", &"b".repeat(257), "", None), "name: 257 bytes"),
        (
            open("\u{1b}[2J", "b", "", None),
            "client: the character '\\u{1b}'",
        ),
        (open("a", "b", "{", None), "spec: EOF"),
        (
            open("a", "b", r#"{"window": {"batches": 0}}"#, None),
            "spec: invalid value",
        ),
        (
            open("a", "b", r#"{"world": {"rank": 0, "size": 0}}"#, None),
            "world: rank 0 of 0",
        ),
        (
            open("a", "b", "", listed(&[0; 7], &[])),
            "seeds.nodes: 7 bytes; each has 4",
        ),
        (
            open("a", "b", "", listed(&[], &[0; 13])),
            "seeds.facts: 13 bytes; each has 12",
        ),
        (
            open("a", "b", "", listed(&[0; 4], &[0; 12])),
            "seeds: nodes and facts",
        ),
        (
            open("a", "b", "", listed(&[0xff; 4], &[])),
            "seed 0: node 4294967295",
        ),
    ] {
        assert_eq!(told.code(), Code::InvalidArgument, "{told}");
        assert!(told.message().starts_with(expected), "{told}");
    }
    let session = served.client().session().unwrap();
    assert_eq!((session.channels.len(), session.samplers), (0, 1));
    assert_eq!(served.count("refused_total"), 14 + 1 + 10);
}

#[test]
fn numbers_at_their_ends_are_errors_or_work() {
    let served = Served::new(graph());
    let raw = Raw::new(&served.address);
    let most = u64::MAX;
    let unknown = format!("unknown channel {most}");
    let request = StartRequest {
        channel: most,
        epoch: most,
    };
    let told: Status = raw.one::<_, EpochInfo>("StartEpoch", request).unwrap_err();
    assert_eq!((told.code(), told.message()), (Code::NotFound, &*unknown));
    let fetch = |credit: Credit| -> Result<Chunk, Status> {
        let credits = tokio_stream::iter([credit]).chain(tokio_stream::pending());
        let mut chunks = raw.both("Fetch", credits)?;
        raw.next(&mut chunks).expect("an answer")
    };
    let credit = |channel, epoch, from| Credit {
        channel,
        epoch,
        from,
        batches: u32::MAX,
    };
    let told = fetch(credit(most, 0, 0)).unwrap_err();
    assert_eq!((told.code(), told.message()), (Code::NotFound, &*unknown));
    let spec = serde_json::to_string(&sampler("loader")).unwrap();
    let SamplerInfo { sampler } = raw.one("OpenSampler", SamplerRequest { spec }).unwrap();
    let request = ChannelRequest {
        sampler,
        client: "client".to_owned(),
        name: "name".to_owned(),
        spec: r#"{"window": {"batches": 4294967295, "bytes": 18446744073709551615}}"#.to_owned(),
        seeds: None,
    };
    let ChannelInfo { channel, .. } = raw.one("OpenChannel", request).unwrap();
    let told = fetch(credit(channel, 0, 0)).unwrap_err();
    assert_eq!(told.code(), Code::FailedPrecondition);
    let request = StartRequest {
        channel,
        epoch: most,
    };
    let begun: EpochInfo = raw.one("StartEpoch", request).unwrap();
    assert_eq!(begun.epoch, most);
    let told = fetch(credit(channel, most, most)).unwrap_err();
    assert_eq!(told.code(), Code::InvalidArgument);
    assert!(
        told.message().contains(&format!("position {most}")),
        "{told}"
    );
    assert!(
        fetch(credit(channel, most, 0))
            .unwrap()
            .data
            .starts_with(b"SLGB")
    );
    let draw = Some(shardloom::net::graph_store::message::Draw {
        seed: most,
        epoch: most,
        index: most,
    });
    let request = SampleRequest {
        seeds: Some(SeedsMessage {
            nodes: [0u8; 4].as_slice().into(),
            ..SeedsMessage::default()
        }),
        plan: serde_json::to_string(&SamplePlan::uniform(&[u32::MAX])).unwrap(),
        draw,
    };
    let mut chunks = raw.begin::<_, Chunk>("Sample", request).unwrap();
    let first = raw.next(&mut chunks).unwrap().unwrap();
    assert!(first.data.starts_with(b"SLGB"));
    // A fetch without a credit is refused, and one that never sends it does not hold up others.
    let mut none = raw.both::<Credit, Chunk>("Fetch", tokio_stream::empty());
    let told = match &mut none {
        Ok(chunks) => raw.next(chunks).unwrap().unwrap_err(),
        Err(told) => told.clone(),
    };
    assert_eq!(told.code(), Code::InvalidArgument);
    assert!(told.message().contains("no credit"), "{told}");
}

#[test]
fn answers_that_nobody_reads_keep_to_the_limit() {
    let limit = 4 << 20;
    let options = ServerOptions {
        memory_limit: limit,
        ..ServerOptions::default()
    };
    let served = Served::with(graph(), &options);
    let raw = Raw::new(&served.address);
    let seeds: Vec<u32> = (0..5_000).collect();
    let request = SampleRequest {
        seeds: Some(SeedsMessage {
            nodes: bytemuck::cast_slice(&seeds).to_vec().into(),
            ..SeedsMessage::default()
        }),
        plan: serde_json::to_string(&SamplePlan::uniform(&[10, 10])).unwrap(),
        draw: None,
    };
    let mut waiting = Vec::new();
    let told = loop {
        match raw.begin::<_, Chunk>("Sample", request.clone()) {
            Ok(answer) => waiting.push(answer),
            Err(told) => break told,
        }
        assert!(waiting.len() < 1_000, "all answers are held");
    };
    assert_eq!(told.code(), Code::ResourceExhausted);
    assert!(
        told.message()
            .contains("bytes of answers that wait to be sent"),
        "{told}"
    );
    assert!(!waiting.is_empty());
    let held = served.count("memory_bytes");
    assert!((1..=limit).contains(&held), "{held}");
    // Channels go on, and so do calls as soon as the answers are taken.
    let mut channel = served.channel();
    assert_eq!(epoch(&mut *channel, 1).len(), 40);
    drop(waiting);
    drop(channel);
    crate::fixture::wait_until("free memory", || {
        raw.wait(Duration::from_millis(1));
        served.count("memory_bytes") == 0
    });
    raw.begin::<_, Chunk>("Sample", request).unwrap();
}
