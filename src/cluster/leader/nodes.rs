//! The nodes of a run as the leader sees them: their sessions, and who holds which shards.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::{Cut, Leader, Leads, NodeHandle, SessionId};
use crate::cluster::columns::fetch_column;
use crate::cluster::messages::{
    ColumnName, ColumnRequest, Configuration, Hello, Node, RankTask, Source, Task, ToNode,
};
use crate::cluster::placement::place;
use crate::ids::{Generation, ShardId, Step, WorkerId};
use crate::kernel::Column;
use crate::net::{Dial, NetError};
use crate::server::{ParameterServer, RowMap, ServerError};

/// Arguments of [`Nodes::new`].
pub struct NodesOptions {
    /// The leader.
    pub leader: Leader,
    /// Server with the tables at the start, and their layout.
    pub server: ParameterServer,
    /// Address of the leader.
    pub address: String,
    /// Holders of each shard.
    pub replicas: usize,
    /// Longest time of a step.
    pub timeout: Duration,
    /// Number of steps made before.
    pub steps: u64,
    /// Opens streams to nodes.
    pub dial: Arc<dyn Dial>,
    /// Runtime of the network.
    pub runtime: Handle,
    /// Checks that this process still leads.
    pub leads: Leads,
}

impl fmt::Debug for NodesOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodesOptions")
            .field("leader", &self.leader)
            .field("address", &self.address)
            .field("replicas", &self.replicas)
            .finish_non_exhaustive()
    }
}

/// Shards whose last committed step nobody holds any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody holds {} any more", list(.0))]
pub struct LostShards(pub Vec<ShardId>);

