//! Rankings of validation facts by the nodes of a cluster.

use std::ops::Range;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Instant;

use super::hosts::Hosts;
use super::worker::Message;
use super::{POLL_INTERVAL, Workers};
use crate::cluster::leader::NodeEvent;
use crate::cluster::messages::{RankTask, Ranked, ToLeader};
use crate::kernel::RankCounts;
use crate::train::TrainEvent;
use crate::train::observer::Watched;

impl Workers {
    /// Ranks a range of the validation facts by the nodes, as of the last committed step: the counts of each query.
    /// `None` if the nodes cannot, because one of them is lost
    /// or they do not have the shards yet.
    ///
    /// Other messages wait for the next step.
    pub fn rank(
        &mut self,
        facts: Range<usize>,
        observer: &mut Watched<'_>,
    ) -> Option<Vec<RankCounts>> {
        let Hosts::Nodes(nodes) = &self.hosts else {
            return None;
        };
        if !nodes.hold_all() {
            return None;
        }
        let generation = self.coordinator.generation();
        nodes.rank(&RankTask {
            generation,
            steps: nodes.steps(),
            facts: facts.clone(),
        });
        let deadline = Instant::now() + self.step_timeout;
        loop {
            observer.tell(TrainEvent::Waiting);
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                tracing::warn!(?facts, "not ranked in time");
                return None;
            }
            let message = match self.inbox.recv_timeout(left.min(POLL_INTERVAL)) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => continue,
            };
            let Message::Node(event) = message else {
                self.backlog.push_back(message);
                continue;
            };
            let lost = match event {
                NodeEvent::Message(_, ToLeader::Ranked(ranked)) => {
                    let Ranked {
                        generation: of,
                        facts: found,
                        counts,
                    } = ranked;
                    // An answer to an earlier request.
                    if (of, &found) != (generation, &facts) {
                        continue;
                    }
                    let counts = counts.filter(|counts| counts.len() == 2 * facts.len());
                    let counts = counts?.into_iter();
                    let counts = counts.map(|(better, equal)| RankCounts { better, equal });
                    return Some(counts.collect());
                }
                NodeEvent::Gone(..)
                | NodeEvent::Message(_, ToLeader::Failed(_) | ToLeader::Unreachable { .. }) => true,
                _ => false,
            };
            self.backlog.push_back(Message::Node(event));
            if lost {
                return None;
            }
        }
    }
}
