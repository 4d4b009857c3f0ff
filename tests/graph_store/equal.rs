//! A remote store gives what a local one gives.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::sync::Arc;

use shardloom::graph::Side;
use shardloom::neighborhood::{Anchor, Draw, SamplePlan, Seeds};
use shardloom::net::graph_store::{Address, ServerOptions};
use shardloom::store::{Ask, ChannelSpec, GraphStore, LabelPlan, Local, SeedSpec, Select, Slice};

use crate::fixture::{Served, epoch, graph, rank, sampler};

fn local() -> Local {
    Local::new(Arc::new(graph()), NonZeroU32::MIN).unwrap()
}

const DRAW: Draw = Draw {
    seed: 3,
    epoch: 5,
    index: 7,
};

#[test]
fn calls_are_those_of_a_local_store() {
    let (served, local) = (Served::new(graph()), local());
    let remote = served.client();
    assert_eq!(remote.describe().unwrap(), local.describe().unwrap());
    for select in [Select::All, Select::Heads(3), Select::Tails(6)] {
        for slice in [
            Slice::WHOLE,
            Slice {
                start: 1,
                end: 3,
                of: 5,
            },
            Slice {
                start: 2,
                end: 2,
                of: 2,
            },
        ] {
            let ids = remote.ids(&select, slice).unwrap();
            assert_eq!(ids, local.ids(&select, slice).unwrap());
        }
    }
    let anchors: Vec<Anchor> = (0..700)
        .map(|node| Anchor {
            node,
            relation: node % 7,
            side: Side::ALL[node as usize % 2],
        })
        .collect();
    for most in [None, NonZeroU32::new(2)] {
        let labels = remote.labels(&anchors, most, DRAW).unwrap();
        assert_eq!(labels, local.labels(&anchors, most, DRAW).unwrap());
        assert!(labels.nodes.len() > 100);
    }
    let seeds: Vec<u32> = (0..2_000).chain([1, 1]).collect();
    let plan = SamplePlan::uniform(&[10, 5]);
    let batch = remote.sample(&Seeds::Nodes(&seeds), &plan, DRAW).unwrap();
    assert_eq!(
        batch,
        local.sample(&Seeds::Nodes(&seeds), &plan, DRAW).unwrap()
    );
    assert!(
        batch.facts() > 10_000,
        "{} facts in several chunks",
        batch.facts()
    );
}

#[test]
fn epochs_of_two_ranks_have_every_seed_once_and_the_bytes_of_a_local_store() {
    let options = ServerOptions {
        threads: NonZeroU32::new(3).unwrap(),
        ..ServerOptions::default()
    };
    let served = Served::with(graph(), &options);
    let local = local();
    let mut spec = sampler("loader");
    spec.labels = Some(LabelPlan {
        ask: Ask::Both,
        most: NonZeroU32::new(4),
    });
    for number in [0, 3] {
        let mut indices = Vec::new();
        for rank in [rank(0, 2), rank(1, 2)] {
            let mut here = local.open(&spec, &rank).unwrap();
            let mut there = served.client().open(&spec, &rank).unwrap();
            let batches = epoch(&mut *there, number);
            assert_eq!(batches, epoch(&mut *here, number));
            indices.extend(batches.into_iter().map(|(index, _)| index));
        }
        let distinct: HashSet<u64> = indices.iter().copied().collect();
        assert_eq!((indices.len(), distinct.len()), (40, 40));
    }
}

#[test]
fn listed_seeds_travel_with_the_request() {
    let (served, local) = (Served::new(graph()), local());
    let mut spec = sampler("nodes");
    spec.plan = SamplePlan::uniform(&[3]);
    for seeds in [
        SeedSpec::Listed((0..1000).rev().collect()),
        SeedSpec::Listed(Vec::new()),
        SeedSpec::Nodes {
            of: Select::Tails(2),
            slice: Slice::WHOLE,
        },
    ] {
        let spec = &spec;
        let channel = ChannelSpec {
            seeds,
            ..ChannelSpec::default()
        };
        let mut there = served.client().open(spec, &channel).unwrap();
        let batches = epoch(&mut *there, 1);
        assert_eq!(batches, epoch(&mut *local.open(spec, &channel).unwrap(), 1));
    }
}

#[test]
fn a_position_can_be_sought_and_epochs_only_rise() {
    let served = Served::new(graph());
    let mut channel = served.channel();
    let all = epoch(&mut *channel, 4);
    assert_eq!(channel.start(2).unwrap().epoch, 4);
    channel.seek(31).unwrap();
    let next = crate::fixture::next(&mut *channel).unwrap();
    assert_eq!(shardloom::store::packed::encode(&next), all[31].1);
    let error = channel.seek(100).unwrap_err().to_string();
    assert!(error.contains("40 batches"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_unix_socket_serves_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.sock");
    let options = ServerOptions {
        listen: vec![Address::Unix(path.clone())],
        ..ServerOptions::default()
    };
    let served = Served::with(graph(), &options);
    let mut there = served.channel();
    let mut here = local().open(&sampler("loader"), &rank(0, 1)).unwrap();
    assert_eq!(epoch(&mut *there, 1), epoch(&mut *here, 1));
    drop(there);
    assert_eq!(served.end(), []);
    assert!(!path.exists());
}
