//! A node of a cluster, from a configuration and a dataset.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_128;

use super::setup::validation_facts;
use super::{Prepared, initializer, shape, step_spec};
use crate::cluster::node::{Node, NodeOptions, RankSource};
use crate::config::Config;
use crate::coordinator::MemberInfo;
use crate::dataset::{Dataset, FilterIndex, Triple};
use crate::device::DeviceChoice;
use crate::eval::fill_batch;
use crate::kernel::{Backend, RankBatch};
use crate::net::Dial;
use crate::sampler::{Objective, QueryRule};

/// Facts that all nodes validate on.
#[derive(Debug)]
struct ValidationFacts {
    rule: QueryRule,
    filter: Arc<FilterIndex>,
    facts: Vec<Triple>,
}

impl RankSource for ValidationFacts {
    fn batch(&self, facts: Range<usize>) -> Option<RankBatch> {
        let mut batch = RankBatch::default();
        fill_batch(&self.rule, &self.filter, self.facts.get(facts)?, &mut batch);
        Some(batch)
    }
}

/// Place of a node: its address and its means.
#[derive(Clone, Debug)]
pub struct NodePlace {
    /// Address at which other nodes reach the node.
    pub address: String,
    /// Opens streams to other nodes.
    pub dial: Arc<dyn Dial>,
    /// Description of the node for people.
    pub info: MemberInfo,
    /// Directory of the run; `None` if the node's process cannot reach the directory.
    pub directory: Option<PathBuf>,
    /// Number of threads that compute; `None` stands for all cores, or a GPU.
    pub threads: Option<usize>,
    /// Bytes that the node's shards may take; `None` stands for all memory that is free.
    pub memory: Option<u64>,
}

/// Makes a node that computes on `engine`.
pub fn node(
    config: &Config,
    dataset: &Dataset,
    prepared: &Prepared,
    engine: Backend,
    place: NodePlace,
) -> Node {
    let options = NodeOptions {
        shape: shape(config, dataset),
        storage: config.storage(),
        init: initializer(config),
        directory: place.directory,
        spec: step_spec(config),
        source: prepared.sampler.clone(),
        ranking: (config.validate_every > 0).then(|| {
            Arc::new(ValidationFacts {
                rule: prepared.sampler.rule,
                filter: Arc::clone(&prepared.filter),
                facts: validation_facts(config, dataset),
            }) as Arc<dyn RankSource>
        }),
        against_all: config.objective != Objective::Negatives,
        threads: place.threads,
        memory: place.memory,
        address: place.address,
        info: place.info,
        run: run_digest(config, dataset),
        dial: place.dial,
        value_type: config.wire_type,
        // The shards answer before: each of their waits has the time of a step as its limit.
        deadline: config.step_timeout().saturating_add(Duration::from_secs(5)),
    };
    Node::new(engine, options)
}

/// Digest of a graph, for the manifests of cuts. In hexadecimal digits.
pub fn dataset_digest(dataset: &Dataset) -> String {
    let text = format!("{:?}", dataset.digest());
    format!("{:032x}", xxh3_128(text.as_bytes()))
}

/// Digest of all that nodes of a run must have in common: the graph, and the configuration without what belongs to one
/// process. In hexadecimal digits.
pub fn run_digest(config: &Config, dataset: &Dataset) -> String {
    let own = Config::default();
    let common = Config {
        device: DeviceChoice::Auto,
        shard_devices: own.shard_devices,
        workers: own.workers,
        min_workers: own.min_workers,
        max_workers: own.max_workers,
        replicas: own.replicas,
        cut_seconds: own.cut_seconds,
        epochs: own.epochs,
        dataset: String::new(),
        init_from: None,
        output: None,
        graph_store: None,
        graph_store_token_file: None,
        graph_store_tls: None,
        ..config.clone()
    };
    let text = format!("{common:?}\n{:?}", dataset.digest());
    format!("{:032x}", xxh3_128(text.as_bytes()))
}
