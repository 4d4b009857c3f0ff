//! A graph in parts at several servers: the bytes of one whole graph, through deaths and restarts.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shardloom::graph::{Graph, Side};
use shardloom::neighborhood::{Anchor, Direction, Draw, SamplePlan, Seeds};
use shardloom::net::graph_store::{Address, RemoteOptions, Server, ServerOptions, join_parts};
use shardloom::store::{
    Ask, ChannelSpec, GraphStore, LabelPlan, Local, Parts, SeedSpec, Select, Slice, World,
};

use crate::fixture::{Process, Served, epoch, graph, graph_file, next, rank, sampler};

const DRAW: Draw = Draw {
    seed: 3,
    epoch: 5,
    index: 7,
};

fn local() -> Local {
    Local::new(Arc::new(graph()), NonZeroU32::MIN).unwrap()
}

/// Servers of this process, each with a part.
fn served(of: u32) -> Vec<Served> {
    let graph = graph();
    let parts = graph.parts(NonZeroU32::new(of).unwrap()).unwrap();
    let serve = |part| Served::new(graph.take_part(part).unwrap());
    parts.iter().map(serve).collect()
}

fn join(addresses: &[Address]) -> Parts {
    let threads = NonZeroU32::new(2).unwrap();
    join_parts(addresses, &RemoteOptions::default(), threads).unwrap()
}

fn refused(addresses: &[Address]) -> String {
    let joined = join_parts(addresses, &RemoteOptions::default(), NonZeroU32::MIN);
    joined.unwrap_err().to_string()
}

fn addresses(served: &[Served]) -> Vec<Address> {
    served.iter().map(|server| server.address.clone()).collect()
}

/// Cuts the graph of tests into parts with the program.
fn part_files(directory: &Path, of: u32) -> Vec<PathBuf> {
    let file = graph_file(directory);
    let output = Command::new(env!("CARGO_BIN_EXE_shardloom"))
        .args(["graph", "split", "--parts", &of.to_string()])
        .arg(&file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let path = |index| directory.join(format!("test.{index}-of-{of}.graph"));
    (0..of).map(path).collect()
}

#[test]
fn calls_are_those_of_a_local_store() {
    let (servers, local) = (served(3), local());
    let store = join(&addresses(&servers));
    assert_eq!(store.describe().unwrap(), local.describe().unwrap());
    for select in [Select::All, Select::Heads(3), Select::Tails(6)] {
        let slice = Slice {
            start: 1,
            end: 4,
            of: 5,
        };
        let ids = store.ids(&select, slice).unwrap();
        assert_eq!(ids, local.ids(&select, slice).unwrap());
        // The lists of servers are those of their parts.
        let world = World { rank: 1, size: 2 };
        let by_part = store.ids_by_part(select, Some(world)).unwrap();
        assert!(by_part[0].is_empty() && !by_part[2].is_empty());
    }
    let anchors: Vec<Anchor> = (0..700)
        .map(|node| Anchor {
            node: node * 7,
            relation: node % 7,
            side: Side::ALL[node as usize % 2],
        })
        .collect();
    let labels = store.labels(&anchors, NonZeroU32::new(2), DRAW).unwrap();
    assert_eq!(
        labels,
        local.labels(&anchors, NonZeroU32::new(2), DRAW).unwrap()
    );
    let seeds: Vec<u32> = (0..2_000).chain([4_999, 1, 1]).collect();
    let plan = SamplePlan {
        direction: Direction::Both,
        facts: true,
        ..SamplePlan::uniform(&[10, 5])
    };
    let batch = store.sample(&Seeds::Nodes(&seeds), &plan, DRAW).unwrap();
    assert_eq!(
        batch,
        local.sample(&Seeds::Nodes(&seeds), &plan, DRAW).unwrap()
    );
    assert!(batch.facts() > 10_000, "{} facts", batch.facts());
}

#[test]
fn epochs_are_those_of_a_local_store() {
    let (servers, local) = (served(2), local());
    let store = join(&addresses(&servers));
    let mut spec = sampler("loader");
    spec.labels = Some(LabelPlan {
        ask: Ask::Both,
        most: NonZeroU32::new(4),
    });
    let nodes = ChannelSpec {
        seeds: SeedSpec::Nodes {
            of: Select::Tails(2),
            slice: Slice::WHOLE,
        },
        ..ChannelSpec::default()
    };
    for (spec, rank) in [
        (spec.clone(), rank(0, 2)),
        (spec, rank(1, 2)),
        (sampler("nodes"), nodes),
    ] {
        let mut here = local.open(&spec, &rank).unwrap();
        let mut there = store.open(&spec, &rank).unwrap();
        assert_eq!(there.start(3).unwrap(), here.start(3).unwrap());
        assert_eq!(epoch(&mut *there, 3), epoch(&mut *here, 3));
    }
}

#[test]
fn a_server_that_is_killed_and_started_anew_changes_no_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let files = part_files(directory.path(), 2);
    let listen = [0, 1].map(|at| {
        let socket = directory.path().join(format!("{at}.sock"));
        format!("unix:{}", socket.display())
    });
    let start = |at: usize| Process::start(&files[at], &["--listen", &listen[at]]);
    let mut servers = [start(0), start(1)];
    let addresses = [0, 1].map(|at: usize| servers[at].addresses[0].clone());
    let store = join(&addresses);
    let local = local();
    let mut here = local.open(&sampler("loader"), &rank(0, 1)).unwrap();
    let expected = epoch(&mut *here, 1);
    let mut there = store.open(&sampler("loader"), &rank(0, 1)).unwrap();
    there.start(1).unwrap();
    let mut found = Vec::new();
    let mut killed = 0;
    while let Some(sampled) = next(&mut *there) {
        found.push((
            sampled.draw.index,
            shardloom::store::packed::encode(&sampled),
        ));
        if [5, 20].contains(&found.len()) {
            let at = killed % 2;
            servers[at].signal(9);
            servers[at].wait();
            // Whatever the window held comes; then the store waits.
            std::thread::sleep(Duration::from_millis(300));
            servers[at] = start(at);
            killed += 1;
        }
    }
    assert_eq!(killed, 2);
    assert_eq!(found, expected);
}

