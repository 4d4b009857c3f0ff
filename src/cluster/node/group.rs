//! The group of a generation's nodes, for steps and rankings against all entities.
//!
//! Every node has one rank: its place among the nodes of the configuration. Of each pair of nodes the later one opens
//! the stream.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::RouteError;
use super::session::DIAL_LIMIT;
use super::unfinished::{Unfinished, failed, lost, unfinished};
use crate::cluster::messages::{Configuration, Node};
use crate::collective::{Call, CollectiveError};
use crate::executor::part::PartError;
use crate::ids::{Generation, WorkerId};
use crate::net::collective::{Join, Joins, Member, Membership, Peer, ask};
use crate::net::{Channel, Dial, NetError};

/// Bits of a group's number that have the generation.
const GENERATION_BITS: u32 = 40;

/// Longest wait for a new configuration after the group has failed.
const GRACE: Duration = Duration::from_secs(2);

/// Number of the group of a generation. Groups of a later epoch of leadership are later than those of an earlier one,
/// whatever their generations.
fn number(epoch: u32, generation: Generation) -> Generation {
    Generation(u64::from(epoch) << GENERATION_BITS | generation.0)
}

/// A failure to form a group.
#[derive(Debug)]
struct NotFormed {
    /// Node that did not come, if one is known.
    worker: Option<WorkerId>,
    /// Reason, for people.
    reason: String,
}

/// A group that is being formed. Dropping it ends the attempt.
#[derive(Debug)]
pub struct Forming {
    member: oneshot::Receiver<Result<Member, NotFormed>>,
    task: AbortHandle,
}

impl Drop for Forming {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Forming {
    /// Starts to form the group of a configuration, in the current runtime.
    pub fn start(
        me: WorkerId,
        configuration: &Configuration,
        joins: Arc<Joins>,
        dial: Arc<dyn Dial>,
    ) -> Forming {
        let nodes = configuration.nodes.clone();
        let group = number(configuration.epoch, configuration.generation);
        let limit = configuration.timeout();
        let (sender, member) = oneshot::channel();
        let task = tokio::spawn(async move {
            let formed = form(me, nodes, group, &joins, dial, limit).await;
            // The generation may be over.
            let _ = sender.send(formed);
        });
        Forming {
            member,
            task: task.abort_handle(),
        }
    }

    /// Waits for the group; returns this node's rank of it.
    ///
    /// # Errors
    /// [`NotFormed`] if a node does not come within the time of a step.
    async fn member(&mut self) -> Result<Member, NotFormed> {
        let member = (&mut self.member).await;
        member.unwrap_or_else(|_| {
            Err(NotFormed {
                worker: None,
                reason: "the runtime ends".to_owned(),
            })
        })
    }
}

/// A node's rank in the group of its generation.
#[derive(Debug)]
pub(super) struct Rank {
    me: WorkerId,
    generation: Generation,
    /// Nodes of the generation, in the order of ranks.
    nodes: Vec<WorkerId>,
    forming: Forming,
    member: Option<Member>,
    /// Next call of the group.
    call: Call,
    /// Latest generation that the leader has announced.
    announced: watch::Receiver<Generation>,
}

/// Reason why work of the group ended early.
enum Stopped {
    /// The arithmetic failed, or the generation is over.
    Unfinished(Unfinished),
    /// The group failed, because of a node if one is known.
    Broken(Option<WorkerId>, String),
}

impl Rank {
    /// Makes a node's rank in a group that is being formed.
    pub fn new(
        me: WorkerId,
        configuration: &Configuration,
        forming: Forming,
        announced: watch::Receiver<Generation>,
    ) -> Rank {
        let generation = configuration.generation;
        let group = number(configuration.epoch, generation);
        Rank {
            me,
            generation,
            nodes: configuration.nodes.iter().map(|node| node.worker).collect(),
            forming,
            member: None,
            call: Call::new(group, 0, configuration.timeout()),
            announced,
        }
    }

    /// Generation of the group.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Returns whether this node is the first of the group, which speaks for all.
    pub fn leads(&self) -> bool {
        self.nodes.first() == Some(&self.me)
    }

    /// Nodes of the generation, in the order of ranks.
    pub fn nodes(&self) -> &[WorkerId] {
        &self.nodes
    }

    /// Waits for a request of the generation to holders of shards.
    ///
    /// # Errors
    /// [`Unfinished::Superseded`] once the leader has announced another generation; the failure of the request.
    pub fn wait<T>(
        &self,
        runtime: &Handle,
        request: impl Future<Output = Result<T, RouteError>>,
    ) -> Result<T, Unfinished> {
        runtime.block_on(unless_over(&self.announced, self.generation, request))
    }

