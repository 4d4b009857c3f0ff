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
pub struct Trainer {
    pub rank: u32,
    pub world: u32,
    pub from: u64,
    /// Milliseconds after each batch.
    pub pause: u64,
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

    pub fn start(&self, address: &Address) -> std::process::Child {
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
pub fn printed(child: std::process::Child) -> (Vec<(u64, String)>, bool) {
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
fn a_server_cuts_off_epochs_at_the_deadline_and_names_their_clients() {
    let directory = tempfile::tempdir().unwrap();
    let file = graph_file(directory.path());
    let mut server = Process::start(&file, &["--listen", "127.0.0.1:0", "--drain", "1"]);
    // Two clients come to the end of their epochs, and two read too slowly.
    let (begun, after) = std::thread::scope(|scope| {
        for number in 0..4u64 {
            let client = server.client();
            scope.spawn(move || {
                let spec = sampler(&format!("loader {number}"));
                let mut channel = client.open(&spec, &rank(0, 1)).unwrap();
                channel.start(1).unwrap();
                let pause = Duration::from_millis(if number < 2 { 5 } else { 200 });
                while let Ok(shardloom::store::Next::Batch(_)) =
                    channel.next(Duration::from_millis(500))
                {
                    std::thread::sleep(pause);
                }
            });
        }
        let client = server.client();
        wait_until("four epochs", || {
            crate::fixture::count(&client, "running_epochs") == 4
        });
        let begun = Instant::now();
        server.signal(15);
        let status = server.wait();
        assert_eq!(status.code(), Some(3));
        (begun, begun.elapsed())
    });
    assert!(begun.elapsed() >= after);
    let deadline = Duration::from_secs(1);
    assert!(after >= deadline, "{after:?}: before the deadline");
    assert!(after <= deadline + Duration::from_secs(1), "{after:?}");
    let told = server.told();
    let cut_off = told.iter().filter(|line| line.contains("batches left: "));
    // The fast ones, too, where the machine is slow.
    assert!((2..=4).contains(&cut_off.count()), "{told:?}");
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

#[test]
fn a_graph_that_is_replaced_while_it_is_served_stays_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let file = graph_file(directory.path());
    let expected = expected(&file, 0, 1);
    let server = Process::start(&file, &["--listen", "127.0.0.1:0"]);
    let digest = server.client().describe().unwrap().digest;
    // As `graph build` does: another file takes the name.
    let facts = crate::fixture::facts(3_000, 50_000, 3);
    shardloom::graph::Builder::new(3_000, 3)
        .write(&facts, &file)
        .unwrap();
    let of_new = std::sync::Arc::new(Graph::open(&file).unwrap());
    let of_new = Local::new(of_new, std::num::NonZeroU32::MIN).unwrap();
    assert_ne!(of_new.describe().unwrap().digest, digest);
    let mut channel = server
        .client()
        .open(&sampler("loader"), &rank(0, 1))
        .unwrap();
    let batches = epoch(&mut *channel, 1).into_iter();
    let found = batches.map(|(index, bytes)| (index, format!("{:016x}", xxh3_64(&bytes))));
    assert_eq!(found.collect::<Vec<_>>(), expected);
    assert_eq!(server.client().describe().unwrap().digest, digest);
}

#[cfg(unix)]
#[test]
fn a_socket_belongs_to_one_server_and_passes_to_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let file = graph_file(directory.path());
    let socket = directory.path().join("store.sock");
    let listen = format!("unix:{}", socket.display());
    let refused = |listen: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_shardloom"))
            .arg("graph-store")
            .arg(&file)
            .args(["--listen", listen])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let mut first = Process::start(&file, &["--listen", &listen, "--drain", "0"]);
    let told = refused(&listen);
    assert!(told.contains("another process listens there"), "{told}");
    first.client().describe().unwrap();
    // The first ends while the second begins: the file is the second's.
    first.signal(15);
    let second = loop {
        let probe = std::os::unix::net::UnixStream::connect(&socket);
        if probe.is_err() {
            break Process::start(&file, &["--listen", &listen]);
        }
    };
    assert_eq!(first.wait().code(), Some(0));
    second.client().describe().unwrap();
    second.signal(9);
    drop(second);
    assert!(socket.exists(), "a server that is killed leaves its file");
    Process::start(&file, &["--listen", &listen])
        .client()
        .describe()
        .unwrap();
    let long = format!("unix:{}/{}", directory.path().display(), "a".repeat(200));
    let told = refused(&long);
    assert!(
        told.contains("a path of ") && told.contains("bytes"),
        "{told}"
    );
    let missing = format!("unix:{}/none/store.sock", directory.path().display());
    let told = refused(&missing);
    assert!(told.contains("No such file or directory"), "{told}");
}

#[test]
fn arguments_at_their_ends_are_refused_or_work() {
    let directory = tempfile::tempdir().unwrap();
    let file = graph_file(directory.path());
    let most = u64::MAX.to_string();
    for name in ["--lease", "--drain"] {
        let output = Command::new(env!("CARGO_BIN_EXE_shardloom"))
            .arg("graph-store")
            .arg(&file)
            .args([name, &most])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains(name) && told.contains(&most), "{told}");
    }
    let limits = ["--memory-limit", "0B", "--most-facts", &most];
    let listen = ["--listen", "127.0.0.1:0", "--drain", "0"];
    let mut server = Process::start(&file, &[limits.as_slice(), &listen].concat());
    let mut channel = server
        .client()
        .open(&sampler("loader"), &rank(0, 1))
        .unwrap();
    assert_eq!(epoch(&mut *channel, 1).len(), 40);
    drop(channel);
    server.signal(15);
    assert_eq!(server.wait().code(), Some(0));
}
