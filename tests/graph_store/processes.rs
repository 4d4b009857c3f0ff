//! Servers and trainers of processes of their own, which are killed, stopped and asked to end.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use shardloom::graph::Graph;
use shardloom::net::graph_store::{Address, Remote, RemoteOptions};
use shardloom::store::{GraphStore, Local, packed};
use xxhash_rust::xxh3::xxh3_64;

use crate::fixture::{Process, epoch, graph_file, next, rank, sampler, signal_process, wait_until};

const ROLE: &str = "SHARDLOOM_STORE_TRAINER";

/// A trainer: this binary of tests, started anew. Prints index and digest of each batch of its rank.
#[test]
#[ignore = "started by other tests"]
fn trainer() {
    let role = std::env::var(ROLE).unwrap();
    let parts: Vec<&str> = role.split('|').collect();
    let [address, number, world, from, pause] = parts[..] else {
        panic!("{role}");
    };
    let address: Address = address.parse().unwrap();
    let store = Remote::new(&address, &RemoteOptions::default()).unwrap();
    let spec = rank(number.parse().unwrap(), world.parse().unwrap());
    let mut channel = store.open(&sampler("loader"), &spec).unwrap();
    channel.start(1).unwrap();
    channel.seek(from.parse().unwrap()).unwrap();
    while let Some(sampled) = next(&mut *channel) {
        let digest = xxh3_64(&packed::encode(&sampled));
        println!("batch {} {digest:016x}", sampled.draw.index);
        std::thread::sleep(Duration::from_millis(pause.parse().unwrap()));
    }
    println!("done");
}

/// Settings of a trainer's process.
struct Trainer {
    rank: u32,
    world: u32,
    from: u64,
    /// Milliseconds after each batch.
    pause: u64,
}

impl Trainer {
    /// Starts the trainers of a world of two.
    fn both(address: &Address, pause: u64) -> [std::process::Child; 2] {
        [0, 1].map(|rank| {
            let trainer = Trainer {
                rank,
                world: 2,
                from: 0,
                pause,
            };
            trainer.start(address)
        })
    }

    fn start(&self, address: &Address) -> std::process::Child {
        let Trainer {
            rank,
            world,
            from,
            pause,
        } = self;
        Command::new(std::env::current_exe().unwrap())
            .args(["processes::trainer", "--exact", "--ignored", "--nocapture"])
            .env(ROLE, format!("{address}|{rank}|{world}|{from}|{pause}"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }
}

/// Batches that a trainer has printed, and whether it came to the end.
fn printed(child: std::process::Child) -> (Vec<(u64, String)>, bool) {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let batch = |line: &str| {
        let (index, digest) = line.split_once("batch ")?.1.split_once(' ')?;
        // The last line of a trainer that was killed may be cut.
        (digest.len() == 16).then(|| (index.parse().unwrap(), digest.to_owned()))
    };
    let batches = text.lines().filter_map(batch).collect();
    (batches, text.lines().any(|line| line == "done"))
}

/// Batches of a rank, drawn in this process.
fn expected(file: &Path, number: u32, world: u32) -> Vec<(u64, String)> {
    let graph = std::sync::Arc::new(Graph::open(file).unwrap());
    let local = Local::new(graph, std::num::NonZeroU32::MIN).unwrap();
    let mut channel = local
        .open(&sampler("loader"), &rank(number, world))
        .unwrap();
    let batches = epoch(&mut *channel, 1).into_iter();
    batches
        .map(|(index, bytes)| (index, format!("{:016x}", xxh3_64(&bytes))))
        .collect()
}

#[test]
fn two_trainers_have_every_seed_once_and_the_bytes_of_one_process() {
    let directory = tempfile::tempdir().unwrap();
    let file = graph_file(directory.path());
    let server = Process::start(&file, &["--listen", "127.0.0.1:0", "--threads", "2"]);
    let trainers = Trainer::both(&server.addresses[0], 0);
    let mut indices = Vec::new();
    for (rank, trainer) in trainers.into_iter().enumerate() {
        let (batches, done) = printed(trainer);
        assert!(done);
        assert_eq!(batches, expected(&file, rank as u32, 2));
        indices.extend(batches.into_iter().map(|(index, _)| index));
    }
    indices.sort_unstable();
    assert_eq!(indices, (0..40).collect::<Vec<u64>>());
}

#[test]
fn a_trainer_that_is_killed_goes_on_at_its_position() {
    let directory = tempfile::tempdir().unwrap();
    let file = graph_file(directory.path());
    let arguments = ["--listen", "127.0.0.1:0", "--lease", "1"];
    let server = Process::start(&file, &arguments);
    let trainer = Trainer {
        rank: 0,
        world: 1,
        from: 0,
        pause: 20,
    };
    let child = trainer.start(&server.addresses[0]);
    std::thread::sleep(Duration::from_millis(500));
    signal_process(child.id(), 9);
    let (mut batches, done) = printed(child);
    assert!(!done);
    let again = Trainer {
        from: batches.len() as u64,
        pause: 0,
        ..trainer
    };
    let (rest, done) = printed(again.start(&server.addresses[0]));
    assert!(done);
    batches.extend(rest);
    assert_eq!(batches, expected(&file, 0, 1));
    // The channels of both are gone after their leases.
    let client = server.client();
    wait_until("the end of the leases", || {
        crate::fixture::count(&client, "channels") == 0
    });
}

#[test]
fn trainers_outlive_a_server_that_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let file = graph_file(directory.path());
    let socket = directory.path().join("store.sock");
    let listen = format!("unix:{}", socket.display());
    let server = Process::start(&file, &["--listen", &listen]);
    let trainers = Trainer::both(&server.addresses[0], 30);
    std::thread::sleep(Duration::from_millis(300));
    server.signal(9);
    drop(server);
    std::thread::sleep(Duration::from_millis(200));
    let server = Process::start(&file, &["--listen", &listen, "--threads", "3"]);
    for (rank, trainer) in trainers.into_iter().enumerate() {
        let (batches, done) = printed(trainer);
        assert!(done);
        assert_eq!(batches, expected(&file, rank as u32, 2));
    }
    assert!(crate::fixture::count(&server.client(), "batches_total") > 0);
}

#[test]
fn another_graph_behind_the_address_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = graph_file(directory.path());
    let socket = directory.path().join("store.sock");
    let listen = format!("unix:{}", socket.display());
    let server = Process::start(&file, &["--listen", &listen]);
    let mut channel = server
        .client()
        .open(&sampler("loader"), &rank(0, 1))
        .unwrap();
    channel.start(1).unwrap();
    next(&mut *channel).unwrap();
    drop(server);
    let other = directory.path().join("other.graph");
    let facts = crate::fixture::facts(5_000, 40_001, 7);
    shardloom::graph::Builder::new(5_000, 7)
        .write(&facts, &other)
        .unwrap();
    let _server = Process::start(&other, &["--listen", &listen]);
    let error = loop {
        // Batches that had arrived come first.
        if let Err(error) = channel.next(Duration::from_secs(10)) {
            break error.to_string();
        }
    };
    assert!(error.contains("this is another graph"), "{error}");
}