    /// Runs this node's part of work that all nodes of the group do together. `work` is given the member of the group
    /// and the number of the next call, and returns its result and the number of the call after its last.
    ///
    /// # Errors
    /// [`Unfinished::Superseded`] once the leader has announced another generation; [`Unfinished::Unreachable`] if a node
    /// is lost and no other generation follows soon; the failure of the arithmetic.
    pub fn run<T>(
        &mut self,
        runtime: &Handle,
        work: impl AsyncFnOnce(&Member, Call) -> Result<(T, Call), PartError>,
    ) -> Result<T, Unfinished> {
        let Rank {
            generation,
            nodes,
            forming,
            member,
            call,
            announced,
            ..
        } = self;
        let work = async {
            let member = match member {
                Some(member) => member,
                None => {
                    let formed = forming.member().await;
                    let broken = |error: NotFormed| Stopped::Broken(error.worker, error.reason);
                    member.insert(formed.map_err(broken)?)
                }
            };
            let made = work(member, *call).await;
            made.map_err(|error| stopped(error, nodes))
        };
        let made = runtime.block_on(async {
            let stopped = tokio::select! {
                biased;
                () = over(announced, *generation) => {
                    Stopped::Unfinished(superseded("the nodes have changed"))
                }
                made = work => match made {
                    Ok(made) => return Ok(made),
                    Err(stopped) => stopped,
                },
            };
            match stopped {
                Stopped::Unfinished(unfinished) => Err(unfinished),
                Stopped::Broken(worker, reason) => {
                    // A node that is gone, or that has left for the next generation, is no news to the leader.
                    let settled = timeout(GRACE, over(announced, *generation)).await;
                    Err(match worker {
                        Some(worker) if settled.is_err() => Unfinished::Unreachable(worker, reason),
                        _ => superseded(&reason),
                    })
                }
            }
        });
        let (result, next) = made?;
        *call = next;
        Ok(result)
    }
}

/// Waits for a request of a generation, while no later one is announced: a node that is gone may answer late or never.
///
/// # Errors
/// [`Unfinished::Superseded`] once the leader has announced another generation; the failure of the request.
pub(super) async fn unless_over<T>(
    announced: &watch::Receiver<Generation>,
    generation: Generation,
    request: impl Future<Output = Result<T, RouteError>>,
) -> Result<T, Unfinished> {
    tokio::select! {
        biased;
        done = request => done.map_err(unfinished),
        () = over(announced, generation) => Err(superseded("another generation has begun")),
    }
}

/// Waits until the leader has announced a later generation, or the session has ended.
async fn over(announced: &watch::Receiver<Generation>, generation: Generation) {
    let mut announced = announced.clone();
    // An error means that the session has ended.
    let _ = announced.wait_for(|latest| *latest > generation).await;
}

fn superseded(reason: &str) -> Unfinished {
    Unfinished::Superseded(reason.to_owned())
}

fn stopped(error: PartError, nodes: &[WorkerId]) -> Stopped {
    match error {
        PartError::Kernel(error) => Stopped::Unfinished(lost(error)),
        PartError::Collective(error) => {
            let worker = match &error {
                CollectiveError::RanksLost { ranks, .. } => {
                    ranks.first().and_then(|&rank| nodes.get(rank)).copied()
                }
                _ => None,
            };
            Stopped::Broken(worker, error.to_string())
        }
        error => Stopped::Unfinished(failed(error)),
    }
}

async fn form(
    me: WorkerId,
    nodes: Vec<Node>,
    group: Generation,
    joins: &Joins,
    dial: Arc<dyn Dial>,
    limit: Duration,
) -> Result<Member, NotFormed> {
    let world = nodes.len();
    let failed = |worker, reason: String| NotFormed { worker, reason };
    let rank = nodes.iter().position(|node| node.worker == me);
    let rank = rank.ok_or_else(|| failed(None, format!("{me} has no place in {group}")))?;
    let mut asked = JoinSet::new();
    for (earlier, node) in nodes[..rank].iter().cloned().enumerate() {
        let dial = Arc::clone(&dial);
        let join = Join {
            generation: group,
            world,
            ranks: vec![rank],
        };
        asked.spawn(async move {
            let opened = async {
                let stream = dial.open(&node.address, Channel::Collective, DIAL_LIMIT);
                ask(stream.await?, &join, limit).await
            };
            let stream = opened.await;
            let ranks = vec![earlier];
            let peer = stream.map(|stream| Peer { ranks, stream });
            peer.map_err(|error: NetError| NotFormed {
                worker: Some(node.worker),
                reason: error.to_string(),
            })
        });
    }
    let asked = async {
        let mut peers = Vec::new();
        while let Some(peer) = asked.join_next().await {
            peers.push(peer.map_err(|error| failed(None, error.to_string()))??);
        }
        Ok(peers)
    };
    let later = (rank + 1..world).map(|rank| vec![rank]).collect();
    let collected = async {
        let collected = joins.collect(group, world, later, limit).await;
        collected.map_err(|error| failed(None, error.to_string()))
    };
    let (mut peers, others) = tokio::try_join!(asked, collected)?;
    peers.extend(others);
    let membership = Membership {
        generation: group,
        world,
        ranks: vec![rank],
        peers,
    };
    let members = membership.join();
    let mut members = members.map_err(|error| failed(None, error.to_string()))?;
    let none = || failed(None, "the group has no member here".to_owned());
    members.pop().ok_or_else(none)
}