#[test]
fn parts_that_are_missing_or_of_another_graph_are_refused() {
    let servers = served(3);
    let all = addresses(&servers);
    let error = refused(&all[..2]);
    assert!(
        error.contains("of 3 parts, these are missing: 2"),
        "{error}"
    );
    let error = refused(&[
        all[0].clone(),
        all[1].clone(),
        all[1].clone(),
        all[2].clone(),
    ]);
    assert!(error.contains("are the same part"), "{error}");
    let whole = Served::new(graph());
    let error = refused(&[all[0].clone(), whole.address.clone()]);
    assert!(error.contains("are not parts of one cut"), "{error}");
    assert!(error.contains(&whole.address.to_string()), "{error}");
    // A graph in one piece is its own only part.
    let alone = join(std::slice::from_ref(&whole.address));
    assert_eq!(alone.describe().unwrap(), local().describe().unwrap());
    // A server that is away is named.
    let away: Address = "127.0.0.1:1".parse().unwrap();
    let error = refused(&[all[0].clone(), away]);
    assert!(error.contains("127.0.0.1:1"), "{error}");
}

#[test]
fn a_part_server_refuses_batches_and_rows_of_others() {
    let servers = served(2);
    let client = servers[1].client();
    let plan = SamplePlan::uniform(&[3]);
    let error = client.sample(&Seeds::Nodes(&[1]), &plan, DRAW).unwrap_err();
    assert!(error.to_string().contains("part 1 of 2"), "{error}");
    let error = client.open(&sampler("loader"), &rank(0, 1)).err().unwrap();
    assert!(error.to_string().contains("part 1 of 2"), "{error}");
    let anchor = Anchor {
        node: 0,
        relation: 0,
        side: Side::Out,
    };
    let error = client.labels(&[anchor], None, DRAW).unwrap_err();
    assert!(error.to_string().contains("node 0 is not here"), "{error}");
}

#[test]
fn another_part_behind_the_address_is_refused_and_patience_ends() {
    let graph = graph();
    let parts = graph.parts(NonZeroU32::new(2).unwrap()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let address = Address::Unix(directory.path().join("store.sock"));
    let options = ServerOptions {
        listen: vec![address.clone()],
        ..ServerOptions::default()
    };
    let start = |part: usize| {
        let part = graph.take_part(&parts[part]).unwrap();
        Server::start(Arc::new(part), &options).unwrap()
    };
    let end = |server: Server| {
        server.ender().drain();
        server.wait();
    };
    let other = Served::new(graph.take_part(&parts[1]).unwrap());
    let server = start(0);
    let patient = RemoteOptions {
        patience: Duration::from_millis(500),
        ..RemoteOptions::default()
    };
    let both = [address.clone(), other.address.clone()];
    let store = join_parts(&both, &patient, NonZeroU32::MIN).unwrap();
    let sample = || {
        let plan = SamplePlan::uniform(&[3]);
        store.sample(&Seeds::Nodes(&[0, 4_999]), &plan, DRAW)
    };
    sample().unwrap();
    end(server);
    let begun = Instant::now();
    let error = sample().unwrap_err().to_string();
    let took = begun.elapsed();
    assert!(error.starts_with("part 0 of 2, at unix:"), "{error}");
    assert!(took > Duration::from_millis(400), "{took:?}");
    assert!(took < Duration::from_secs(30), "{took:?}");
    let server = start(1);
    let error = sample().unwrap_err().to_string();
    assert!(error.contains("this is another graph"), "{error}");
    end(server);
    let server = start(0);
    sample().unwrap();
    end(server);
}

#[test]
fn files_of_parts_are_checked_and_described() {
    let directory = tempfile::tempdir().unwrap();
    let files = part_files(directory.path(), 3);
    let whole = graph();
    let mut end = 0;
    for (file, place) in files
        .iter()
        .zip(whole.parts(NonZeroU32::new(3).unwrap()).unwrap())
    {
        let part = Graph::open(file).unwrap();
        part.check(file).unwrap();
        assert_eq!(part.part().nodes(), place.nodes());
        assert_eq!(part.part().facts, place.facts);
        assert_eq!(part.own_nodes().start, end);
        end = part.own_nodes().end;
        for node in part.own_nodes() {
            for side in Side::ALL {
                let (own, all) = (
                    part.row(side, node).unwrap(),
                    whole.row(side, node).unwrap(),
                );
                assert_eq!(own.neighbors, all.neighbors);
            }
        }
    }
    assert_eq!(end, whole.nodes());
    let again = Command::new(env!("CARGO_BIN_EXE_shardloom"))
        .args(["graph", "split", "--parts", "2"])
        .arg(&files[0])
        .output()
        .unwrap();
    let error = String::from_utf8(again.stderr).unwrap();
    assert!(
        !again.status.success() && error.contains("cut the whole graph"),
        "{error}"
    );
}
