//! Several nodes that train one model, in one process: streams go through memory.

// As in the library: futures hold shards, and these wgpu's types.
#![recursion_limit = "256"]

mod against_all;
mod counting;
mod ranking;
mod together;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use self::counting::Counting;
use shardloom::cluster::leader::{Lead, Leader};
use shardloom::cluster::node::{Node, NodeEnding, NodeError};
use shardloom::config::{Config, Layers};
use shardloom::coordinator::MemberInfo;
use shardloom::dataset::{Dataset, Genealogy};
use shardloom::kernel::{Backend, Column, TableName};
use shardloom::net::{Channel, Dial, LocalNetwork};
use shardloom::server::ParameterServer;
use shardloom::train::{NodePlace, Prepared, Trainer, node, prepare, run_digest};
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
    /// Opens the streams of nodes, and counts what they carry.
    dial: Arc<Counting>,
    runtime: Runtime,
    leader: Leader,
    /// Engine of which those of nodes are made.
    engine: Backend,
    nodes: AtomicUsize,
}

type Session = JoinHandle<Result<NodeEnding, NodeError>>;

impl Cluster {
    fn new(config: Config) -> Arc<Cluster> {
        Cluster::on(Backend::cpu(), config)
    }

    /// Nodes that compute on the device of an engine.
    fn on(engine: Backend, config: Config) -> Arc<Cluster> {
        let dataset = family();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let network = LocalNetwork::default();
        Arc::new(Cluster {
            prepared: prepare(&config, &dataset),
            leader: Leader::new(1, run_digest(&config, &dataset)),
            config,
            dataset,
            dial: Arc::new(Counting::new(&network)),
            network,
            runtime,
            engine,
            nodes: AtomicUsize::new(0),
        })
    }

    /// Starts a node, which joins the leader; the first one is the leader's own.
    fn join(&self) -> Session {
        let number = self.nodes.fetch_add(1, Ordering::Relaxed);
        let (address, leader) = match number {
            0 => (LEADER.to_owned(), Some(self.leader.clone())),
            number => (format!("node {number}"), None),
        };
        let place = NodePlace {
            address: address.clone(),
            dial: self.dial.clone(),
            info: MemberInfo::default(),
            threads: Some(1),
        };
        let node: Node = node(
            &self.config,
            &self.dataset,
            &self.prepared,
            self.engine.another().unwrap(),
            place,
        );
        self.network.listen(&address, Arc::new(node.accept(leader)));
        let network = self.network.clone();
        self.runtime.spawn(async move {
            let limit = std::time::Duration::from_secs(2);
            let stream = network.open(LEADER, Channel::Session, limit).await;
            node.join(stream.map_err(NodeError::LeaderLost)?).await
        })
    }

    /// A trainer that leads.
    fn trainer(&self, expected: usize) -> Trainer {
        let mut trainer = Trainer::open(self.config.clone(), &self.dataset).unwrap();
        trainer.lead = Some(Lead {
            leader: self.leader.clone(),
            address: LEADER.to_owned(),
            expected,
            dial: Arc::new(self.network.clone()),
            runtime: self.runtime.handle().clone(),
            leads: Arc::new(|| Ok(())),
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
