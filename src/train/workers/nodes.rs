//! Workers that are nodes of a cluster: their joins, messages and losses, and cuts of their shards.

use std::sync::mpsc::{RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::hosts::Hosts;
use super::rounds::Round;
use super::worker::{Done, Message};
use super::{Executed, POLL_INTERVAL, Workers};
use crate::cluster::leader::{
    CutFailure, First, FirstRows, Lead, LostShards, NodeEvent, Nodes, NodesOptions,
};
use crate::cluster::messages::{self, ToLeader, ToNode};
use crate::config::Config;
use crate::coordinator::Failure;
use crate::ids::{Step, WorkerId};
use crate::net::NetError;
use crate::net::cut::{CutError, SavedCut};
use crate::sampler::PlanError;
use crate::server::{ParameterServer, ShardClient, TableName, UpdateMode};
use crate::train::observer::Watched;
use crate::train::{TrainError, TrainEvent, TrainState};

/// Longest wait for the nodes that a run starts with.
const GATHER: Duration = Duration::from_secs(60);

/// Takes over the sessions of nodes.
pub(super) fn hosts(
    config: &Config,
    lead: Lead,
    server: &ParameterServer,
    state: &TrainState,
    sender: &Sender<Message>,
) -> Result<Hosts, TrainError> {
    if let UpdateMode::Async { .. } = config.update_mode() {
        let reason = "a cluster of processes trains with update_mode = \"sync\" only; async is for the workers of one \
                      process";
        return Err(TrainError::Workers(reason.to_owned()));
    }
    let leader = lead.leader.clone();
    let layout = lead.runtime.block_on(ShardClient::layout(server))?;
    let is_saved = matches!(lead.first, FirstRows::Server);
    let first = match lead.first {
        FirstRows::Initial => First::Initial,
        FirstRows::Server => First::Server(server.clone()),
        FirstRows::Cut(cut) => First::Cut(cut),
    };
    let nodes = Nodes::new(NodesOptions {
        leads: lead.leads,
        leader: lead.leader,
        layout,
        specs: [TableName::Entities, TableName::Relations].map(|table| server.spec(table)),
        first,
        cuts: lead.cuts,
        dataset: lead.dataset,
        state: to_json(state)?,
        address: lead.address,
        replicas: config.replicas,
        timeout: config.step_timeout(),
        steps: state.updates,
        dial: lead.dial,
        runtime: lead.runtime,
    })
    .map_err(|error| TrainError::Save(error.to_string()))?;
    if is_saved && server.home().is_some() {
        // The rows are in the first cut.
        server.remove_rows();
    }
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
                if let Some(worker) = nodes.gone(session) {
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
                generation,
                worker: other,
                reason,
            } => {
                if let Hosts::Nodes(nodes) = &mut self.hosts {
                    nodes.report(now, generation, worker, other, reason);
                }
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

    /// Takes nodes out of the run that others cannot reach.
    pub(super) fn check_reports(&mut self) {
        let now = self.now();
        let Hosts::Nodes(nodes) = &mut self.hosts else {
            return;
        };
        while let Some((worker, message)) = nodes.unreachable(now) {
            let failure = Failure::Unreachable { message };
            if let Err(error) = self.coordinator.fail(now, worker, failure) {
                tracing::debug!(%worker, %error, "not counted");
            }
        }
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

    /// Saves all shards of the last committed step as a cut; does nothing for workers of this process.
    ///
    /// # Errors
    /// If another process leads by now, or holders of a shard have different rows.
    pub fn cut(
        &mut self,
        state: &TrainState,
        observer: &mut Watched<'_>,
    ) -> Result<CutEnd, TrainError> {
        let Hosts::Nodes(nodes) = &mut self.hosts else {
            return Ok(CutEnd::Made);
        };
        nodes.leads().map_err(TrainError::OtherLeader)?;
        let made = nodes.cut(&to_json(state)?);
        match made {
            Ok(()) => Ok(CutEnd::Made),
            Err(CutFailure::Lost { lost, error }) => self.lost_in_cut(&lost, error, observer),
            Err(CutFailure::Files(error)) => match error {
                CutError::Superseded { .. } => Err(TrainError::Workers(error.to_string())),
                error => Ok(CutEnd::Failed(error.to_string())),
            },
            Err(error @ (CutFailure::Digests { .. } | CutFailure::Server(_))) => {
                Err(TrainError::Workers(error.to_string()))
            }
        }
    }

    /// Copies all shards of the last committed step to a server of this process; false if some are lost, and the run
    /// is back at the last cut. Does nothing for workers of this process, whose shards are there.
    ///
    /// # Errors
    /// If another process leads by now.
    pub fn copy_to(
        &mut self,
        server: &ParameterServer,
        observer: &mut Watched<'_>,
    ) -> Result<bool, TrainError> {
        let Hosts::Nodes(nodes) = &mut self.hosts else {
            return Ok(true);
        };
        match nodes.copy_to(server) {
            Ok(()) => Ok(true),
            Err(CutFailure::Lost { lost, error }) => {
                self.lost_in_cut(&lost, error, observer)?;
                Ok(false)
            }
            Err(error) => Err(TrainError::Workers(error.to_string())),
        }
    }

    fn lost_in_cut(
        &mut self,
        lost: &LostShards,
        error: Option<NetError>,
        observer: &mut Watched<'_>,
    ) -> Result<CutEnd, TrainError> {
        tracing::warn!(%lost, ?error, "going back");
        if let Hosts::Nodes(nodes) = &self.hosts {
            self.first = self.first.max(nodes.steps());
        }
        self.go_back(lost, observer)?;
        Ok(CutEnd::WentBack)
    }

    /// Checks that this process still leads its nodes.
    ///
    /// # Errors
    /// A sentence if another does.
    pub fn leads(&self) -> Result<(), TrainError> {
        self.hosts.leads().map_err(TrainError::OtherLeader)
    }

    /// The last cut, if it has files and is of the last committed step.
    pub fn saved(&self) -> Option<SavedCut> {
        match &self.hosts {
            Hosts::Nodes(nodes) if nodes.cut_steps() == Some(nodes.steps()) => nodes.saved(),
            _ => None,
        }
    }

    /// Returns whether the shards are in other processes.
    pub fn has_nodes(&self) -> bool {
        matches!(self.hosts, Hosts::Nodes(_))
    }
}

/// End of an attempt at a cut.
#[derive(Clone, Debug)]
pub(in crate::train) enum CutEnd {
    /// All shards of the last committed step are saved.
    Made,
    /// The files cannot be written; a sentence. The cut before stays.
    Failed(String),
    /// Shards are lost: all go back to the last cut.
    WentBack,
}

fn to_json(state: &TrainState) -> Result<serde_json::Value, TrainError> {
    serde_json::to_value(state).map_err(|error| TrainError::Save(error.to_string()))
}
