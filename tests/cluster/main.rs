//! Several nodes that train one model, in one process: streams go through memory.

// As in the library: futures hold shards, and these wgpu's types.
#![recursion_limit = "256"]

mod against_all;
mod bytes;
mod counting;
mod cuts;
mod links;
mod near;
mod ranking;
mod refusals;
mod together;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use shardloom::cluster::leader::{FirstRows, Lead, Leader};
use shardloom::cluster::node::{Node, NodeEnding, NodeError, NodeShards};
use shardloom::config::{Config, Layers};
use shardloom::coordinator::MemberInfo;
use shardloom::dataset::{Dataset, Genealogy};
use shardloom::kernel::{Backend, Column, TableName};
use shardloom::net::cut::Cuts;
use shardloom::net::{Channel, Dial, LocalNetwork};
use shardloom::server::ParameterServer;
use shardloom::train::{
    NodePlace, Prepared, Trainer, dataset_digest, node, open_executor_without_rows, prepare,
    run_digest, shape,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

const LEADER: &str = "leader";

fn family() -> Dataset {
    let people = 100;
    Genealogy { people, seed: 3 }.generate().unwrap()
}

fn config(text: &str) -> Config {
    let mut layers = Layers::new();
    let base = "device = \"cpu\"\ndim = 8\nepochs = 3\nbatch_size = 64\nvalidate_every = 0\nshards = 6\n\
                gradient_partitions = 4\nstep_timeout = 20.0\n";
    layers.text("base", base).unwrap();
    layers.text("test", text).unwrap();
    layers.build().unwrap()
}

/// All values of a server's tables, with the optimizer's states.
fn tables(server: &ParameterServer) -> Vec<Vec<u32>> {
    let columns = TableName::ALL.into_iter().flat_map(|table| {
        [Column::Values, Column::First, Column::Second].map(|column| (table, column))
    });
    let read = |(table, column)| -> Vec<u32> {
        let values = server.read(table, column).unwrap();
        values.into_iter().map(f32::to_bits).collect()
    };
    columns.map(read).collect()
}

/// Nodes of one run in this process.
struct Cluster {
    config: Config,
    dataset: Dataset,
    prepared: Prepared,
    network: LocalNetwork,
    /// Opens streams in the network.
    dial: Arc<dyn Dial>,
    runtime: Runtime,
    leader: Leader,
    /// Engine of which those of nodes are made.
    engine: Backend,
    nodes: AtomicUsize,
    /// Shards of all nodes.
    shards: Mutex<Vec<NodeShards>>,
    /// Directory of the run.
    directory: TempDir,
}

type Session = JoinHandle<Result<NodeEnding, NodeError>>;

impl Cluster {
    fn new(config: Config) -> Arc<Cluster> {
        Cluster::led(config, 1, tempfile::tempdir().unwrap())
    }

    /// Nodes that compute on the device of an engine.
    fn on(engine: Backend, config: Config) -> Arc<Cluster> {
        let mut cluster = Cluster::new(config);
        Arc::get_mut(&mut cluster).unwrap().engine = engine;
        cluster
    }

    /// A cluster of a leader of an epoch, for a run in a directory.
    fn led(config: Config, epoch: u32, directory: TempDir) -> Arc<Cluster> {
        let network = LocalNetwork::default();
        let dial = Arc::new(network.clone());
        Cluster::made(config, epoch, directory, network, dial)
    }

    /// Nodes that open streams by `dial`.
    fn dialing(config: Config, network: LocalNetwork, dial: Arc<dyn Dial>) -> Arc<Cluster> {
        Cluster::made(config, 1, tempfile::tempdir().unwrap(), network, dial)
    }

    fn made(
        config: Config,
        epoch: u32,
        directory: TempDir,
        network: LocalNetwork,
        dial: Arc<dyn Dial>,
    ) -> Arc<Cluster> {
        let dataset = family();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        Arc::new(Cluster {
            prepared: prepare(&config, &dataset).unwrap(),
            leader: Leader::new(epoch, run_digest(&config, &dataset)),
            config,
            dataset,
            network,
            dial,
            runtime,
            engine: Backend::cpu(),
            nodes: AtomicUsize::new(0),
            shards: Mutex::default(),
            directory,
        })
    }

    fn cuts(&self) -> Cuts {
        Cuts::new(self.directory.path(), "run")
    }

    /// Starts a node, which joins the leader; the first one is the leader's own. Every other node does not have the
    /// run's directory.
    fn join(&self) -> Session {
        let number = self.nodes.fetch_add(1, Ordering::Relaxed);
        let (address, leader) = match number {
            0 => (LEADER.to_owned(), Some(self.leader.clone())),
            number => (format!("node {number}"), None),
        };
        let place = NodePlace {
            address: address.clone(),
            dial: Arc::clone(&self.dial),
            info: MemberInfo::default(),
            directory: number
                .is_multiple_of(2)
                .then(|| self.directory.path().to_owned()),
            threads: Some(1),
            memory: None,
        };
        let node: Node = node(
            &self.config,
            &self.dataset,
            &self.prepared,
            self.engine.another().unwrap(),
            place,
        );
        self.shards.lock().unwrap().push(node.shards().clone());
        self.network.listen(&address, Arc::new(node.accept(leader)));
        let dial = Arc::clone(&self.dial);
        self.runtime.spawn(async move {
            let limit = std::time::Duration::from_secs(2);
            let stream = dial.open(LEADER, Channel::Session, limit).await;
            node.join(stream.map_err(NodeError::LeaderLost)?).await
        })
    }

    /// A trainer that leads, and has no rows until training has ended.
    fn trainer(&self, expected: usize) -> Trainer {
        let shape = shape(&self.config, &self.dataset);
        let executor = open_executor_without_rows(&self.config, Backend::cpu(), shape).unwrap();
        let mut trainer = Trainer::new(self.config.clone(), &self.dataset, executor).unwrap();
        trainer.lead = Some(Lead {
            leader: self.leader.clone(),
            address: LEADER.to_owned(),
            expected,
            dial: Arc::clone(&self.dial),
            runtime: self.runtime.handle().clone(),
            leads: Arc::new(|| Ok(())),
            cuts: self.cuts(),
            dataset: dataset_digest(&self.dataset),
            first: FirstRows::Initial,
        });
        trainer
    }
}

/// The tables that one process alone makes of a configuration.
fn alone(config: &Config) -> Vec<Vec<u32>> {
    let mut trainer = Trainer::open(config.clone(), &family()).unwrap();
    trainer.train(&mut shardloom::train::NoObserver).unwrap();
    tables(trainer.server())
}
