//! Workers that are nodes of a cluster: their joins, messages and losses, and cuts of their shards.

use std::sync::mpsc::{RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::hosts::Hosts;
use super::rounds::Round;
use super::worker::{Done, Message};
use super::{Executed, POLL_INTERVAL, Workers};
use crate::cluster::leader::{CutError, Lead, LostShards, NodeEvent, Nodes, NodesOptions};
use crate::cluster::messages::{self, ToLeader, ToNode};
use crate::config::Config;
use crate::coordinator::Failure;
use crate::ids::{Step, WorkerId};
use crate::sampler::PlanError;
use crate::server::{ParameterServer, UpdateMode};
use crate::train::observer::Watched;
use crate::train::{TrainError, TrainEvent};

/// Longest wait for the nodes that a run starts with.
const GATHER: Duration = Duration::from_secs(60);

/// Takes over the sessions of nodes.
pub(super) fn hosts(
    config: &Config,
    lead: Lead,
    server: ParameterServer,
    steps: u64,
    sender: &Sender<Message>,
) -> Result<Hosts, TrainError> {
    if let UpdateMode::Async { .. } = config.update_mode() {
        let reason = "a cluster of processes trains with update_mode = \"sync\" only; async is for the workers of one \
                      process";
        return Err(TrainError::Workers(reason.to_owned()));
    }
    let leader = lead.leader.clone();
    let nodes = Nodes::new(NodesOptions {
        leads: lead.leads,
        leader: lead.leader,
        server,
        address: lead.address,
        replicas: config.replicas,
        timeout: config.step_timeout(),
        steps,
        dial: lead.dial,
        runtime: lead.runtime,
    })?;
    let sender = sender.clone();
    leader.listen(Box::new(move |event| {
        // The run may be over.
        let _ = sender.send(Message::Node(event));
    }));
    Ok(Hosts::Nodes(Box::new(nodes)))
}

impl Workers {
    /// Waits for the nodes that the run starts with; returns false if the observer asked to stop.
    pub(super) fn gather(
        &mut self,
        round: &mut Round,
        observer: &mut Watched<'_>,
    ) -> Result<bool, TrainError> {
        let deadline = Instant::now() + GATHER;
        let expected = std::mem::take(&mut self.expected);
        loop {
            let ready = self.coordinator.workers().filter(|(_, m)| m.is_ready());
            let ready = ready.count();
            if ready >= expected {
                return Ok(true);
            }
            observer.tell(TrainEvent::Waiting);
            if observer.stops() {
                return Ok(false);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                observer.note(&format!(
                    "{ready} of {expected} processes have joined within {GATHER:?}: starting without the others"
                ));
                return Ok(true);
            }
            match self.inbox.recv_timeout(left.min(POLL_INTERVAL)) {
                Ok(message) => self.on_message(message, round)?,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        }
    }

    /// Handles an event of a node's session.
    pub(super) fn on_node_event(
        &mut self,
        event: NodeEvent,
        round: &mut Round,
    ) -> Result<(), PlanError> {
        let now = self.now();
        let Hosts::Nodes(nodes) = &mut self.hosts else {
            return Ok(());
        };
        match event {
            NodeEvent::Joins {
                session,
                hello,
                handle,
            } => match self.coordinator.join(now, hello.info.clone()) {
                Ok(worker) => {
                    tracing::info!(%worker, address = %hello.address, "joins");
                    nodes.welcome(worker, session, &hello, handle);
                }
                Err(error) => {
                    let reason = error.to_string();
                    handle.send(ToNode::Refused { reason });
                }
            },
            NodeEvent::Gone(session, reason) => {
                if let Some(worker) = nodes.worker(session) {
                    let message = format!("lost: {reason}");
                    self.fail(worker, Failure::Other { message });
                }
            }
            NodeEvent::Message(session, message) => {
                let Some(worker) = nodes.worker(session) else {
                    return Ok(());
                };
                return self.on_node_message(worker, message, round);
            }
        }
        Ok(())
    }

    fn on_node_message(
        &mut self,
        worker: WorkerId,
        message: ToLeader,
        round: &mut Round,
    ) -> Result<(), PlanError> {
        let now = self.now();
        let heard = match message {
            ToLeader::Beat => self.coordinator.heartbeat(now, worker),
            ToLeader::Synced => self.coordinator.synced(now, worker),
            ToLeader::Leave => self.coordinator.leave(now, worker),
            // An answer that came too late.
            ToLeader::Ranked(_) => Ok(()),
            ToLeader::Failed(failure) => {
                self.fail(worker, failure);
                Ok(())
            }
            ToLeader::Unreachable {
                worker: other,
                reason,
            } => {
                let Hosts::Nodes(nodes) = &self.hosts else {
                    return Ok(());
                };
                // A step needs every node to reach every other, so one of the two has to go. The leader's own process
                // stays.
                let (goes, message) = match nodes.is_own(other) {
                    true => (worker, format!("cannot reach {other}: {reason}")),
                    false => (other, format!("{worker} cannot reach it: {reason}")),
                };
                self.fail(goes, Failure::Other { message });
                Ok(())
            }
            ToLeader::Done(done) => {
                let messages::Done {
                    generation,
                    step,
                    vote,
                    losses,
                    queries,
                    seconds,
                } = done;
                let done = Done {
                    generation,
                    step,
                    vote: Some(vote),
                    losses,
                    queries,
                    took: Duration::try_from_secs_f64(seconds).unwrap_or_default(),
                };
                return self.on_message(Message::Done(worker, done), round);
            }
        };
        if let Err(error) = heard {
            // A message that arrived after its worker was removed.
            tracing::debug!(%worker, %error, "not counted");
        }
        Ok(())
    }

    /// Sends all shards back to the last cut, because some are lost.
    pub(super) fn go_back(
        &mut self,
        lost: &LostShards,
        observer: &mut Watched<'_>,
    ) -> Result<Executed, TrainError> {
        let Hosts::Nodes(nodes) = &mut self.hosts else {
            return Ok(Executed::GoesOn);
        };
        let before = self.first;
        let steps = nodes.go_back();
        observer.note(&format!(
            "{lost}: {} steps are made again, from step {steps} on",
            before.saturating_sub(steps)
        ));
        let now = self.now();
        let back = self.coordinator.go_back(now, Step(steps + 1));
        back.map_err(|error| TrainError::Workers(error.to_string()))?;
        // Orders for the step that is given up; workers that are gone are let go.
        while let Some(action) = self.coordinator.next_action() {
            match action {
                crate::coordinator::Action::Dismiss { worker, cause } => {
                    self.hosts.dismiss(worker, &cause);
                }
                crate::coordinator::Action::Discard { generation, .. } => {
                    self.hosts.discard(generation)?;
                }
                _ => {}
            }
        }
        self.first = steps;
        Ok(Executed::WentBack)
    }

    /// Copies all shards of the last committed step to the leader's server; does nothing for workers of this process,
    /// whose shards are there. Returns whether that worked: if not, all shards have to go back to the last cut.
    ///
    /// # Errors
    /// If the leader's device is lost.
    pub fn cut(&mut self, observer: &mut Watched<'_>) -> Result<bool, TrainError> {
        let Hosts::Nodes(nodes) = &mut self.hosts else {
            return Ok(true);
        };
        nodes.leads().map_err(TrainError::Workers)?;
        match nodes.cut() {
            Ok(()) => Ok(true),
            Err(CutError { lost, error }) if lost.0.is_empty() => {
                let reason = error.map_or_else(String::new, |error| error.to_string());
                Err(TrainError::Workers(format!("no cut: {reason}")))
            }
            Err(error) => {
                tracing::warn!(%error, "going back");
                self.first = self.first.max(nodes.steps());
                self.go_back(&error.lost, observer)?;
                Ok(false)
            }
        }
    }

    /// Returns whether the shards are in other processes.
    pub fn has_nodes(&self) -> bool {
        matches!(self.hosts, Hosts::Nodes(_))
    }
}