fn list(shards: &[ShardId]) -> String {
    match shards {
        [] => "no shard".to_owned(),
        [one] => one.to_string(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    }
}

/// The nodes of a run.
#[derive(Debug)]
pub struct Nodes {
    options: NodesOptions,
    map: Arc<RowMap>,
    /// Bytes of every shard, with its states.
    bytes: Vec<u64>,
    joined: BTreeMap<WorkerId, Joined>,
    /// Holders in this generation.
    holders: Vec<Vec<WorkerId>>,
    /// Holders of the last committed step; nobody before the first, or after a return to the cut.
    valid: Vec<Vec<WorkerId>>,
    generation: Generation,
    /// Number of steps committed.
    steps: u64,
}

#[derive(Debug)]
struct Joined {
    session: SessionId,
    address: String,
    handle: NodeHandle,
}

impl Nodes {
    /// Starts without nodes. The shards are those of the server, as the first cut.
    ///
    /// # Errors
    /// If a device of the server is lost.
    pub fn new(options: NodesOptions) -> Result<Nodes, ServerError> {
        let layout = options
            .runtime
            .block_on(crate::server::ShardClient::layout(&options.server))?;
        let map = Arc::new(RowMap::new(&layout)?);
        let cut = Cut::of(&options.server, options.steps, Arc::clone(&map))?;
        options.leader.set_cut(Arc::new(cut));
        let spec = |shard: ShardId| options.server.spec(shard.table).row_bytes();
        let bytes = map
            .shards()
            .map(|shard| (map.range(shard).len() * spec(shard)) as u64);
        let bytes: Vec<u64> = bytes.collect();
        Ok(Nodes {
            valid: vec![Vec::new(); bytes.len()],
            holders: vec![Vec::new(); bytes.len()],
            steps: options.steps,
            bytes,
            map,
            joined: BTreeMap::new(),
            generation: Generation(0),
            options,
        })
    }

    /// Number of nodes that have joined and are not gone.
    pub fn count(&self) -> usize {
        self.joined.len()
    }

    /// Checks that this process still leads.
    ///
    /// # Errors
    /// A sentence if another does.
    pub fn leads(&self) -> Result<(), String> {
        (self.options.leads)()
    }

    /// Number of steps committed.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Returns whether a worker is the node of the leader's own process.
    pub fn is_own(&self, worker: WorkerId) -> bool {
        let joined = self.joined.get(&worker);
        joined.is_some_and(|joined| joined.address == self.options.address)
    }

    /// Worker of a session.
    pub fn worker(&self, session: SessionId) -> Option<WorkerId> {
        let of = |(_, joined): &(&WorkerId, &Joined)| joined.session == session;
        self.joined.iter().find(of).map(|(&worker, _)| worker)
    }

    /// Admits a node as a worker.
    pub fn welcome(
        &mut self,
        worker: WorkerId,
        session: SessionId,
        hello: &Hello,
        handle: NodeHandle,
    ) {
        let epoch = self.options.leader.epoch();
        handle.send(ToNode::Welcome { worker, epoch });
        let joined = Joined {
            session,
            address: hello.address.clone(),
            handle,
        };
        self.joined.insert(worker, joined);
    }

    /// Lets a node go.
    pub fn dismiss(&mut self, worker: WorkerId, reason: &str) {
        if let Some(joined) = self.joined.remove(&worker) {
            let reason = reason.to_owned();
            joined.handle.send(ToNode::Stop { reason });
        }
    }

    /// Lets all nodes go.
    pub fn dismiss_all(&mut self, reason: &str) {
        let workers: Vec<WorkerId> = self.joined.keys().copied().collect();
        for worker in workers {
            self.dismiss(worker, reason);
        }
    }

    /// Starts a generation of workers with `lanes` parts of a step: chooses the holders of all shards, and tells all
    /// nodes.
    ///
    /// # Errors
    /// [`LostShards`] if nobody has the last committed step of some shards: call [`Nodes::go_back`] first.
    pub fn configure(
        &mut self,
        generation: Generation,
        workers: &[WorkerId],
        lanes: u32,
    ) -> Result<(), LostShards> {
        let at_cut = self.cut_steps() == Some(self.steps);
        let node = |worker: &WorkerId| {
            let joined = self.joined.get(worker)?;
            Some(Node {
                worker: *worker,
                address: joined.address.clone(),
            })
        };
        let mut lost = Vec::new();
        let mut sources = Vec::with_capacity(self.bytes.len());
        for (shard, valid) in self.map.shards().zip(&self.valid) {
            let alive: Vec<Node> = valid.iter().filter_map(node).collect();
            match alive.is_empty() {
                false => sources.push(Source::Holders(alive)),
                true if at_cut => sources.push(Source::Cut),
                true => lost.push(shard),
            }
        }
        if !lost.is_empty() {
            return Err(LostShards(lost));
        }
        let before = match self.valid.iter().all(Vec::is_empty) {
            true => &self.holders,
            false => &self.valid,
        };
        self.holders = place(&self.bytes, workers, self.options.replicas, before);
        self.generation = generation;
        let configuration = Configuration {
            epoch: self.options.leader.epoch(),
            generation,
            steps: self.steps,
            leader: self.options.address.clone(),
            lanes,
            timeout: self.options.timeout.as_secs_f64(),
            layout: self.map.layout(),
            nodes: workers.iter().filter_map(node).collect(),
            holders: self.holders.clone(),
            sources,
        };
        tracing::info!(%generation, ?workers, steps = self.steps, "configured");
        for worker in workers {
            self.send(*worker, ToNode::Configure(Box::new(configuration.clone())));
        }
        Ok(())
    }

    fn send(&self, worker: WorkerId, message: ToNode) {
        if let Some(joined) = self.joined.get(&worker) {
            joined.handle.send(message);
        }
    }

    fn broadcast(&self, message: &ToNode) {
        for joined in self.joined.values() {
            joined.handle.send(message.clone());
        }
    }

    /// Gives a node its part of a step.
    pub fn start(&self, worker: WorkerId, task: Task) {
        self.send(worker, ToNode::Start(task));
    }

    /// Asks the nodes of the generation to rank facts.
    pub fn rank(&self, task: &RankTask) {
        self.broadcast(&ToNode::Rank(task.clone()));
    }

    /// Tells all holders to apply a step, counted from 0.
    pub fn commit(&mut self, generation: Generation, step: Step, rate: f64) {
        self.broadcast(&ToNode::Commit {
            generation,
            step,
            rate,
        });
        self.steps = step.0 + 1;
        self.valid.clone_from(&self.holders);
    }

    /// Tells all holders to discard the step that runs.
    pub fn discard(&self, generation: Generation) {
        self.broadcast(&ToNode::Discard { generation });
    }

    /// Number of steps of the last cut.
    pub fn cut_steps(&self) -> Option<u64> {
        self.options.leader.cut().map(|cut| cut.steps())
    }

    /// Sends all shards back to the last cut, from the next generation on; returns its number of steps.
    pub fn go_back(&mut self) -> u64 {
        self.valid.fill(Vec::new());
        self.steps = self.cut_steps().unwrap_or(self.steps);
        self.steps
    }

    /// Makes a new cut of the last committed step, from the holders of all shards, and copies it to the leader's server.
    /// The cut before stays if this fails.
    ///
    /// # Errors
    /// [`CutError`].
    pub fn cut(&mut self) -> Result<(), CutError> {
        if self.cut_steps() == Some(self.steps) {
            return Ok(());
        }
        let mut cut = Cut::new(self.steps, Arc::clone(&self.map));
        for shard in self.map.shards() {
            let valid = &self.valid[self.map.index(shard)];
            let mut fetched = Err(None);
            for worker in valid {
                let Some(joined) = self.joined.get(worker) else {
                    continue;
                };
                fetched = self.fetch(&joined.address, shard, &mut cut).map_err(Some);
                match &fetched {
                    Ok(()) => break,
                    Err(error) => tracing::warn!(%shard, %worker, ?error, "shard not saved"),
                }
            }
            if let Err(error) = fetched {
                let lost = LostShards(vec![shard]);
                return Err(CutError { lost, error });
            }
        }
        let cut = Arc::new(cut);
        let written = cut.write_to(&self.options.server);
        written.map_err(|error| CutError {
            lost: LostShards(Vec::new()),
            error: Some(NetError::Options(error.to_string())),
        })?;
        self.options.leader.set_cut(cut);
        Ok(())
    }

    fn fetch(&self, address: &str, shard: ShardId, cut: &mut Cut) -> Result<(), NetError> {
        let spec = self.options.server.spec(shard.table);
        let rows = self.map.range(shard).len();
        for column in ColumnName::ALL {
            let width = Column::from(column).width(&spec);
            if width == 0 {
                continue;
            }
            let request = ColumnRequest {
                epoch: self.options.leader.epoch(),
                generation: Some(self.generation),
                steps: self.steps,
                shard,
                column,
            };
            let mut values = Vec::with_capacity(rows * width);
            let dial = &*self.options.dial;
            let fetched = fetch_column(dial, address, &request, (rows, width), |_, part| {
                values.extend_from_slice(part);
                Ok(())
            });
            self.options.runtime.block_on(fetched)?;
            cut.insert(shard, column, values);
        }
        Ok(())
    }
}

/// A cut that was not made.
#[derive(Clone, Debug, thiserror::Error)]
#[error("no cut: {lost}{}", .error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default())]
pub struct CutError {
    /// Shards that nobody could send.
    pub lost: LostShards,
    /// Last failure.
    pub error: Option<NetError>,
}