#[test]
fn a_server_that_is_asked_to_end_finishes_four_epochs() {
    let directory = tempfile::tempdir().unwrap();
    let file = graph_file(directory.path());
    let mut server = Process::start(&file, &["--listen", "127.0.0.1:0"]);
    let ended = std::thread::scope(|scope| {
        let clients = [0, 1, 2, 3].map(|number| {
            let client = server.client();
            scope.spawn(move || {
                let spec = sampler(&format!("loader {number}"));
                let mut channel = client.open(&spec, &rank(0, 1)).unwrap();
                channel.start(1).unwrap();
                let mut batches = 0;
                while next(&mut *channel).is_some() {
                    batches += 1;
                    std::thread::sleep(Duration::from_millis(15));
                }
                assert_eq!(batches, 40);
                Instant::now()
            })
        });
        let client = server.client();
        wait_until("four epochs", || {
            crate::fixture::count(&client, "running_epochs") == 4
        });
        server.signal(15);
        clients
            .map(|client| client.join().unwrap())
            .into_iter()
            .max()
            .unwrap()
    });
    let status = server.wait();
    let after = ended.elapsed();
    assert_eq!(status.code(), Some(0));
    assert!(
        after < Duration::from_secs(1),
        "{after:?} after the last batch"
    );
}

#[test]
fn a_server_says_by_its_status_that_epochs_were_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let file = graph_file(directory.path());
    let mut server = Process::start(&file, &["--listen", "127.0.0.1:0", "--drain", "1"]);
    let mut channel = server
        .client()
        .open(&sampler("loader"), &rank(0, 1))
        .unwrap();
    channel.start(1).unwrap();
    let begun = Instant::now();
    server.signal(15);
    assert_eq!(server.wait().code(), Some(3));
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn a_second_signal_ends_a_server_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let file = graph_file(directory.path());
    let mut server = Process::start(&file, &["--listen", "127.0.0.1:0"]);
    let client = server.client();
    let mut channel = client.open(&sampler("loader"), &rank(0, 1)).unwrap();
    channel.start(1).unwrap();
    server.signal(15);
    wait_until("the end of new work", || {
        crate::fixture::count(&client, "draining") == 1
    });
    server.signal(15);
    assert_eq!(server.wait().code(), Some(130));
}

#[test]
fn status_shows_the_graph_and_the_counts() {
    let directory = tempfile::tempdir().unwrap();
    let file = graph_file(directory.path());
    let server = Process::start(&file, &["--listen", "127.0.0.1:0"]);
    let mut channel = server
        .client()
        .open(&sampler("loader"), &rank(0, 1))
        .unwrap();
    epoch(&mut *channel, 1);
    let output = Command::new(env!("CARGO_BIN_EXE_shardloom"))
        .args(["graph-store", "status", &server.addresses[0].to_string()])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("5000 nodes, 7 relations, 40000 facts"),
        "{text}"
    );
    let line = |line: &str| line.trim_start() == "1  channels";
    assert!(text.lines().any(line), "{text}");
}
