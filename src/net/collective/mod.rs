//! The backend of [`Collective`](crate::collective::Collective) for ranks of several processes, over [streams of frames](FrameStream).
//!
//! A process hosts one rank or several. Ranks are parts of the work, whose number is fixed: results do not depend
//! on the number of processes. There is one stream for each pair of processes.
//!
//! - The process of rank 0 decides. Terms go there, decisions come back.
//! - A small call, of up to 64 KiB a rank, brings its values with the terms and its results with the decision. It
//!   takes one way there and one way back.
//! - In other calls, ranks send each other their values after the decision. In a reduction every rank receives its
//!   own [segment](crate::collective::segment) from all others, and reduces it in rank order while it comes. An
//!   all-reduce sends each block of the result on as soon as it is made.
//! - An all-gather and an all-to-all are never small: the lengths of their parts may differ.
//!
//! The [rules of the module](crate::collective) hold, with two additions for what several processes bring:
//!
//! - **A lost process ends the group.** If a process is gone, does not answer in time or breaks the rules, waiting
//!   calls and later ones fail with [`RanksLost`](crate::collective::CollectiveError::RanksLost). A call that had been decided may
//!   succeed on the ranks that have all they need, and fail on the others.
//! - **A dropped future leaves no trace once the decider has heard of it.** Until then its terms count.
//!
//! A process drops its part of a group when its ranks are dropped. Then it has left for the other processes: values
//! that it has queued still go out, as long as its runtime lives.

mod decider;
mod exchange;
mod group;
mod hosted;
mod joins;
mod link;
mod member;
mod message;
mod values;

use std::sync::Arc;

use tokio::runtime::Handle;

use self::group::Group;
use self::link::{Link, Sink};
use crate::ids::Generation;
use crate::net::{FrameStream, NetError};

pub use joins::{Join, Joins, ask};
pub use member::Member;

/// Most ranks of a group: decisions about all fit into a frame.
const MOST_RANKS: usize = 4096;

/// Another process of a group.
#[derive(Debug)]
pub struct Peer {
    /// Ranks that the process hosts.
    pub ranks: Vec<usize>,
    /// Stream to the process.
    pub stream: FrameStream,
}

/// Membership of a group, as one of its processes sees it.
#[derive(Debug)]
pub struct Membership {
    /// Generation of the group.
    pub generation: Generation,
    /// Number of ranks, over all processes.
    pub world: usize,
    /// Ranks that this process hosts.
    pub ranks: Vec<usize>,
    /// The other processes. Every rank of the group is hosted once.
    pub peers: Vec<Peer>,
}

impl Membership {
    /// Joins the group: makes the members that this process hosts, in the order of its ranks. The tasks of the
    /// group run on the current tokio runtime, which needs its time driver.
    ///
    /// # Errors
    /// [`NetError::Options`] if a rank of the group is hosted twice or not at all, if this process hosts none, or
    /// if there is no runtime.
    pub fn join(self) -> Result<Vec<Member>, NetError> {
        let options = |reason: String| NetError::Options(format!("a group needs {reason}"));
        let runtime = Handle::try_current();
        let runtime = runtime.map_err(|_| options("a tokio runtime".to_owned()))?;
        if self.world > MOST_RANKS || self.ranks.is_empty() {
            return Err(options(format!(
                "at most {MOST_RANKS} ranks, one of them in this process"
            )));
        }
        let peers = self.peers.iter().flat_map(|peer| &peer.ranks);
        let mut all: Vec<usize> = self.ranks.iter().chain(peers).copied().collect();
        all.sort_unstable();
        if !all.iter().copied().eq(0..self.world) {
            let world = self.world;
            return Err(options(format!(
                "every rank below {world} in one process: these are {all:?}"
            )));
        }
        let sorted = |mut ranks: Vec<usize>| {
            ranks.sort_unstable();
            ranks
        };
        let (here, queues) = Link::new(&sorted(self.ranks.clone()), "this process");
        let (mut links, mut ends) = (vec![here], vec![(None, queues)]);
        for peer in self.peers {
            let (link, queues) = Link::new(&sorted(peer.ranks), peer.stream.peer());
            links.push(link);
            ends.push((Some(peer.stream), queues));
        }
        let group = Arc::new(Group::new(self.generation, links, runtime.clone()));
        let mut readers = Vec::new();
        for (index, (stream, queues)) in ends.into_iter().enumerate() {
            let weak = Arc::downgrade(&group);
            let sink = match stream {
                None => Sink::Here(weak.clone()),
                Some(FrameStream { sender, receiver }) => {
                    let read = link::read(receiver, weak.clone(), index);
                    readers.push(runtime.spawn(read).abort_handle());
                    Sink::Stream(sender)
                }
            };
            runtime.spawn(link::write(sink, queues, group.over(), weak, index));
        }
        group.keep(readers);
        let members = self
            .ranks
            .iter()
            .map(|&rank| Member::new(rank, group.clone()));
        Ok(members.collect())
    }
}
