//! Processes of the workers: threads of this process, or nodes of a cluster.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use tokio::runtime::Runtime;

use super::devices::{DeviceSlot, Devices};
use super::fault_script::ScriptAction;
use super::plans::{Part, PlanCache};
use super::worker::{Message, Task, WorkerContext, WorkerHandle};
use crate::cluster::leader::{LostShards, Nodes};
use crate::cluster::messages::{self, LanePart};
use crate::coordinator::{Cause, StopReason};
use crate::ids::{Generation, Step};
use crate::kernel::StepSpec;
use crate::sampler::PlanId;
use crate::server::{Apply, ParameterServer, ServerError, ShardClient, UpdateMode, WorkerId};

/// Processes of the workers.
#[derive(Debug)]
pub(super) enum Hosts {
    /// Threads of this process, on shards of this process.
    Threads(Box<Threads>),
    /// Nodes, which hold the shards.
    Nodes(Box<Nodes>),
}

/// Workers as threads of this process.
#[derive(Debug)]
pub(super) struct Threads {
    pub server: ParameterServer,
    /// Connection to the shards for gradients, commits and aborts.
    pub client: Arc<dyn ShardClient>,
    pub spec: StepSpec,
    pub plans: PlanCache,
    pub devices: Devices,
    pub slots: BTreeMap<WorkerId, DeviceSlot>,
    pub handles: BTreeMap<WorkerId, WorkerHandle>,
    pub sender: Sender<Message>,
    pub runtime: Runtime,
}

impl Threads {
    /// Starts the thread of a worker.
    pub fn spawn(&mut self, worker: WorkerId) {
        let mut present: Vec<WorkerId> = self.handles.keys().copied().collect();
        present.push(worker);
        self.slots = self.devices.assign(&present, &self.slots);
        let Some(&slot) = self.slots.get(&worker) else {
            return;
        };
        tracing::info!(%worker, %slot, "joins");
        let context = WorkerContext {
            server: self.server.clone(),
            client: Arc::clone(&self.client),
            plans: self.plans.clone(),
            spec: self.spec,
            slot,
            to: self.sender.clone(),
            runtime: self.runtime.handle().clone(),
        };
        self.handles
            .insert(worker, WorkerHandle::spawn(worker, context));
    }
}

impl Hosts {
    /// Number of workers that are not gone.
    pub fn count(&self) -> usize {
        match self {
            Hosts::Threads(threads) => threads.handles.len(),
            Hosts::Nodes(nodes) => nodes.count(),
        }
    }

    /// Checks that this process still leads its nodes.
    ///
    /// # Errors
    /// A sentence if another does.
    pub fn leads(&self) -> Result<(), String> {
        match self {
            Hosts::Threads(_) => Ok(()),
            Hosts::Nodes(nodes) => nodes.leads(),
        }
    }

    /// Tells the holders of the shards, and the workers, of a new generation. `lanes` are the workers as the shards
    /// know them.
    ///
    /// # Errors
    /// [`LostShards`] if nobody holds some shards any more.
    pub fn configure(
        &mut self,
        mode: UpdateMode,
        generation: Generation,
        workers: &[WorkerId],
        lanes: &[WorkerId],
    ) -> Result<(), LostShards> {
        match self {
            Hosts::Threads(threads) => {
                threads.server.configure(mode, generation, lanes);
                threads.slots = threads.devices.assign(workers, &threads.slots);
                Ok(())
            }
            Hosts::Nodes(nodes) => nodes.configure(generation, workers, lanes.len() as u32),
        }
    }

    /// Workers that hold each shard, and bytes of each shard; `None` where this process holds all of them.
    pub fn holders(&self) -> Option<(&[Vec<WorkerId>], &[u64])> {
        match self {
            Hosts::Threads(_) => None,
            Hosts::Nodes(nodes) => Some(nodes.holders()),
        }
    }

    /// Sets the learning rate of the next pushes; nodes are told with each commit.
    pub fn set_rate(&self, rate: f64) {
        if let Hosts::Threads(threads) = self {
            threads.server.set_rate(rate);
        }
    }

