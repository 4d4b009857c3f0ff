//! Several workers in this process: threads on their devices, led by the coordinator.
//!
//! The supervisor is the shell around [`Coordinator`]: it passes time and the workers' messages to it, and
//! carries out the actions that it returns. In sync mode a step of the coordinator is a training step: each
//! worker computes the gradients of its slice of the step's plan and stages them at the shards; the step is
//! committed when all have voted. In async mode a step of the coordinator is a round of several training steps,
//! each made by one worker, whose pushes are applied at once.

mod devices;
mod failures;
mod fault_script;
mod messages;
mod plans;
mod rounds;
mod slices;
mod speeds;
mod tasks;
mod worker;

pub use fault_script::{Script, ScriptAction, ScriptError, ScriptEvent};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use self::devices::{DeviceSlot, Devices};
use self::plans::PlanCache;
use self::rounds::Round;
use self::speeds::Speeds;
use self::worker::{Message, WorkerContext, WorkerHandle};
use super::observer::Watched;
use super::plan_loader::PlanLoader;
use super::{NoObserver, TrainError, TrainEvent};
use crate::config::Config;
use crate::coordinator::{
    Action, Coordinator, CoordinatorConfig, MemberInfo, Phase, Status, StopReason,
};
use crate::device::{self, DeviceChoice};
use crate::ids::Step;
use crate::kernel::StepSpec;
use crate::sampler::PlanSource;
use crate::server::{ParameterServer, ShardClient, StoragePlan, UpdateMode, WorkerId};

/// Longest time between two checks whether to stop.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Training steps of an async round, per worker.
const ROUND: usize = 16;
/// Longest time of a round.
const ROUND_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// Workers of a run, and their supervisor.
#[derive(Debug)]
pub(super) struct Workers {
    server: ParameterServer,
    /// Connection to the shards for gradients, commits and aborts.
    client: Arc<dyn ShardClient>,
    plans: PlanCache,
    spec: StepSpec,
    mode: UpdateMode,
    coordinator: Coordinator,
    devices: Devices,
    slots: BTreeMap<WorkerId, DeviceSlot>,
    handles: BTreeMap<WorkerId, WorkerHandle>,
    script: Script,
    /// Faults of the script for the next step.
    faults: BTreeMap<WorkerId, ScriptAction>,
    /// Training step, from 0 over the whole run, with which the current round begins.
    first: u64,
    /// Async: time of each worker's last known progress.
    since: BTreeMap<WorkerId, Duration>,
    step_timeout: Duration,
    /// Number of parts of a sync step; 0 stands for one part per worker.
    lanes: usize,
    /// True if sizes of slices are in proportion to speeds.
    by_speed: bool,
    speeds: Speeds,
    sender: Sender<Message>,
    inbox: Receiver<Message>,
    runtime: Runtime,
    started: Instant,
    reported: Option<Status>,
}

/// Arguments of [`Workers::new`].
#[derive(Debug)]
pub(super) struct Start {
    /// Server that holds the shards.
    pub server: ParameterServer,
    /// Source of the plans.
    pub source: Arc<dyn PlanSource>,
    /// Arithmetic of a step.
    pub spec: StepSpec,
    /// Scripted joins, leaves and failures.
    pub script: Script,
    /// Number of training steps made before.
    pub updates: u64,
}

/// Outcome of a step or round.
#[derive(Clone, Debug)]
pub(super) enum Stepped {
    /// Plans that were applied, and their loss.
    Committed { loss: f64, plans: Vec<StoragePlan> },
    /// The observer asked to stop; no gradients were applied.
    Interrupted,
    /// No plans are left.
    Nothing,
}

