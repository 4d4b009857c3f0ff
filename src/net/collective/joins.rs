//! Streams by which processes join a group.
//!
//! Of each pair of processes one opens the stream and [asks to join](ask); the other one
//! [accepts](Joins::accept), and [collects](Joins::collect) the streams of a generation.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::{Peer, message};
use crate::ids::Generation;
use crate::net::{Frame, FrameStream, Header, Kind, NetError};

/// Request to join a group, from the process that opens a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// Generation of the group.
    pub generation: Generation,
    /// Number of ranks, over all processes.
    pub world: usize,
    /// Ranks that the asking process hosts.
    pub ranks: Vec<usize>,
}

/// Group that collects its streams.
#[derive(Clone, Debug)]
struct Expected {
    generation: Generation,
    world: usize,
    /// Ranks of each process that is to join.
    processes: Vec<Vec<usize>>,
    peers: mpsc::Sender<Peer>,
}

impl Expected {
    /// The reason why a process cannot join.
    fn refusal(&self, join: &Join) -> Option<String> {
        let Join {
            generation,
            world,
            ranks,
        } = join;
        if *generation < self.generation {
            return Some(format!("{generation} is over: {} follows", self.generation));
        }
        if *world != self.world {
            let expected = self.world;
            return Some(format!("{generation} has {expected} ranks, not {world}"));
        }
        let here = self.processes.contains(ranks) && !self.peers.is_closed();
        (!here).then(|| format!("{generation} waits for no process with the ranks {ranks:?}"))
    }
}

/// Processes that join the groups of this one.
#[derive(Debug)]
pub struct Joins {
    expected: watch::Sender<Option<Expected>>,
}

impl Default for Joins {
    fn default() -> Joins {
        Joins {
            expected: watch::channel(None).0,
        }
    }
}

impl Joins {
    /// Takes in a stream that another process has opened, and hands it to the group of its generation. If the
    /// generation has not begun here, the stream waits; if it is over, the stream is refused.
    ///
    /// # Errors
    /// [`NetError::Refused`] with the sentence that the other process receives; the failure of the stream.
    /// [`NetError::Deadline`] if the other process says nothing within `limit`.
    pub async fn accept(&self, mut stream: FrameStream, limit: Duration) -> Result<(), NetError> {
        let refused = |peer: &str, reason: String| NetError::Refused {
            peer: peer.to_owned(),
            reason,
        };
        let peer = stream.peer().to_owned();
        let Some(frame) = stream.receiver.receive(limit).await? else {
            return Err(refused(&peer, "it has left without a word".to_owned()));
        };
        let join = match frame.header.kind {
            Kind::Control => message::read::<Join>(&frame).map(|(join, _)| join),
            kind => Err(format!("{kind:?} where a request to join was to come")),
        };
        let decision = match &join {
            Ok(join) => self.decide(join, limit).await,
            Err(fault) => Err(fault.clone()),
        };
        match (join, decision) {
            (Ok(join), Ok(peers)) => {
                let answer = Frame::empty(header(Kind::Ack, join.generation));
                stream.sender.send(answer, limit).await?;
                let ranks = join.ranks;
                let handed = peers.send(Peer { ranks, stream }).await;
                handed.map_err(|_| refused(&peer, "its group has ended".to_owned()))
            }
            (_, Ok(_)) => Ok(()),
            (_, Err(reason)) => {
                let generation = Generation(frame.header.generation);
                let answer = message::frame(Kind::Refused, generation, &reason, &[]);
                stream.sender.send(answer, limit).await?;
                Err(refused("this process", reason))
            }
        }
    }

    /// Waits for the generation of a request. Returns the receiver of its stream, or a refusal.
    async fn decide(&self, join: &Join, limit: Duration) -> Result<mpsc::Sender<Peer>, String> {
        let mut expected = self.expected.subscribe();
        let begun = |expected: &Option<Expected>| {
            let expected = expected.as_ref();
            expected.is_some_and(|expected| expected.generation >= join.generation)
        };
        let found = timeout(limit, expected.wait_for(begun)).await;
        let found = found.ok().and_then(Result::ok);
        let Some(expected) = found.as_deref().and_then(Option::as_ref) else {
            return Err(format!(
                "{} did not begin within {limit:?}",
                join.generation
            ));
        };
        let refusal = expected.refusal(join);
        refusal.map_or(Ok(expected.peers.clone()), Err)
    }

    /// Begins a generation, which ends earlier ones here, and collects the streams of `processes`, each with its
    /// ranks. Of several streams of a process, the last one counts.
    ///
    /// # Errors
    /// [`NetError::Lost`] with the ranks of a process that has not joined within `limit`.
    pub async fn collect(
        &self,
        generation: Generation,
        world: usize,
        processes: Vec<Vec<usize>>,
        limit: Duration,
    ) -> Result<Vec<Peer>, NetError> {
        let (sender, mut arrivals) = mpsc::channel(1);
        let next = Expected {
            generation,
            world,
            processes: processes.clone(),
            peers: sender,
        };
        // A task of an earlier generation that runs late does not take the place of a later one.
        let begins = self.expected.send_if_modified(|expected| {
            let over = expected
                .as_ref()
                .is_some_and(|expected| expected.generation > generation);
            if !over {
                *expected = Some(next);
            }
            !over
        });
        if !begins {
            return Err(NetError::Lost {
                peer: "this process".to_owned(),
                reason: format!("{generation} is over"),
            });
        }
        let mut peers: Vec<Option<Peer>> = processes.iter().map(|_| None).collect();
        let all = async {
            while peers.iter().any(Option::is_none) {
                let Some(peer) = arrivals.recv().await else {
                    return;
                };
                let place = processes.iter().position(|ranks| *ranks == peer.ranks);
                if let Some(place) = place {
                    peers[place] = Some(peer);
                }
            }
        };
        // A later generation may have begun meanwhile, or time is up: then a stream is missing.
        let _ = timeout(limit, all).await;
        let mut found = Vec::new();
        for (ranks, peer) in processes.iter().zip(peers) {
            found.push(peer.ok_or_else(|| NetError::Lost {
                peer: format!("the process of the ranks {ranks:?}"),
                reason: format!("it did not join {generation} within {limit:?}"),
            })?);
        }
        Ok(found)
    }
}

/// Asks to join a group over a stream that this process has opened.
///
/// # Errors
/// [`NetError::Refused`] with the other process's sentence; [`NetError::Deadline`] if the generation does not begin
/// there within `limit`; the failure of the stream.
pub async fn ask(
    mut stream: FrameStream,
    join: &Join,
    limit: Duration,
) -> Result<FrameStream, NetError> {
    let request = message::frame(Kind::Control, join.generation, join, &[]);
    stream.sender.send(request, limit).await?;
    let refused = |reason| NetError::Refused {
        peer: stream.sender.peer().to_owned(),
        reason,
    };
    match stream.receiver.receive(limit).await? {
        Some(frame) if frame.header.kind == Kind::Ack => Ok(stream),
        Some(frame) if frame.header.kind == Kind::Refused => {
            let reason = message::read::<String>(&frame);
            Err(refused(
                reason.map_or_else(|fault| fault, |(reason, _)| reason),
            ))
        }
        Some(frame) => Err(refused(format!("it answered with {:?}", frame.header.kind))),
        None => Err(refused("it has closed the stream".to_owned())),
    }
}

fn header(kind: Kind, generation: Generation) -> Header {
    Header {
        last: true,
        generation: generation.0,
        ..Header::new(kind)
    }
}