    /// Gives a worker its part of a step.
    pub fn send(&self, worker: WorkerId, order: Order) {
        match self {
            Hosts::Threads(threads) => {
                let slot = threads.slots.get(&worker).copied();
                let handle = threads.handles.get(&worker);
                if let (Some(handle), Some(slot)) = (handle, slot) {
                    handle.send(order.task(slot));
                }
            }
            Hosts::Nodes(nodes) => nodes.start(worker, order.message()),
        }
    }

    /// Applies a step that all workers have staged. Nodes are told, and apply it before they answer a request for
    /// the next step.
    ///
    /// # Errors
    /// See [`ShardClient::commit`].
    pub fn commit(
        &mut self,
        generation: Generation,
        step: Step,
        rate: f64,
    ) -> Result<(), ServerError> {
        match self {
            Hosts::Threads(threads) => {
                let commit = threads.client.commit(generation, step);
                threads.runtime.block_on(commit)
            }
            Hosts::Nodes(nodes) => {
                nodes.commit(generation, step, rate);
                Ok(())
            }
        }
    }

    /// Discards what workers have staged.
    ///
    /// # Errors
    /// See [`ShardClient::abort`].
    pub fn discard(&self, generation: Generation) -> Result<(), ServerError> {
        match self {
            Hosts::Threads(threads) => threads.runtime.block_on(threads.client.abort()),
            Hosts::Nodes(nodes) => {
                nodes.discard(generation);
                Ok(())
            }
        }
    }

    /// Lets a worker go.
    pub fn dismiss(&mut self, worker: WorkerId, cause: &Cause) {
        match self {
            Hosts::Threads(threads) => {
                threads.handles.remove(&worker);
                threads.slots.remove(&worker);
            }
            Hosts::Nodes(nodes) => nodes.dismiss(worker, cause),
        }
        self.release(worker);
    }

    /// Lets all workers go.
    pub fn dismiss_all(&mut self, reason: &StopReason) {
        match self {
            Hosts::Threads(threads) => threads.handles.clear(),
            Hosts::Nodes(nodes) => nodes.dismiss_all(reason),
        }
    }

    /// Forgets the pulls of a worker, so that no other worker waits for its push.
    pub fn release(&self, worker: WorkerId) {
        if let Hosts::Threads(threads) = self {
            threads.server.release(worker);
        }
    }

    /// Returns whether a worker waits for others (async).
    pub fn is_waiting(&self, worker: WorkerId) -> bool {
        match self {
            Hosts::Threads(threads) => threads.server.is_waiting(worker),
            Hosts::Nodes(_) => false,
        }
    }

    /// Last step of a worker whose push was admitted (async).
    pub fn last_push(&self, worker: WorkerId) -> Option<Step> {
        match self {
            Hosts::Threads(threads) => threads.server.last_push(worker),
            Hosts::Nodes(_) => None,
        }
    }

    /// Returns whether a script can make a worker fail.
    pub fn takes_faults(&self, worker: WorkerId) -> bool {
        matches!(self, Hosts::Threads(threads) if threads.handles.contains_key(&worker))
    }
}

/// Part of a step for a worker, wherever it is.
#[derive(Debug)]
pub(super) struct Order {
    pub generation: Generation,
    /// Step of the coordinator, from 1.
    pub step: Step,
    /// Training step, from 0 over the whole run.
    pub first: u64,
    /// Step of the plan of which the worker has a part.
    pub plan: PlanId,
    pub parts: Vec<Part>,
    pub apply: Apply,
    pub fault: Option<ScriptAction>,
}

impl Order {
    fn task(self, slot: DeviceSlot) -> Task {
        Task {
            generation: self.generation,
            step: self.step,
            first: self.first,
            parts: self.parts,
            slot,
            apply: self.apply,
            fault: self.fault,
        }
    }

    fn message(self) -> messages::Task {
        let part = |part: Part| LanePart {
            lane: part.name,
            plan: part.plan,
            queries: part.queries,
        };
        messages::Task {
            generation: self.generation,
            step: self.step,
            first: self.first,
            plan: self.plan,
            parts: self.parts.into_iter().map(part).collect(),
        }
    }
}