impl Workers {
    /// Starts the configured number of workers.
    pub fn new(config: &Config, start: Start) -> Result<Workers, TrainError> {
        let Start {
            server,
            source,
            spec,
            mut script,
            updates,
        } = start;
        let mode = config.update_mode();
        let first = match mode {
            UpdateMode::Sync { .. } => updates + 1,
            // Rounds are counted from the start of the process.
            UpdateMode::Async { .. } => 1,
        };
        let step_timeout = match mode {
            UpdateMode::Sync { .. } => config.step_timeout(),
            // Each plan of a round has its own timeout; see `check_timeouts`.
            UpdateMode::Async { .. } => ROUND_TIMEOUT,
        };
        let settings = CoordinatorConfig {
            min_workers: config.min_workers,
            max_workers: config.max_workers.max(config.workers),
            step_timeout,
            pause_timeout: config.step_timeout(),
            ..CoordinatorConfig::default()
        };
        let coordinator = Coordinator::new(settings, Step(first), server.generation())
            .map_err(|error| TrainError::Workers(error.to_string()))?;
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        let choice = match (config.device, server.home()) {
            // The server opened no GPU, so workers do not try either.
            (DeviceChoice::Auto, Some(DeviceChoice::Cpu)) => DeviceChoice::Cpu,
            (choice, _) => choice,
        };
        // Listing adapters is slow, because it loads drivers: only where one may be used.
        let adapters = match choice {
            DeviceChoice::Cpu => Vec::new(),
            _ => device::list(),
        };
        let devices = Devices::new(&adapters, cores, choice);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .build()
            .map_err(|error| TrainError::Workers(format!("no async runtime: {error}")))?;
        let (sender, inbox) = channel();
        script.skip_to(updates + 1);
        server.set_steps(updates);
        let mut workers = Workers {
            client: Arc::new(server.clone()),
            plans: PlanCache::new(source),
            server,
            spec,
            mode,
            coordinator,
            devices: devices.map_err(crate::kernel::KernelError::from)?,
            slots: BTreeMap::new(),
            handles: BTreeMap::new(),
            script,
            faults: BTreeMap::new(),
            first: updates,
            since: BTreeMap::new(),
            step_timeout: config.step_timeout(),
            lanes: config.gradient_partitions,
            by_speed: config.balance_by_speed,
            speeds: Speeds::default(),
            sender,
            inbox,
            runtime,
            started: Instant::now(),
            reported: None,
        };
        for _ in 0..config.workers {
            workers.join(&mut Watched::new(&mut NoObserver));
        }
        Ok(workers)
    }

    /// Makes the next training steps: one (sync) or a round of them (async). `updates` is the number of steps
    /// made before.
    pub fn run(
        &mut self,
        updates: u64,
        loader: &PlanLoader,
        rate: f64,
        observer: &mut Watched<'_>,
    ) -> Result<Stepped, TrainError> {
        let cache = self.plans.clone();
        let mut round = match self.mode {
            UpdateMode::Sync { .. } => Round::shared(loader, &cache)?,
            UpdateMode::Async { .. } => {
                Round::dealt(loader, &cache, ROUND * self.handles.len().max(1))?
            }
        };
        if round.is_empty() {
            return Ok(Stepped::Nothing);
        }
        self.first = updates;
        self.server.set_rate(rate);
        // Messages that have already arrived precede the step.
        while let Ok(message) = self.inbox.try_recv() {
            self.on_message(message, &mut round)?;
        }
        let most = match self.mode {
            UpdateMode::Sync { .. } => 1,
            UpdateMode::Async { .. } => (ROUND * self.handles.len()) as u64,
        };
        self.run_script(updates + 1, updates + 1 + most, observer);
        let now = self.now();
        // Refused only where a step runs or the run is over; the loop handles both.
        let _ = self.coordinator.advance(now);
        loop {
            while let Some(action) = self.coordinator.next_action() {
                if self.execute(action, &mut round, observer)? {
                    self.report_status(observer);
                    return Ok(Stepped::Committed {
                        loss: round.loss(),
                        plans: round.into_plans(),
                    });
                }
            }
            self.report_status(observer);
            observer.tell(TrainEvent::Waiting);
            if observer.stops() {
                // Workers have already applied earlier async steps, so the round ends after the plans in
                // progress.
                let finishes = self.asynchronous() && self.coordinator.phase() == Phase::Running;
                if !finishes {
                    let now = self.now();
                    let _ = self.coordinator.stop(now, StopReason::Interrupted);
                    self.runtime.block_on(self.client.abort())?;
                    self.handles.clear();
                    return Ok(Stepped::Interrupted);
                }
                round.shorten();
            }
            let deadline = self.coordinator.next_deadline();
            let wait = deadline.map_or(POLL_INTERVAL, |at| {
                at.saturating_sub(self.now()).min(POLL_INTERVAL)
            });
            match self.inbox.recv_timeout(wait) {
                Ok(message) => self.on_message(message, &mut round)?,
                Err(RecvTimeoutError::Timeout) => {
                    let now = self.now();
                    self.coordinator.tick(now);
                }
                Err(RecvTimeoutError::Disconnected) => {
                    // Cannot happen: this struct holds a sender itself.
                    return Err(TrainError::Workers(
                        "the workers' channel closed".to_owned(),
                    ));
                }
            }
            self.check_timeouts(&round);
        }
    }

