//! The nodes of a run as the leader sees them: their sessions, and who holds which shards.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::reports::{Report, Reports};
use super::{Cut, Leader, Leads, NodeHandle, SessionId};
use crate::cluster::messages::{
    AfterStop, Configuration, Hello, Node, RankTask, Source, Task, ToNode,
};
use crate::cluster::placement::place;
use crate::coordinator::{Cause, Failure, StopReason};
use crate::ids::{Generation, Incarnation, LayoutVersion, ShardId, Step, WorkerId};
use crate::kernel::TableSpec;
use crate::net::cut::{Cuts, SavedCut, TableError};
use crate::net::{Dial, NetError};
use crate::server::{Layout, ParameterServer, RowMap, ServerError};

/// Arguments of [`Nodes::new`].
pub struct NodesOptions {
    /// The leader.
    pub leader: Leader,
    /// Rows of every shard.
    pub layout: Layout,
    /// Description of the tables: entities, relations.
    pub specs: [TableSpec; 2],
    /// Rows that training goes on from.
    pub first: First,
    /// Cuts of the run.
    pub cuts: Cuts,
    /// Digest of the graph, for the cuts.
    pub dataset: String,
    /// Progress of the trainer, for the first cut.
    pub state: serde_json::Value,
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

/// Rows that training goes on from.
#[derive(Clone, Debug)]
pub enum First {
    /// Initial rows, which every holder makes by itself.
    Initial,
    /// Rows of a server of this process, which has the layout of the run. They are saved as the first cut.
    Server(ParameterServer),
    /// A cut. The layout of the run is that of the cut.
    Cut(SavedCut),
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
    pub(super) options: NodesOptions,
    pub(super) map: Arc<RowMap>,
    /// Bytes of every shard, with its states.
    bytes: Vec<u64>,
    pub(super) joined: BTreeMap<WorkerId, Joined>,
    /// Nodes that leave, and whose shards others still need.
    leaving: BTreeMap<WorkerId, Joined>,
    /// Nodes that have left before others had their shards.
    departed: BTreeSet<WorkerId>,
    reports: Reports,
    /// Holders in this generation.
    holders: Vec<Vec<WorkerId>>,
    /// Holders of the last committed step; nobody before the first, or after a return to the cut.
    pub(super) valid: Vec<Vec<WorkerId>>,
    pub(super) generation: Generation,
    /// Generation of the last committed step.
    committed: Generation,
    /// Number of steps committed.
    steps: u64,
    /// Incarnation of the leader, in the records of files that the leader writes.
    pub(super) incarnation: Incarnation,
    /// Last failure of a holder in a cut.
    pub(super) last_failure: Option<NetError>,
}

#[derive(Debug)]
pub(super) struct Joined {
    session: SessionId,
    pub(super) address: String,
    /// True if the node can read and write the run's directory.
    pub(super) directory: bool,
    handle: NodeHandle,
}

impl Nodes {
    /// Starts without nodes.
    ///
    /// # Errors
    /// The errors of the layout; [`First::Server`]: if the first cut cannot be written.
    pub fn new(mut options: NodesOptions) -> Result<Nodes, TableError> {
        if let First::Cut(cut) = &options.first {
            options.layout = Layout {
                version: LayoutVersion::next(),
                ..cut.manifest.layout.clone()
            };
        }
        let map = Arc::new(RowMap::new(&options.layout).map_err(ServerError::from)?);
        let spec = |shard: ShardId| options.specs[shard.table as usize].row_bytes();
        let bytes = map
            .shards()
            .map(|shard| (map.range(shard).len() * spec(shard)) as u64);
        let bytes: Vec<u64> = bytes.collect();
        let steps = options.steps;
        let first = std::mem::replace(&mut options.first, First::Initial);
        let state = options.state.take();
        let mut nodes = Nodes {
            valid: vec![Vec::new(); bytes.len()],
            holders: vec![Vec::new(); bytes.len()],
            steps,
            bytes,
            map,
            joined: BTreeMap::new(),
            leaving: BTreeMap::new(),
            departed: BTreeSet::new(),
            reports: Reports::default(),
            generation: Generation(0),
            incarnation: Incarnation::random(),
            last_failure: None,
            committed: Generation(0),
            options,
        };
        let files = match first {
            First::Initial => None,
            First::Cut(cut) => Some(cut),
            First::Server(server) => {
                nodes.cut_server(&server, &state)?;
                return Ok(nodes);
            }
        };
        nodes.options.leader.set_cut(Arc::new(Cut { steps, files }));
        Ok(nodes)
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

    /// Returns whether nodes hold the last committed step of all shards: not at the start of a run, nor after a return to
    /// a cut.
    pub fn hold_all(&self) -> bool {
        let held = |holders: &Vec<WorkerId>| holders.iter().any(|&one| self.present(one).is_some());
        self.valid.iter().all(held)
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
            directory: hello.directory,
            handle,
        };
        self.joined.insert(worker, joined);
    }

