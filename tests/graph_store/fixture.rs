//! Graphs, servers within the process, servers of their own process, and digests of epochs.

use std::io::{BufRead, BufReader};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use shardloom::dataset::Triple;
use shardloom::graph::{Builder, Graph};
use shardloom::neighborhood::{Exclude, SamplePlan};
use shardloom::net::graph_store::{Address, Ender, Remote, RemoteOptions, Server, ServerOptions};
use shardloom::store::session::CutOff;
use shardloom::store::{
    Channel, ChannelSpec, GraphStore, Next, Order, SampledBatch, SamplerSpec, SeedSpec, Slice,
    World, packed,
};

/// Longest wait of a test.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Facts of a graph with hubs.
pub fn facts(nodes: u32, facts: u32, relations: u32) -> Vec<Triple> {
    let mut state = 7u64;
    let mut unit = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / (1u64 << 31) as f64
    };
    let mut node = || (unit().powi(3) * f64::from(nodes)) as u32;
    let fact = |at| Triple {
        head: node(),
        relation: at % relations,
        tail: node(),
    };
    (0..facts).map(fact).collect()
}

/// A graph of 5,000 nodes.
pub fn graph() -> Graph {
    Builder::new(5_000, 7)
        .build(&facts(5_000, 40_000, 7))
        .unwrap()
}

/// Writes the same graph to a file.
pub fn graph_file(directory: &Path) -> PathBuf {
    let path = directory.join("test.graph");
    Builder::new(5_000, 7)
        .write(&facts(5_000, 40_000, 7), &path)
        .unwrap();
    path
}

/// A server within the process.
pub struct Served {
    pub address: Address,
    pub ender: Ender,
    server: Option<Server>,
}

impl Served {
    pub fn new(graph: Graph) -> Served {
        Served::with(graph, &ServerOptions::default())
    }

    pub fn with(graph: Graph, options: &ServerOptions) -> Served {
        let server = Server::start(Arc::new(graph), options).unwrap();
        Served {
            address: server.addresses()[0].clone(),
            ender: server.ender(),
            server: Some(server),
        }
    }

    /// A new client.
    pub fn client(&self) -> Remote {
        Remote::new(&self.address, &RemoteOptions::default()).unwrap()
    }

    /// A channel of a new client that is the only rank.
    pub fn channel(&self) -> Box<dyn Channel> {
        let channel = self.client().open(&sampler("loader"), &rank(0, 1));
        channel.unwrap()
    }

    /// A count of the metrics.
    pub fn count(&self, name: &str) -> u64 {
        count(&self.client(), name)
    }

    /// Ends the server.
    pub fn end(mut self) -> Vec<CutOff> {
        self.ender.drain();
        self.server.take().unwrap().wait()
    }
}

/// A count of a server's metrics.
pub fn count(client: &Remote, name: &str) -> u64 {
    let text = client.metrics().unwrap();
    let name = format!("shardloom_graph_store_{name} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap_or_else(|| panic!("no {name} in {text}"))
        .parse()
        .unwrap()
}

/// Settings of a loader with facts for seeds.
pub fn sampler(key: &str) -> SamplerSpec {
    let plan = SamplePlan {
        exclude: Exclude::SeedsAndInverse,
        facts: true,
        ..SamplePlan::uniform(&[8, 4])
    };
    let mut spec = SamplerSpec::new(key, plan, NonZeroU32::new(256).unwrap());
    spec.seed = 11;
    spec.order = Order::Shuffled;
    spec
}

/// Settings of a rank, with facts for seeds.
pub fn rank(rank: u32, size: u32) -> ChannelSpec {
    ChannelSpec {
        seeds: SeedSpec::Facts {
            slice: Slice {
                start: 0,
                end: 1,
                of: 4,
            },
        },
        world: World { rank, size },
        ..ChannelSpec::default()
    }
}

/// Next batch; `None` at the end of the epoch.
pub fn next(channel: &mut dyn Channel) -> Option<SampledBatch> {
    match channel.next(LIMIT).unwrap() {
        Next::Batch(sampled) => Some(*sampled),
        Next::Done(_) => None,
    }
}

/// Bytes of all batches of an epoch, by index.
pub fn epoch(channel: &mut dyn Channel, epoch: u64) -> Vec<(u64, Vec<u8>)> {
    let begun = channel.start(epoch).unwrap();
    let mut batches = Vec::new();
    while let Some(sampled) = next(channel) {
        batches.push((sampled.draw.index, packed::encode(&sampled)));
    }
    assert_eq!(batches.len() as u64, begun.batches);
    batches
}

/// Waits until something holds.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LIMIT, "{what} does not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A server of a process of its own. Dropping it kills the process.
pub struct Process {
    pub child: Child,
    pub addresses: Vec<Address>,
    told: Option<JoinHandle<Vec<String>>>,
}

impl Process {
    /// Starts `shardloom graph-store` for a file, and waits until it takes calls.
    pub fn start(file: &Path, arguments: &[&str]) -> Process {
        let ready = tempfile::NamedTempFile::new().unwrap();
        let ready = ready.into_temp_path();
        std::fs::remove_file(&ready).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_shardloom"))
            .arg("graph-store")
            .arg(file)
            .arg("--ready-file")
            .arg(&ready)
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut error = BufReader::new(child.stderr.take().unwrap());
        let mut first = String::new();
        error.read_line(&mut first).unwrap();
        assert!(first.starts_with("serving "), "{first}");
        // Later lines are read, so that the process never waits for their reader.
        let told = std::thread::spawn(move || error.lines().map_while(Result::ok).collect());
        wait_until("the ready file", || ready.exists());
        let text = std::fs::read_to_string(&ready).unwrap();
        Process {
            child,
            told: Some(told),
            addresses: text.lines().map(|line| line.parse().unwrap()).collect(),
        }
    }

    /// A new client.
    pub fn client(&self) -> Remote {
        Remote::new(&self.addresses[0], &RemoteOptions::default()).unwrap()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        signal_process(self.child.id(), signal);
    }

    /// Lines that the process has told after the first, once it has ended.
    pub fn told(&mut self) -> Vec<String> {
        self.told.take().unwrap().join().unwrap()
    }

    /// Waits for the end.
    pub fn wait(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < LIMIT, "the server does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Sends a signal to a process that a test has started.
pub fn signal_process(id: u32, signal: i32) {
    let status = Command::new("kill")
        .arg(format!("-{signal}"))
        .arg(id.to_string())
        .status();
    assert!(status.unwrap().success());
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processor time of a process, in nanoseconds. Time of threads that have ended does not count.
#[cfg(target_os = "linux")]
pub fn processor_nanos(process: u32) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let of = |thread: std::fs::DirEntry| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    threads.filter_map(|thread| of(thread.ok()?)).sum()
}

/// Bytes of memory that a process has of its own.
#[cfg(target_os = "linux")]
pub fn anonymous_memory(process: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse::<u64>().unwrap() << 10
}