    fn asynchronous(&self) -> bool {
        matches!(self.mode, UpdateMode::Async { .. })
    }

    /// Carries out an action of the coordinator; returns true if the action ended the step.
    fn execute(
        &mut self,
        action: Action,
        round: &mut Round,
        observer: &mut Watched<'_>,
    ) -> Result<bool, TrainError> {
        match action {
            Action::Reconfigured {
                generation,
                workers,
            } => {
                let lanes: Vec<WorkerId> = match self.mode {
                    UpdateMode::Sync { .. } => (0..self.lanes(workers.len()) as u32)
                        .map(WorkerId)
                        .collect(),
                    UpdateMode::Async { .. } => workers.clone(),
                };
                self.server.configure(self.mode, generation, &lanes);
                self.slots = self.devices.assign(&workers, &self.slots);
            }
            Action::Start {
                generation,
                step,
                workers,
                ..
            } => self.start(generation, step, &workers, round)?,
            Action::Commit { generation, .. } => {
                if !self.asynchronous() {
                    let commit = self.client.commit(generation, Step(self.first));
                    self.runtime.block_on(commit)?;
                }
                return Ok(true);
            }
            Action::Discard { step, reason, .. } => {
                tracing::info!(step = step.0, ?reason, "step discarded");
                self.runtime.block_on(self.client.abort())?;
                if self.coordinator.stopped().is_none() {
                    let now = self.now();
                    // The coordinator changes workers only between steps; after a discarded step it may do so
                    // now.
                    let _ = self.coordinator.advance(now);
                }
            }
            Action::Dismiss { worker, cause } => {
                tracing::info!(%worker, %cause, "dismissed");
                self.handles.remove(&worker);
                self.slots.remove(&worker);
                self.server.release(worker);
            }
            Action::Paused { active, min } => observer.note(&format!(
                "paused: {active} of at least {min} workers; waiting {:?} for more",
                self.coordinator.config().pause_timeout
            )),
            Action::Resumed { active } => observer.note(&format!("resumed with {active} workers")),
            Action::Stop { reason } => {
                self.handles.clear();
                return Err(TrainError::Workers(reason.to_string()));
            }
        }
        Ok(false)
    }

    /// Applies the script's events for the steps `first..end`.
    fn run_script(&mut self, first: u64, end: u64, observer: &mut Watched<'_>) {
        for step in first..end {
            for event in self.script.take(step) {
                tracing::info!(%event, "scripted");
                let now = self.now();
                match event.action {
                    ScriptAction::Join(_) => self.join(observer),
                    ScriptAction::Leave(worker) => {
                        if let Err(error) = self.coordinator.leave(now, worker) {
                            observer.note(&format!("event {event} is not possible: {error}"));
                        }
                    }
                    fault => match fault.worker() {
                        Some(worker) if self.handles.contains_key(&worker) => {
                            self.faults.insert(worker, fault);
                        }
                        _ => observer.note(&format!(
                            "event {event} is not possible: there is no such worker"
                        )),
                    },
                }
            }
        }
    }

    fn join(&mut self, observer: &mut Watched<'_>) {
        let now = self.now();
        let worker = match self.coordinator.join(now, MemberInfo::default()) {
            Ok(worker) => worker,
            Err(error) => {
                observer.note(&format!("a worker could not join: {error}"));
                return;
            }
        };
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

    /// Reports changes of the status to the observer.
    fn report_status(&mut self, observer: &mut Watched<'_>) {
        let status = self.coordinator.status();
        let changed = self.reported.as_ref().is_none_or(|told| {
            let states = |status: &Status| -> Vec<_> {
                status.workers.iter().map(|w| (w.worker, w.state)).collect()
            };
            told.generation != status.generation || states(told) != states(&status)
        });
        if changed {
            observer.tell(TrainEvent::Workers(&status));
            self.reported = Some(status);
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}