    /// Lets a node go. A node that leaves by itself stays until others have its shards, for the next generation.
    pub fn dismiss(&mut self, worker: WorkerId, cause: &Cause) {
        let Some(joined) = self.joined.remove(&worker) else {
            return;
        };
        self.reports.forget(worker);
        if *cause == Cause::Left && self.valid.iter().any(|valid| valid.contains(&worker)) {
            self.leaving.insert(worker, joined);
            return;
        }
        joined.handle.send(ToNode::Stop {
            reason: cause.to_string(),
            then: match cause {
                Cause::Failed(Failure::Unreachable { .. }) => AfterStop::JoinAgain,
                _ => AfterStop::End,
            },
        });
    }

    /// Lets the nodes go that have left, once nobody needs their shards.
    fn release(&mut self) {
        let Nodes { leaving, valid, .. } = self;
        leaving.retain(|worker, joined| {
            let needed = valid.iter().any(|valid| valid.contains(worker));
            if !needed {
                joined.handle.send(ToNode::Stop {
                    reason: Cause::Left.to_string(),
                    then: AfterStop::End,
                });
            }
            needed
        });
    }

    /// A node, if it can still send its shards.
    pub(super) fn present(&self, worker: WorkerId) -> Option<&Joined> {
        self.joined.get(&worker).or(self.leaving.get(&worker))
    }

    /// Records that a node cannot reach another. A report of an earlier generation does not count: the other node may
    /// have refused what nobody wants any more.
    pub fn report(
        &mut self,
        now: Duration,
        generation: Generation,
        by: WorkerId,
        of: WorkerId,
        reason: String,
    ) {
        if generation != self.generation {
            tracing::debug!(%generation, %by, %of, reason, "report of an earlier generation");
            return;
        }
        // The leader's own process stays, and shards of a node that has left are found nowhere else.
        let by_goes = self.is_own(of) || self.departed.contains(&of);
        if self.joined.contains_key(&by) && (by_goes || self.joined.contains_key(&of)) {
            self.reports.add(now, Report { by, of, reason }, by_goes);
        }
    }

    /// A node that has to go because others cannot reach it, with a sentence.
    pub fn unreachable(&mut self, now: Duration) -> Option<(WorkerId, String)> {
        let own = self
            .joined
            .keys()
            .copied()
            .find(|&worker| self.is_own(worker));
        self.reports.due(now, own)
    }

    /// A session has ended. Returns the worker, if it has not been let go before.
    pub fn gone(&mut self, session: SessionId) -> Option<WorkerId> {
        let Nodes {
            leaving, departed, ..
        } = self;
        leaving.retain(|&worker, joined| {
            let stays = joined.session != session;
            if !stays {
                departed.insert(worker);
            }
            stays
        });
        self.worker(session)
    }

    /// Lets all nodes go.
    pub fn dismiss_all(&mut self, reason: &StopReason) {
        let then = match reason {
            StopReason::Interrupted | StopReason::Failed { .. } => AfterStop::OtherLeader,
            _ => AfterStop::End,
        };
        let reason = reason.to_string();
        let joined = std::mem::take(&mut self.joined).into_values();
        let leaving = std::mem::take(&mut self.leaving).into_values();
        for joined in joined.chain(leaving) {
            joined.handle.send(ToNode::Stop {
                reason: reason.clone(),
                then,
            });
        }
        self.options.leader.end(&reason, then);
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
            let joined = self.present(*worker)?;
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
        let nodes = workers.iter().filter_map(node).collect();
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
            run: self.options.cuts.run().to_owned(),
            cut: self.saved().map(|cut| cut.manifest.attempt()),
            lanes,
            timeout: self.options.timeout.as_secs_f64(),
            layout: self.map.layout(),
            nodes,
            holders: self.holders.clone(),
            sources,
        };
        tracing::info!(%generation, ?workers, steps = self.steps, "configured");
        for worker in workers {
            self.send(*worker, ToNode::Configure(Box::new(configuration.clone())));
        }
        Ok(())
    }

    /// Workers that hold each shard in this generation, the one that serves it first, and bytes of each shard.
    pub fn holders(&self) -> (&[Vec<WorkerId>], &[u64]) {
        (&self.holders, &self.bytes)
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
        if self.generation != self.committed {
            self.committed = self.generation;
            tracing::info!(%generation, %step, "first step of a generation committed");
        }
        self.steps = step.0 + 1;
        self.valid.clone_from(&self.holders);
        self.release();
    }

    /// Tells all holders to discard the step that runs.
    pub fn discard(&self, generation: Generation) {
        self.broadcast(&ToNode::Discard { generation });
    }

    /// Number of steps of the last cut.
    pub fn cut_steps(&self) -> Option<u64> {
        self.options.leader.cut().map(|cut| cut.steps)
    }

    /// The last cut, if it has files.
    pub fn saved(&self) -> Option<SavedCut> {
        self.options.leader.cut()?.files.clone()
    }

    /// Sends all shards back to the last cut, from the next generation on; returns its number of steps.
    pub fn go_back(&mut self) -> u64 {
        self.valid.fill(Vec::new());
        self.release();
        self.steps = self.cut_steps().unwrap_or(self.steps);
        self.steps
    }
}
