//! The group of a generation's nodes, for steps and rankings against all entities.
//!
//! Every node has one rank: its place among the nodes of the configuration. Of each pair of nodes the later one opens
//! the stream.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinSet};

use super::session::DIAL_LIMIT;
use crate::cluster::messages::{Configuration, Node};
use crate::ids::{Generation, WorkerId};
use crate::net::collective::{Join, Joins, Member, Membership, Peer, ask};
use crate::net::{Channel, Dial, NetError};

/// Bits of a group's number that have the generation.
const GENERATION_BITS: u32 = 40;

/// Number of the group of a generation. Groups of a later epoch of leadership are later than those of an earlier one,
/// whatever their generations.
pub(super) fn number(epoch: u32, generation: Generation) -> Generation {
    Generation(u64::from(epoch) << GENERATION_BITS | generation.0)
}

/// A failure to form a group.
#[derive(Debug)]
pub struct NotFormed {
    /// Node that did not come, if one is known.
    pub worker: Option<WorkerId>,
    /// Reason, for people.
    pub reason: String,
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
    pub async fn member(&mut self) -> Result<Member, NotFormed> {
        let member = (&mut self.member).await;
        member.unwrap_or_else(|_| {
            Err(NotFormed {
                worker: None,
                reason: "the runtime ends".to_owned(),
            })
        })
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
